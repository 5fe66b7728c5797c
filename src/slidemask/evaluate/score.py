"""A predicted mask against the truth, band by band, in bounded memory."""

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


class MaskRows(Protocol):
    """A predicted mask that is read by rows."""

    @property
    def size(self) -> Size:
        """Mask pixels."""
        ...

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
    _check(mask, slide_size.at(downsample), names)
    step = truth.native_downsample or downsample
    total = Confusion.zero(len(names))
    for top, known in _truth_bands(truth, slide_size.at(step), step, step / downsample):
        predicted = _sample(mask, top, known.shape, step / downsample)
        total = total + Confusion.of(known, predicted, len(names))
    return total


def _check(mask: MaskRows, canvas: Size, names: tuple[str, ...]) -> None:
    if tuple(mask.size) != tuple(canvas):
        raise CohortError(
            f"the mask has {mask.size.width} x {mask.size.height} px, but the slide at the mask's "
            f"downsample has {canvas.width} x {canvas.height}; check that they belong together"
        )
    if mask.names and mask.names != names:
        raise CohortError(
            f"the mask's classes are {list(mask.names)}, the truth's {list(names)}; "
            "score it with the class map of the model that made it"
        )


def _truth_bands(
    truth: Truth, size: Size, step: float, ratio: float
) -> Iterator[tuple[int, Labels]]:
    """Yield (top row, labels) at `step` level-0 px per px, so high that the mask's rows are few."""
    rows = max(1, int(BAND_ROWS / max(1.0, ratio)))
    for top in range(0, size.height, rows):
        height = min(rows, size.height - top)
        box = Box(0, top * step, size.width * step, height * step)
        yield top, truth.labels(box, step)


def _sample(mask: MaskRows, top: int, shape: tuple[int, ...], ratio: float) -> Labels:
    """Return the mask's labels at the centres of (rows, columns) truth pixels from `top` down.

    `ratio` is the side of a truth pixel in mask pixels.
    """
    rows = _centres(top, shape[0], ratio, mask.size[1])
    band = mask.rows(int(rows[0]), int(rows[-1] - rows[0]) + 1)
    if ratio == 1:
        return band
    return band[np.ix_(rows - rows[0], _centres(0, shape[1], ratio, mask.size[0]))]


def _centres(start: int, count: int, ratio: float, limit: int) -> NDArray[np.intp]:
    """Return the mask pixels in which the centres of truth pixels lie."""
    centres = (np.arange(start, start + count) + 0.5) * ratio
    return np.minimum(centres.astype(np.intp), limit - 1)
