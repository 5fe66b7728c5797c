"""Read any box at any scale from a pyramid: the nearest finer level, then exact area means.

The value of an output pixel is the mean of the level over the rectangle that the pixel covers,
fractions of level pixels included, so nothing moves and tiles fit together at any scale. Scales
finer than the level are interpolated linearly.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import cv2
import numpy as np

from slidemask.base.errors import SettingsError
from slidemask.base.types import Rgb
from slidemask.geometry.box import Box, Size

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

STRIP_PX = 1 << 20
"""Level pixels held at once, 12 bytes each; larger boxes are read strip by strip."""

_STRIP_ROWS = 512
"""Level rows read at once at least, about as many as tiles have: of a level so wide that the store
of decoded tiles does not hold a row of them, lower strips would decode each tile again and again.
"""

_SLICE_PX = 1 << 18
"""Level pixels worked on at once: as floats they fit into a processor's own memory."""

_FORGIVEN = 1e-3
"""A level this share coarser than asked for still serves: 4.0003 does for 4."""

_SAME = 1e-4
"""Level pixels; two positions closer than this are one."""


class Level(NamedTuple):
    """One stored level: its size and how many level-0 pixels one of its pixels spans."""

    size: Size
    scale_x: float
    scale_y: float

    @property
    def downsample(self) -> float:
        """Level-0 pixels per pixel along the coarser axis."""
        return max(self.scale_x, self.scale_y)


class Window(NamedTuple):
    """Whole pixels of one level, always inside it."""

    x: int
    y: int
    width: int
    height: int


Fetch: TypeAlias = Callable[[int, Window], Rgb]
"""Give the stored pixels of a window of a level."""


class _Axis(NamedTuple):
    """Output pixels along one axis, positions in level pixels."""

    origin: float
    step: float
    pixels: int
    length: int
    extent: float

    def part(self, start: int, pixels: int) -> "_Axis":
        return self._replace(origin=self.origin + start * self.step, pixels=pixels)


def levels_of(sizes: Sequence[Size]) -> tuple[Level, ...]:
    """Work out the scales of a pyramid's levels from their sizes, the finest first.

    A level made by halving has a begun or a lost pixel at its far edges, so that the ratio of
    the sizes is not its scale. Where one whole factor explains both axes, it is taken.

    Examples
    --------
    >>> levels = levels_of([Size(20014, 15177), Size(5004, 3795), Size(8005, 6071)])
    >>> [round(level.downsample, 3) for level in levels]
    [1.0, 4.0, 2.5]
    """
    return tuple(Level(size, *_scales(sizes[0], size)) for size in sizes)


def resampled(levels: Sequence[Level], fetch: Fetch, box: Box, downsample: float) -> Rgb:
    """Read `box` at `downsample` from the coarsest level that is fine enough.

    Parameters
    ----------
    levels : sequence of Level
        Finest first.
    fetch : callable
        Called with a level's number and a window inside it.
    box : Box
        Level-0 pixels, fractions allowed, inside the slide or not.
    downsample : float
        Level-0 pixels per output pixel, above 0.

    Returns
    -------
    (H, W, 3) uint8
        Of shape `box.shape_at(downsample)`, white outside the slide.

    Raises
    ------
    SettingsError
        If `downsample` or the box's size is not positive.
    """
    if not (0 < downsample < np.inf and box.width > 0 and box.height > 0):
        raise SettingsError(f"cannot read {box} at downsample {downsample}: both must be positive")
    number = level_for(levels, downsample)
    level, base = levels[number], levels[0].size
    rows, columns = box.shape_at(downsample)
    x = _Axis(
        _snapped(box.x / level.scale_x),
        _snapped(downsample / level.scale_x),
        columns,
        level.size.width,
        base.width / level.scale_x,
    )
    y = _Axis(
        _snapped(box.y / level.scale_y),
        _snapped(downsample / level.scale_y),
        rows,
        level.size.height,
        base.height / level.scale_y,
    )
    wide = max(1.0, columns * x.step)
    strip = max(1, int(max(STRIP_PX / wide, _STRIP_ROWS) / y.step))
    if rows <= strip:
        return _mean(fetch, number, x, y)
    out = np.empty((rows, columns, 3), np.uint8)
    for top in range(0, rows, strip):
        part = y.part(top, min(strip, rows - top))
        out[top : top + part.pixels] = _mean(fetch, number, x, part)
    return out


def level_for(levels: Sequence[Level], downsample: float) -> int:
    """Return the number of the coarsest level that is at least as fine as `downsample`."""
    fine = [n for n, level in enumerate(levels) if level.downsample <= downsample * (1 + _FORGIVEN)]
    return max(fine, key=lambda n: levels[n].downsample, default=0)


def _mean(fetch: Fetch, number: int, x: _Axis, y: _Axis) -> Rgb:
    if _whole(x) and _whole(y):  # every output pixel is a block of level pixels
        step_x, step_y = round(x.step), round(y.step)
        pixels = fetch(
            number, Window(round(x.origin), round(y.origin), x.pixels * step_x, y.pixels * step_y)
        )
        if step_x == step_y == 1:
            return pixels
        return cv2.resize(pixels, (x.pixels, y.pixels), interpolation=cv2.INTER_AREA)  # pyright: ignore[reportReturnType] - cv2 leaves the dtype open
    left, weights_x = _weights(x)
    top, weights_y = _weights(y)
    height, width = _shape(weights_y)[1], _shape(weights_x)[1]
    out = np.full((y.pixels, x.pixels, 3), 255, np.uint8)
    if not (height and width):
        return out
    # Ink, not light: outside the slide it is 0, so weights that fall there just drop out.
    ink = np.invert(fetch(number, Window(left, top, width, height)))
    slice_rows = max(1, int(_SLICE_PX / (width * y.step)))
    for start in range(0, y.pixels, slice_rows):
        part = y.part(start, min(slice_rows, y.pixels - start))
        first, weights = _weights(part)
        rows = slice(first - top, first - top + _shape(weights)[1])
        out[start : start + part.pixels] = _weighted(ink[rows], weights, weights_x)
    return out


def _weighted(ink: Rgb, weights_y: "csr_matrix", weights_x: "csr_matrix") -> Rgb:
    """Return light, 255 less the weighted means of ink."""
    (rows, height), (columns, width) = _shape(weights_y), _shape(weights_x)
    means = weights_y @ ink.reshape(height, width * 3).astype(np.float32)
    means = cv2.transpose(means.reshape(rows, width, 3))
    means = weights_x @ means.reshape(width, rows * 3)
    means = cv2.transpose(means.reshape(columns, rows, 3))
    return (255.5 - means).astype(np.uint8)


def _shape(matrix: "csr_matrix") -> tuple[int, int]:
    rows, columns = matrix.shape  # pyright: ignore[reportGeneralTypeIssues] - typed as optional
    return rows, columns


def _weights(axis: _Axis) -> "tuple[int, csr_matrix]":
    """Return the first level pixel needed and (count, pixels needed) weights."""
    from scipy.sparse import csr_matrix

    low = axis.origin + np.arange(axis.pixels)[:, None] * axis.step
    inside = np.clip(low, 0, axis.extent), np.clip(low + axis.step, 0, axis.extent)
    if axis.step < 1 - _FORGIVEN:
        centre = low + axis.step / 2 - 0.5
        index = np.floor(centre) + np.arange(2)
        weight = (1 - np.abs(centre - index)) * (inside[1] - inside[0]) / axis.step
    else:
        index = np.floor(inside[0]) + np.arange(int(np.ceil(axis.step)) + 1)
        share = np.minimum(index + 1, inside[1]) - np.maximum(index, inside[0])
        weight = np.clip(share, 0, None) / axis.step
    weight[weight < 1e-7] = 0  # what is left of positions that were a bit off
    # A level that lost its begun pixel lends its last one; interpolation does so at both edges.
    index = np.clip(index, 0, axis.length - 1).astype(np.int32)
    used = index[weight > 0]
    first, last = (int(used.min()), int(used.max())) if used.size else (0, -1)
    columns = np.clip(index - first, 0, max(0, last - first))
    pointers = np.arange(0, index.size + 1, index.shape[1])
    shape = (axis.pixels, last - first + 1)
    if not used.size:
        return 0, csr_matrix(shape, dtype=np.float32)
    matrix = csr_matrix((weight.astype(np.float32).ravel(), columns.ravel(), pointers), shape=shape)
    return first, matrix


def _whole(axis: _Axis) -> bool:
    end = axis.origin + axis.pixels * axis.step
    return (
        axis.origin.is_integer()
        and axis.step.is_integer()
        and axis.origin >= 0
        and end <= min(axis.length, axis.extent)
    )


def _snapped(value: float) -> float:
    return float(round(value)) if abs(value - round(value)) < _SAME * min(1, value) else value


def _scales(base: Size, level: Size) -> tuple[float, float]:
    ratios = base.width / level.width, base.height / level.height
    low, high = int(min(ratios)), int(max(ratios)) + 2
    powers = [1 << n for n in range(low.bit_length() - 1, high.bit_length() + 1)]
    nearby = sorted(range(max(1, low - 1), high), key=lambda k: abs(k - sum(ratios) / 2))
    for factor in (*powers, *nearby):
        if all(
            abs(whole / factor - part) < 1 - 1e-9 for whole, part in zip(base, level, strict=True)
        ):
            return float(factor), float(factor)
    return ratios
