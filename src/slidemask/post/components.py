"""Connected components of a mask that arrives in bands: measured in one pass, changed in the next.

Every band's components get provisional numbers; contacts across seams say which are one. When all
bands have passed, the numbers are joined and the figures of each component added up. A second pass
over the same bands finds the same provisional numbers again.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Labels, Mask
from slidemask.geometry.components import Ids, contacts, label, merged
from slidemask.geometry.squeezed import Edges, relaid

Value = TypeVar("Value", np.uint8, np.bool_)


def present(labels: Labels) -> list[int]:
    """Return the foreground values that occur, ascending."""
    if not labels.any():
        return []
    if labels.max() == 1:
        return [1]
    return [value for value in np.flatnonzero(np.bincount(labels.ravel())).tolist() if value]


class Ledger:
    """The components of one mask, entered band by band, top to bottom.

    Parameters
    ----------
    width : int
        Columns of the mask.
    connectivity : int
        4 or 8.
    """

    def __init__(self, width: int, connectivity: int) -> None:
        self.connectivity = connectivity
        self.count = 0
        self._width = width
        self._last, self._edges = np.zeros(1, np.int32), np.array([0, width], np.intp)
        self._areas: list[NDArray[np.int64]] = []
        self._pairs: list[Ids] = []

    def enter(self, band: Mask, edges: Edges | None = None) -> Ids:
        """Return provisional numbers of a band's components, (h, w) int32; remember areas.

        Parameters
        ----------
        band : (h, w) bool
        edges : (w + 1,) int, optional
            Where its columns begin in the whole, if it is squeezed (`geometry.squeezed`, with the
            row above).
        """
        self._lay(np.arange(self._width + 1) if edges is None else edges)
        ids, found = label(band, self.connectivity)
        if found:
            self._areas.append(_areas(band, self._edges, ids, found))
            np.add(ids, self.count, out=ids, where=band)
            self._pairs.append(contacts(self._last, ids[0], self.connectivity))
        self.count += found
        self._last = ids[-1].copy()  # a view would keep the whole band
        return ids

    def row_above(self, edges: Edges) -> Ids:
        """Return the numbers in the last row that was entered, at the columns of the next band."""
        self._lay(edges)
        return self._last

    def _lay(self, edges: Edges) -> None:
        self._last, self._edges = relaid(self._last, self._edges, edges), edges

    def replay(self, values: NDArray[Value]) -> Callable[[Mask], NDArray[Value] | None]:
        """Return what finds each pixel's value in a second pass over the same bands.

        Parameters
        ----------
        values : (count + 1,) array
            For each provisional number; 0 leaves its pixels alone.

        Returns
        -------
        callable
            Takes the bands in the order in which they were entered, but for those that are empty;
            gives (h, W) values, 0 outside the mask, or None where all are 0.
        """
        found, before = iter(map(len, self._areas)), 0

        def look_up(band: Mask) -> NDArray[Value] | None:
            nonlocal before
            if not band.any():
                return None
            here = values[before : before + next(found) + 1].copy()
            before += len(here) - 1
            here[0] = 0
            return here.take(label(band, self.connectivity)[0]) if here.any() else None

        return look_up

    @property
    def last_row(self) -> Ids:
        """Provisional numbers in the last row that was entered."""
        return self._last

    def components(self) -> tuple[Ids, int]:
        """Return the component of each provisional number (0 stays 0), and how many there are."""
        pairs = np.concatenate([np.empty((0, 2), np.int32), *self._pairs])
        return merged(self.count, pairs)

    def areas(self) -> NDArray[np.int64]:
        """Return (count + 1,) pixels of the component that each provisional number belongs to."""
        component, remaining = self.components()
        parts = np.concatenate([np.zeros(1, np.int64), *self._areas])
        total = np.bincount(component, weights=parts, minlength=remaining + 1)
        return total.astype(np.int64)[component]


def _areas(band: Mask, edges: Edges, ids: Ids, count: int) -> NDArray[np.int64]:
    """Count the pixels of components 1..count, by runs of pixels: there are far fewer."""
    begins = np.empty(band.shape, bool)
    begins[:, 0] = True
    np.not_equal(band[:, 1:], band[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    rows, columns = np.divmod(starts, band.shape[1])
    lengths = np.diff(rows * edges[-1] + edges[columns], append=len(band) * edges[-1])
    areas = np.bincount(ids.ravel()[starts], weights=lengths, minlength=count + 1)
    return areas[1:].astype(np.int64)


class Replay:
    """Finds a ledger's provisional numbers again in a second pass over the same bands."""

    def __init__(self, connectivity: int) -> None:
        self._connectivity = connectivity
        self._count = 0

    def ids(self, band: Mask) -> Ids:
        """Return the numbers that `Ledger.enter` gave to this band."""
        ids, found = label(band, self._connectivity)
        ids[band] += self._count
        self._count += found
        return ids
