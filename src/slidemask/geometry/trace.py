"""Mask to polygons along pixel edges: valid, holes included, 4-connected, band by band.

Outlines are made of straight runs between corners, so only corners are kept. In a row of pixel
corners, those of one component pair up from left to right into horizontal runs, in a column from
top to bottom into vertical ones; following runs of either kind in turn gives the rings. Where two
foreground pixels meet only diagonally, two corners share a place. They belong to two components,
or to two rings of one component that touch there, so no ring ever touches itself and what comes
out is valid. As pairing needs only a component's corners, bands join exactly, without a union.
"""

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from slidemask.base.types import Mask
from slidemask.geometry.components import Ids, contacts, label, merged, slabs
from slidemask.geometry.squeezed import Edges, relaid

_CHUNK = 4096
"""Polygons whose corners are looked at together."""


class Corners(NamedTuple):
    """Corners of outlines, one array each: place, which runs leave it, whose they are."""

    row: NDArray[np.int32]
    column: NDArray[np.int32]
    right: Mask
    """The horizontal run goes right from here, else left."""
    down: Mask
    """The vertical run goes down from here, else up."""
    filled_below: Mask
    """Foreground lies below the run to the right (says nothing where there is none)."""
    component: Ids

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> "Corners":
        """Return the chosen corners."""
        return Corners._make(field[chosen] for field in self)


def trace(mask: Mask) -> list[Polygon]:
    """Outline the 4-connected parts of a mask along pixel edges.

    Parameters
    ----------
    mask : (H, W) bool

    Returns
    -------
    list of Polygon
        One per part, holes as interior rings, no collinear points; pixel (i, j) covers
        x from j to j + 1 and y from i to i + 1. Sorted by top row, then leftmost column in it.

    Examples
    --------
    >>> [polygon.wkt for polygon in trace(np.array([[1, 1, 0], [0, 0, 1]], bool))]
    ['POLYGON ((0 0, 2 0, 2 1, 0 1, 0 0))', 'POLYGON ((2 1, 3 1, 3 2, 2 2, 2 1))']
    """
    tracer = Tracer(mask.shape[1])
    return in_reading_order(tracer.add(mask) + tracer.finish())


def in_reading_order(polygons: list[Polygon]) -> list[Polygon]:
    """Sort traced polygons by their first corner: top row, then leftmost column in it."""
    if not polygons:
        return []
    firsts: list[NDArray[np.float64]] = []
    for start in range(0, len(polygons), _CHUNK):  # all corners at once would take much memory
        places, owner = shapely.get_coordinates(polygons[start : start + _CHUNK], return_index=True)
        firsts.append(places[np.flatnonzero(np.diff(owner, prepend=-1))])
    x, y = np.concatenate(firsts).T
    return [polygons[number] for number in np.lexsort((x, y)).tolist()]


class Tracer:
    """Traces one mask that arrives in bands of rows, top to bottom.

    Parts are handed out as soon as they end; only the corners of parts that are still open are
    kept. However the rows are cut into bands, the polygons are the same.

    Parameters
    ----------
    width : int
        Columns of the mask.
    scale : float
        What coordinates are multiplied with.
    first_row : int
        Row of the whole mask in which the first band starts; there is nothing above it.
    """

    def __init__(self, width: int, scale: float = 1.0, first_row: int = 0) -> None:
        self._scale = scale
        self._row = first_row
        self._width = width
        self._above, self._edges = np.zeros(1, np.int32), np.array([0, width], np.intp)
        self._open_parts = 0
        self._open = _corners(np.zeros((2, 2), bool), np.zeros((2, 2), np.int32), row=0)

    def add(self, band: Mask, edges: Edges | None = None) -> list[Polygon]:
        """Take the next rows; return the parts that end above the last of them.

        Parameters
        ----------
        band : (h, w) bool
        edges : (w + 1,) int, optional
            Where its columns begin in the whole, if it is squeezed (`geometry.squeezed`, with the
            row above).
        """
        edges = np.arange(self._width + 1) if edges is None else edges
        self._above, self._edges = relaid(self._above, self._edges, edges), edges
        return [polygon for rows in slabs(band.shape) for polygon in self._add(band[rows])]

    def finish(self) -> list[Polygon]:
        """Return the parts that end with the mask."""
        return self.add(np.zeros((1, self._above.size), bool), self._edges)

    def _add(self, band: Mask) -> list[Polygon]:
        if not (self._open_parts or band.any()):
            self._row += band.shape[0]
            return []
        mask = np.zeros((len(band) + 1, band.shape[1] + 2), bool)
        mask[0, 1:-1], mask[1:, 1:-1] = self._above > 0, band
        ids, count = label(mask, 4)  # the last row before among them, so that open parts go on
        pairs = contacts(self._above, ids[0, 1:-1], connectivity=4)
        pairs[:, 1] += self._open_parts
        joined, parts = merged(self._open_parts + count, pairs)
        numbers = np.concatenate([joined[:1], joined[self._open_parts + 1 :]])  # of the ids
        corners = _corners(mask, ids, self._row)
        corners = corners._replace(
            column=self._edges[corners.column].astype(np.int32),
            component=numbers[corners.component],
        )
        before = self._open._replace(component=joined[self._open.component])
        corners = Corners._make(map(np.concatenate, zip(before, corners, strict=True)))
        self._row += band.shape[0]
        return self._close(corners, numbers[ids[-1, 1:-1]], parts)

    def _close(self, corners: Corners, last: Ids, parts: int) -> list[Polygon]:
        """Keep what belongs to the parts in the `last` row; return polygons of the others."""
        still_open = np.unique(last[last > 0])
        renumbered = np.zeros(parts + 1, np.int32)
        renumbered[still_open] = np.arange(1, still_open.size + 1)
        number = renumbered[corners.component]
        self._open = corners.where(number > 0)._replace(component=number[number > 0])
        self._open_parts = still_open.size
        self._above = renumbered[last]
        return _link(corners.where(number == 0), self._scale)


def _corners(mask: Mask, ids: Ids, row: int) -> Corners:
    """Find the corners of all outlines below the first row, which was seen before.

    Parameters
    ----------
    mask : (h + 1, w + 2) bool
        An empty column on either side.
    ids : (h + 1, w + 2) int32
        Components of the mask.
    row : int
        Of the second row, in the whole.
    """
    edge = mask[:, 1:] ^ mask[:, :-1]
    diagonal = edge[1:] & edge[:-1] & (mask[1:, 1:] ^ mask[:-1, 1:])
    places = np.flatnonzero((edge[1:] ^ edge[:-1]) | diagonal)
    twice = diagonal.ravel()[places]
    if not twice.any():
        return _described(ids, places, twice, row)
    places = np.repeat(places, 1 + twice)
    second = np.zeros(places.size, bool)
    second[1:] = places[1:] == places[:-1]
    return _described(ids, places, second, row)


def _described(ids: Ids, places: NDArray[np.intp], second: Mask, row: int) -> Corners:
    """Say which runs leave each corner; of two in one place the first has the left-hand pixel."""
    i, j = np.divmod(places, ids.shape[1] - 1)
    at, flat = places + i, ids.ravel()  # of the pixel above and left of the corner
    above = flat[at], flat[at + 1]
    at += ids.shape[1]
    below = flat[at], flat[at + 1]
    left, right = np.maximum(above[0], below[0]), np.maximum(above[1], below[1])
    filled_below = below[1] > 0
    corners = Corners(
        row=(i + row).astype(np.int32),
        column=j.astype(np.int32),
        right=(above[1] > 0) != filled_below,
        down=(below[0] > 0) != filled_below,
        filled_below=filled_below,
        component=np.maximum(left, right),
    )
    for later in np.flatnonzero(second):  # rare
        pair = slice(later - 1, later + 1)
        corners.right[pair] = False, True
        corners.down[pair] = below[0][later] > 0, filled_below[later]
        corners.component[pair] = left[later], right[later]
    return corners


def _link(corners: Corners, scale: float) -> list[Polygon]:
    """Join the corners of whole components into polygons."""
    if corners.row.size == 0:
        return []
    corners = _part_touching_rings(corners.where(_order(corners, across=True)))
    by_column = _order(corners, across=False)
    opposite = np.empty(by_column.size, np.intp)
    opposite[by_column[0::2]], opposite[by_column[1::2]] = by_column[1::2], by_column[0::2]

    left = np.arange(0, by_column.size, 2)  # corner 2k and 2k + 1 bound horizontal run k
    rightwards = corners.filled_below[left]
    start, end = left + ~rightwards, left + rightwards
    runs, ring = _rings(opposite[end] // 2)

    points = np.stack([start[runs], end[runs]], axis=1).reshape(-1)
    places = np.stack([corners.column[points], corners.row[points]], axis=1) * scale
    rings = np.asarray(shapely.linearrings(places, indices=np.repeat(ring, 2)))
    owner = corners.component[start[runs]][np.flatnonzero(np.diff(ring, prepend=-1))]
    # Rings come by component, and a component's topmost run is on its outer ring.
    _, owner = np.unique(owner, return_inverse=True)
    return np.asarray(shapely.polygons(rings, indices=owner)).tolist()


def _order(corners: Corners, *, across: bool) -> NDArray[np.intp]:
    """Sort by component, then along rows (`across`) or along columns."""
    row, column = corners.row.astype(np.int64), corners.column.astype(np.int64)
    major, minor, far = (row, column, corners.right) if across else (column, row, corners.down)
    key = corners.component * (major.max() + 1) + major
    return np.argsort((key * (minor.max() + 1) + minor) * 2 + far)  # no two are equal


def _part_touching_rings(corners: Corners) -> Corners:
    """Where one component meets itself diagonally, give the two corners to two rings.

    Their first pairing goes round each pixel, so the ring would pass the place twice; with the
    vertical runs exchanged, two rings pass it once each.
    """
    first = np.flatnonzero(
        (corners.component[1:] == corners.component[:-1])
        & (corners.row[1:] == corners.row[:-1])
        & (corners.column[1:] == corners.column[:-1])
    )
    down = corners.down.copy()
    down[first], down[first + 1] = corners.down[first + 1], corners.down[first]
    return corners._replace(down=down)


def _rings(following: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Walk the cycles of a permutation; return its elements cycle by cycle, and cycle numbers."""
    # By pointer jumping: after n rounds, each element knows what lies up to 2^n steps ahead.
    numbers = np.arange(following.size, dtype=np.int32)
    least, jump = numbers, following.astype(np.int32)
    while ((further := np.minimum(least, least[jump])) != least).any():
        least, jump = further, jump[jump]
    first = least == numbers  # where a cycle is cut: how many steps are left to there?
    left, jump = (~first).astype(np.int32), np.where(first, numbers, following).astype(np.int32)
    while (more := left[jump]).any():
        left, jump = left + more, jump[jump]
    sizes = np.bincount(least, minlength=least.size)
    place = (np.cumsum(sizes) - sizes)[least] + np.where(first, 0, sizes[least] - left)
    order = np.empty(place.size, np.intp)
    order[place] = numbers
    return order, np.repeat(np.arange(np.count_nonzero(first)), sizes[first])
