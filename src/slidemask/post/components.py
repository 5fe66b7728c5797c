"""Connected components of a mask that arrives in bands: measured in one pass, changed in the next.

Every band's components get provisional numbers; contacts across seams say which are one. When all
bands have passed, the numbers are joined and the figures of each component added up. A second pass
over the same bands finds the same provisional numbers again.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

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
        self.count, self.before = 0, 0
        self._width = width
        self._last, self._edges = np.zeros(1, np.int32), np.array([0, width], np.intp)
        self._areas: list[NDArray[np.int64]] = []
        self._pairs: list[Ids] = []

    def enter(self, band: Mask, edges: Edges | None = None) -> Ids:
        """Return the (h, w) int32 numbers of components in this band; remember their areas.

        The provisional number of a component is that in its band and `before`.

        Parameters
        ----------
        band : (h, w) bool
        edges : (w + 1,) int, optional
            Where its columns begin in the whole, if it is squeezed (`geometry.squeezed`, with the
            row above).
        """
        self._lay(np.arange(self._width + 1) if edges is None else edges)
        ids, found = label(band, self.connectivity)
        self.before, self.count = self.count, self.count + found
        if found:
            self._areas.append(_areas(band, self._edges, ids, found))
            self._pairs.append(contacts(self._last, self.numbers(ids[0]), self.connectivity))
        self._last = self.numbers(ids[-1])
        return ids

    def numbers(self, ids: Ids) -> Ids:
        """Return provisional numbers of what was entered last, from those in this band."""
        return np.where(ids > 0, ids + np.int32(self.before), np.int32(0))

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

    def replays(self, values: NDArray[np.uint8]) -> Iterator[Callable[[Mask], Labels | None]]:
        """Yield one `replay` a pass: the first labels, later ones draw what it found again.

        For values that most pixels do not have; all passes see the same bands, the first all of
        them before the second begins.
        """
        look_up, kept = self.replay(values), list[_Drawn | None]()

        def first(band: Mask) -> Labels | None:
            found = look_up(band)
            kept.append(None if found is None else _drawn(found))
            return found

        yield first
        while True:
            coming = iter(kept)
            yield lambda band, coming=coming: _redrawn(next(coming), band.shape)

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


class _Drawn(NamedTuple):
    """Runs of equal values other than 0 in a flattened band."""

    starts: NDArray[np.intp]
    lengths: NDArray[np.intp]
    values: NDArray[np.uint8]


def _drawn(labels: Labels) -> _Drawn:
    flat = labels.ravel()
    places = np.flatnonzero(flat)
    values = flat[places]
    begun = np.ones(places.size, bool)
    begun[1:] = (np.diff(places) > 1) | (values[1:] != values[:-1])
    firsts = np.flatnonzero(begun)
    return _Drawn(places[firsts], np.diff(firsts, append=places.size), values[firsts])


def _redrawn(runs: _Drawn | None, shape: tuple[int, ...]) -> Labels | None:
    if runs is None:
        return None
    labels = np.zeros(shape, np.uint8)
    before = np.cumsum(runs.lengths) - runs.lengths
    places = np.repeat(runs.starts - before, runs.lengths) + np.arange(runs.lengths.sum())
    labels.ravel()[places] = np.repeat(runs.values, runs.lengths)
    return labels


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
