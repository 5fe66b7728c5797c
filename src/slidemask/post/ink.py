"""Pen marks are no tissue: nothing is found on them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Mask
from slidemask.geometry.squeezed import runs, zeros
from slidemask.tiles.tissue import TissueMask


def without_ink(
    bands: Iterator[tuple[int, NDArray[np.uint8]]], tissue: TissueMask | None, downsample: float
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Set to background what lies on a pen mark.

    A tile that holds tissue is predicted as a whole, and a network that never saw ink may take it
    for anything.

    Parameters
    ----------
    bands : iterator of (top row, (..., h, W) uint8)
        Labels of the canvas, or foreground probabilities.
    tissue : TissueMask or None
        Its `ink` is what is erased.
    downsample : float
        Level-0 pixels per canvas pixel.
    """
    if tissue is None or tissue.ink is None:
        yield from bands
        return
    ratio = downsample / tissue.downsample
    for top, labels in bands:
        rows = _nearest(top, labels.shape[-2], ratio, tissue.ink.shape[0])
        columns = _nearest(0, labels.shape[-1], ratio, tissue.ink.shape[1])
        yield top, _erased(labels, tissue.ink, rows, columns)


def _erased(
    labels: NDArray[np.uint8], ink: Mask, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.uint8]:
    """Look only at the columns that hold something, and copy only where there is ink."""
    held, near = runs(labels), ink[rows[0] : rows[-1] + 1]
    if not any(near[:, columns[run.start] : columns[run.stop - 1] + 1].any() for run in held):
        return labels
    result = zeros(labels.shape)
    for run in held:
        inked = ink[np.ix_(rows, columns[run])]
        result[..., run] = np.where(inked, np.uint8(0), labels[..., run])
    return result


def _nearest(start: int, count: int, ratio: float, limit: int) -> np.ndarray:
    """Return the pixels of the small mask in which the canvas pixels' centres lie."""
    centres = (np.arange(start, start + count) + 0.5) * ratio
    return np.minimum(centres.astype(np.intp), limit - 1)
