"""Polygon to mask by pixel centres: a pixel belongs where its centre lies inside.

Each row of pixel centres is crossed with the polygon's edges; every crossing flips what lies to
the right of it (even-odd rule), so holes need no special case. A crossing is counted on the edge's
upper end and not on its lower one, and a centre exactly on a crossing lies right of it: of two
polygons that share an edge, exactly one owns each centre on it.
"""

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from slidemask.base.types import Labels, Mask
from slidemask.geometry.box import Box


def rasterise(polygon: Polygon | MultiPolygon, box: Box, downsample: float = 1.0) -> Mask:
    """Return which pixel centres of `box` at `downsample` lie inside `polygon`.

    Parameters
    ----------
    polygon : Polygon or MultiPolygon
        Level-0 pixels; it may reach beyond the box, in any ring order.
    box : Box
        Level-0 pixels, fractions allowed.
    downsample : float
        Level-0 pixels per mask pixel, fractions allowed.

    Returns
    -------
    (H, W) bool
        `box.shape_at(downsample)`; pixel (i, j) has its centre at
        (box.x + (j + 0.5) * downsample, box.y + (i + 0.5) * downsample).

    Examples
    --------
    >>> square = Polygon([(0.5, 0.5), (2.5, 0.5), (2.5, 2.5), (0.5, 2.5)])
    >>> rasterise(square, Box(0, 0, 4, 3)).astype(int)
    array([[1, 1, 0, 0],
           [1, 1, 0, 0],
           [0, 0, 0, 0]])
    """
    mask = np.zeros(box.shape_at(downsample), bool)
    window, inside = _window(polygon, box, downsample)
    mask[window] = inside
    return mask


def paint(
    labels: Labels, polygon: Polygon | MultiPolygon, value: int, *, box: Box, downsample: float
) -> None:
    """Set `labels`, which show `box` at `downsample`, to `value` inside `polygon`, in place."""
    window, inside = _window(polygon, box, downsample)
    labels[window][inside] = value


def _window(
    polygon: Polygon | MultiPolygon, box: Box, downsample: float
) -> tuple[tuple[slice, slice], Mask]:
    """Return the smallest part of the output that the polygon fills, and the mask in it."""
    height, width = box.shape_at(downsample)
    rows, columns = _crossings(_edges(polygon, box, downsample), height, width)
    if rows.size == 0:
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), bool)
    top, left = rows.min(), columns.min()
    bottom, right = rows.max() + 1, columns.max()
    flips = np.zeros((bottom - top, right - left + 1), np.uint8)
    np.bitwise_xor.at(flips.reshape(-1), (rows - top) * flips.shape[1] + columns - left, 1)
    inside = np.bitwise_xor.accumulate(flips, axis=1)[:, :-1].view(bool)
    return (slice(top, bottom), slice(left, right)), inside


def _edges(polygon: Polygon | MultiPolygon, box: Box, downsample: float) -> NDArray[np.float64]:
    """Return (n, 4) x, y of upper and lower edge ends, pixel centres on whole numbers.

    Edges run downwards whatever way the ring turns, so two polygons that share an edge find
    the same crossings to the last bit.
    """
    rings = shapely.get_rings(shapely.get_parts(polygon))
    points, ring = shapely.get_coordinates(rings, return_index=True)
    points = (points - (box.x, box.y)) / downsample - 0.5
    edges = np.hstack([points[:-1], points[1:]])[ring[:-1] == ring[1:]]
    upwards = edges[:, 1] > edges[:, 3]
    edges[upwards] = edges[upwards][:, [2, 3, 0, 1]]
    return edges


def _crossings(
    edges: NDArray[np.float64], height: int, width: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and first column to the right of each crossing of an edge with a row's centres."""
    first = np.clip(np.ceil(edges[:, 1]), 0, height).astype(np.intp)
    count = np.clip(np.ceil(edges[:, 3]), 0, height).astype(np.intp) - first
    x, y, x_end, y_end = np.repeat(edges, count, axis=0).T
    begun = np.cumsum(count) - count
    rows = np.arange(x.size) + np.repeat(first - begun, count)
    crossing = x + (rows - y) * (x_end - x) / (y_end - y)
    return rows, np.clip(np.ceil(crossing), 0, width).astype(np.intp)
