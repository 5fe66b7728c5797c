"""A predicted map against the truth, band by band, in bounded memory."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import CohortError
from slidemask.base.types import Labels
from slidemask.evaluate.confusion import Confusion
from slidemask.geometry.box import Box, Size

BAND_ROWS = 512
"""Rows at a time: one row of a mask's tiles, so that each tile is decoded once."""


class Truth(Protocol):
    """What is known about a slide's pixels; `slidemask.data.truth` makes them."""

    @property
    def native_downsample(self) -> float | None:
        """Level-0 pixels per pixel of the label image; None where the truth is polygons."""
        ...

    def labels(self, box: Box, downsample: float) -> Labels:
        """Return (H, W) class indices of `box`, 255 where nothing is known."""
        ...


class MappedRows(Protocol):
    """Anything predicted over the canvas that is read by rows: labels, probabilities."""

    @property
    def size(self) -> Size:
        """Pixels of the map."""
        ...

    def rows(self, top: int, height: int) -> NDArray[np.uint8]:
        """Return (..., height, width)."""
        ...


class MaskRows(MappedRows, Protocol):
    """A predicted mask that is read by rows."""

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by index, background first; empty where the file names none."""
        ...

    def rows(self, top: int, height: int) -> Labels:
        """Return (height, width) class indices."""
        ...


def score_slide(
    truth: Truth, mask: MaskRows, slide_size: Size, *, downsample: float, names: tuple[str, ...]
) -> Confusion:
    """Count truth against prediction over a whole slide.

    A label image is scored at its own pixels: each takes the prediction at its centre. Polygons
    are scored at the mask's pixels. Pixels of unknown truth do not count.

    Parameters
    ----------
    truth : Truth
        Labels of any box.
    mask : MaskRows
        Prediction over the canvas, `slide_size.at(downsample)` pixels.
    slide_size : Size
        Level-0 pixels.
    downsample : float
        Level-0 pixels per mask pixel.
    names : tuple of str
        The truth's class names by index, background first.

    Raises
    ------
    CohortError
        If the mask's size is not the slide's at `downsample`, or it has other classes.
    SettingsError
        If truth or mask hold an index that is no class.
    """
    if mask.names and mask.names != names:
        raise CohortError(
            f"the mask's classes are {list(mask.names)}, the truth's {list(names)}; "
            "score it with the class map of the model that made it"
        )
    total = Confusion.zero(len(names))
    for known, predicted in walk(truth, mask, slide_size, downsample):
        total = total + Confusion.of(known, predicted, len(names))
    return total


def walk(
    truth: Truth, mapped: MappedRows, slide_size: Size, downsample: float
) -> Iterator[tuple[Labels, NDArray[np.uint8]]]:
    """Bring truth and a predicted map together, band by band, from the top down.

    A label image keeps its own pixels, each with the prediction at its centre; polygons are
    drawn at the map's pixels.

    Parameters
    ----------
    truth : Truth
        Labels of any box.
    mapped : MappedRows
        A map over the canvas, `slide_size.at(downsample)` pixels.
    slide_size : Size
        Level-0 pixels.
    downsample : float
        Level-0 pixels per pixel of the map.

    Yields
    ------
    ((h, W) uint8, (..., h, W) uint8)
        What is known, and what was predicted there.

    Raises
    ------
    CohortError
        If the map's size is not the slide's at `downsample`.
    """
    canvas = slide_size.at(downsample)
    if tuple(mapped.size) != tuple(canvas):
        raise CohortError(
            f"the mask has {mapped.size.width} x {mapped.size.height} px, but the slide at the "
            f"mask's downsample has {canvas.width} x {canvas.height}; check that they belong "
            "together"
        )
    step = truth.native_downsample or downsample
    for top, known in _truth_bands(truth, slide_size.at(step), step, step / downsample):
        yield known, _sample(mapped, top, known.shape, step / downsample)


def _truth_bands(
    truth: Truth, size: Size, step: float, ratio: float
) -> Iterator[tuple[int, Labels]]:
    """Yield (top row, labels) at `step` level-0 px per px, so high that the map's rows are few."""
    rows = max(1, int(BAND_ROWS / max(1.0, ratio)))
    for top in range(0, size.height, rows):
        height = min(rows, size.height - top)
        box = Box(0, top * step, size.width * step, height * step)
        yield top, truth.labels(box, step)


def _sample(
    mapped: MappedRows, top: int, shape: tuple[int, ...], ratio: float
) -> NDArray[np.uint8]:
    """Return the map's values at the centres of (rows, columns) truth pixels from `top` down.

    `ratio` is the side of a truth pixel in pixels of the map.
    """
    rows = _centres(top, shape[0], ratio, mapped.size[1])
    band = mapped.rows(int(rows[0]), int(rows[-1] - rows[0]) + 1)
    if ratio == 1:
        return band
    columns = _centres(0, shape[1], ratio, mapped.size[0])
    return band[..., (rows - rows[0])[:, None], columns]


def _centres(start: int, count: int, ratio: float, limit: int) -> NDArray[np.intp]:
    """Return the pixels of the map in which the centres of truth pixels lie."""
    centres = (np.arange(start, start + count) + 0.5) * ratio
    return np.minimum(centres.astype(np.intp), limit - 1)
