"""Rounder edges: each class eroded by a disc, then dilated by it, in bands."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from slidemask.base.types import Labels, Mask
from slidemask.post.components import present

_ROWS = 1024
_COLUMNS = 2048
"""A block of that size is smoothed at once; one that is all of a class, or free of it, is not."""


def smoothed(bands: Iterable[tuple[int, Labels]], radius_px: float) -> Iterator[tuple[int, Labels]]:
    """Open each class with a disc: what no disc inside the class covers becomes background.

    A disc is the pixels whose centres lie within the radius of its own. What lies beyond the
    canvas counts as of the class, so that nothing is worn off there. Each row is seen with two
    radii of rows above and below, and nothing more is held.

    Parameters
    ----------
    bands : iterable of (top row, (h, W) uint8)
    radius_px : float
        Below 1 nothing changes.

    Yields
    ------
    (top row, (h, W) uint8)
        Cut anew, at the same rows for the same input.
    """
    reach = int(radius_px)
    if not reach:
        yield from bands
        return
    for top, window, inner in _windows(bands, 2 * reach, max(_ROWS, 2 * reach)):
        result = np.zeros((inner.stop - inner.start, window.shape[1]), np.uint8)
        for start in range(0, window.shape[1], _COLUMNS):
            columns = slice(start, min(start + _COLUMNS, window.shape[1]))
            for value in present(window[inner, columns]):
                opened = _opened(window, value, (inner, columns), radius_px)
                result[:, columns][opened] = value
        yield top, result


def _opened(labels: Labels, value: int, block: tuple[slice, slice], radius_px: float) -> Mask:
    """Return a block of the class `value`, eroded and dilated; the labels reach far enough around.

    By exact distances: the time does not grow with the disc.
    """
    reach = int(radius_px)
    around, inner = _around(block, 2 * reach, labels.shape)
    mask = labels[around] == value
    if mask.all():
        return mask[inner]
    # Squares of distances are whole numbers: halfway between two of them no rounding matters.
    limit = np.sqrt(np.floor(radius_px**2 + 1e-9) + 0.5)
    near, within = _around(inner, reach, mask.shape)
    eroded = (_distances(mask) > limit)[near]
    return (_distances(~eroded) <= limit if eroded.any() else eroded)[within]


def _around(
    block: tuple[slice, slice], margin: int, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return a block with as much margin as there is, and where the block lies in that."""
    (rows, columns), starts = block, [max(0, line.start - margin) for line in block]
    return (
        slice(starts[0], min(rows.stop + margin, shape[0])),
        slice(starts[1], min(columns.stop + margin, shape[1])),
    ), (
        slice(rows.start - starts[0], rows.stop - starts[0]),
        slice(columns.start - starts[1], columns.stop - starts[1]),
    )


def _distances(mask: Mask) -> np.ndarray:
    """Distance of each pixel inside to the nearest outside."""
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    return np.asarray(cv2.distanceTransform(pixels, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


def _windows(
    bands: Iterable[tuple[int, Labels]], halo: int, rows: int
) -> Iterator[tuple[int, Labels, slice]]:
    """Yield (top row, window, its inner rows): `rows` rows, and up to `halo` more either side."""
    held: list[Labels] = []
    first = top = bottom = 0  # of what is held; of the next window
    for _, band in bands:
        held.append(band)
        bottom += len(band)
        while bottom >= top + rows + halo:
            held = [np.concatenate(held)]
            yield top, held[0][: top + rows + halo - first], slice(top - first, top + rows - first)
            top += rows
            gone = max(0, top - halo - first)
            held, first = [held[0][gone:].copy()], first + gone
    while top < bottom:
        window, end = np.concatenate(held), min(top + rows, bottom)
        yield top, window[: end + halo - first], slice(top - first, end - first)
        top = end
        gone = max(0, top - halo - first)
        held, first = [window[gone:]], first + gone
