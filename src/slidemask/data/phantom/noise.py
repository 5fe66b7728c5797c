"""Noise that depends on nothing but seed and position."""

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
"""(H, W)."""


def hashed(x: NDArray[np.int64], y: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for every pair of whole numbers, by splitmix64's finaliser.

    >>> hashed(np.arange(3), np.zeros(3, np.int64), seed=1).round(3).tolist()
    [0.282, 0.065, 0.564]
    """
    key = np.uint64(seed * 0x9E3779B97F4A7C15 & (2**64 - 1))
    mixed = x.astype(np.uint64) * np.uint64(0xD1342543DE82EF95) + key
    mixed = _scrambled(mixed) + y.astype(np.uint64) * np.uint64(0x2545F4914F6CDD1D)
    return (_scrambled(mixed) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def noise(
    rows: NDArray[np.floating], columns: NDArray[np.floating], scale: float, seed: int
) -> Field:
    """Return smooth noise in [-1, 1] on the grid that rows and columns span.

    Random values stand on a lattice of pitch `scale` and are blended by smooth steps.

    Parameters
    ----------
    rows, columns : (H,), (W,) float
        Positions, in the unit of `scale`.

    Returns
    -------
    (H, W) float32
    """
    y, v = _steps(rows, scale)
    x, u = _steps(columns, scale)
    lattice_y, lattice_x = (np.arange(at[0], at[-1] + 2) for at in (y, x))
    lattice = hashed(lattice_x[None, :], lattice_y[:, None], seed).astype(np.float32) * 2 - 1
    y, x, v, u = y - y[0], x - x[0], v[:, None], u[None, :]
    across = lattice[y] + (lattice[y + 1] - lattice[y]) * v
    left = across[:, x]
    return np.asarray(left + (across[:, x + 1] - left) * u, np.float32)


def noise_at(x: NDArray[np.floating], y: NDArray[np.floating], scale: float, seed: int) -> NDArray:
    """Return the same noise at single points, (N,)."""
    column, u = _steps(x, scale)
    row, v = _steps(y, scale)
    corners = [
        hashed(column + i, row + j, seed).astype(np.float32) * 2 - 1 for j in (0, 1) for i in (0, 1)
    ]
    left = corners[0] + (corners[2] - corners[0]) * v
    right = corners[1] + (corners[3] - corners[1]) * v
    return left + (right - left) * u


def _steps(at: NDArray[np.floating], scale: float) -> tuple[NDArray[np.int64], Field]:
    place = np.asarray(at, np.float64) / scale
    low = np.floor(place).astype(np.int64)
    part = (place - low).astype(np.float32)
    return low, part * part * (3 - 2 * part)


def _scrambled(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
