"""Layers of nuclei on a torus: how dark, which nucleus, how soon it thins out, which kind."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

UNIT = 160.0
FINEST_HIDDEN_MPP = 0.8  # at coarser pixels grains would only alias
EDGE = 0.5  # a pixel belongs to a nucleus where at least this much of it is covered


class NucleusStyle(NamedTuple):
    """Spacing and shape; lengths are full long axes, `turn` the spread of their angle."""

    pitch_um: float
    length_um: tuple[float, float]
    aspect: tuple[float, float]
    turn: float
    jitter: float
    upright: bool = False


class Nucleus(NamedTuple):
    """Number and rank of one nucleus."""

    number: int
    rank: int


class NucleusLayer(NamedTuple):
    """Nuclei of one texture.

    Parameters
    ----------
    amount : (H, W) uint8
        Haematoxylin; 0 outside nuclei.
    rank : (H, W) uint8
        The same for all pixels of a nucleus; it is shown where density exceeds rank / 255.
    numbers : (H, W) uint16
        Which nucleus a pixel belongs to, 0 for none; odd ones have a nucleolus and chromatin
        clumps that average out at coarse resolution.
    """

    amount: NDArray[np.uint8]
    rank: NDArray[np.uint8]
    numbers: NDArray[np.uint16]


def nucleus_layer(
    style: NucleusStyle,
    shape: tuple[int, int],
    mpp: float,
    rng: np.random.Generator,
    *,
    row_um: float | None = None,
) -> NucleusLayer:
    """Draw nuclei on a jittered lattice of a torus, or along one row at depth `row_um`."""
    height, width = shape
    layer = NucleusLayer(
        np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), np.zeros(shape, np.uint16)
    )
    columns = max(1, round(width * mpp / style.pitch_um))
    rows = 1 if row_um is not None else max(1, round(height * mpp / style.pitch_um))
    count = rows * columns
    for number, cell in enumerate(rng.permutation(count).tolist()):
        row, column = divmod(cell, columns)
        at = np.array([row + 0.5, column + 0.5 * (row % 2)]) + rng.normal(0, style.jitter, 2)
        y, x = at * (height / rows, width / columns)
        if row_um is not None:
            y = (row_um + rng.normal(0, 1.3)) / mpp
        ident = Nucleus(number + 1, number * 255 // count)
        _draw(layer, style, (y, x), mpp, nucleus=ident, rng=rng)
    return layer


def _draw(
    layer: NucleusLayer,
    style: NucleusStyle,
    at: tuple[float, float],
    mpp: float,
    *,
    nucleus: Nucleus,
    rng: np.random.Generator,
) -> None:
    """Draw one ellipse; earlier nuclei, which also show first, stay on top and whole."""
    height, width = layer.amount.shape
    half = rng.uniform(*style.length_um) / mpp / 2
    semi = np.array([half, half / rng.uniform(*style.aspect)])
    angle = rng.uniform(-style.turn, style.turn) + (np.pi / 2 if style.upright else 0)
    rows, columns = (np.arange(int(c) - int(half) - 2, int(c) + int(half) + 3) for c in at)
    if style.upright:
        rows = rows[(rows >= 0) & (rows < height)]
    u, v = _turned(rows + 0.5 - at[0], columns + 0.5 - at[1], angle)
    radius = np.hypot(u / semi[0], v / semi[1])
    cover = np.clip((1 - radius) * semi[1] + 0.5, 0, 1)
    place = np.ix_(rows % height, columns % width)
    free = (cover >= EDGE) & (layer.numbers[place] == 0)
    texture = _chromatin(radius, (u, v), semi, mpp, clumped=nucleus.number % 2 == 1, rng=rng)
    dark = np.clip(rng.normal(0.62, 0.1), 0.38, 0.9) * (0.35 + 0.65 * cover) * texture
    amount = np.clip(dark * UNIT, 1, 255)
    for target, value in zip(layer, (amount, nucleus.rank, nucleus.number), strict=True):
        target[place] = np.where(free, value, target[place])


def _turned(
    dy: NDArray[np.floating], dx: NDArray[np.floating], angle: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return coordinates along and across an axis for a grid of offsets."""
    dy, dx = dy[:, None], dx[None, :]
    along = dx * np.cos(angle) + dy * np.sin(angle)
    return along, dy * np.cos(angle) - dx * np.sin(angle)


def _chromatin(
    radius: NDArray[np.floating],
    axes: tuple[NDArray[np.floating], NDArray[np.floating]],
    semi: NDArray[np.floating],
    mpp: float,
    *,
    clumped: bool,
    rng: np.random.Generator,
) -> NDArray[np.floating]:
    """Return a factor of mean 1: shaded, and in clumped nuclei with grains around a nucleolus.

    Grains and nucleolus, dark with a light rim, even out over a micrometre.
    """
    u, v = axes
    turns = rng.uniform(0, 2 * np.pi, 4)
    texture = 1 + 0.09 * np.sin(np.cos(turns[0]) * u / semi[0] + np.sin(turns[0]) * v / semi[1])
    if clumped and mpp <= FINEST_HIDDEN_MPP:
        grains = np.cos(u * mpp * 5.6 + turns[1]) * np.cos(v * mpp * 5.6 + turns[2])
        spot = rng.uniform(-0.25, 0.25, 2) * semi
        away = (np.hypot(u - spot[0], v - spot[1]) * mpp) ** 2
        nucleolus = np.exp(-away / 0.45**2) - 0.25 * np.exp(-away / 0.9**2)
        texture = texture + 0.6 * grains + 1.4 * nucleolus
    inside = radius <= 1
    return texture / max(0.2, float(texture[inside].mean())) if inside.any() else texture
