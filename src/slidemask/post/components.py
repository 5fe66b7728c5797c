"""Connected components of a mask that arrives in bands: measured in one pass, changed in the next.

Every slab's components get provisional numbers; contacts across seams say which are one. When all
slabs have passed, the numbers are joined and the figures of each component added up. What may turn
out to be small is remembered as runs of pixels, which a later pass draws without labelling again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Labels, Mask
from slidemask.geometry.components import Ids, contacts, label, merged
from slidemask.geometry.squeezed import Edges, relaid, squeezed


def present(labels: Labels) -> list[int]:
    """Return the foreground values that occur, ascending."""
    if (highest := labels.max(initial=0)) <= 1:
        return [1] * int(highest)
    return [value for value in np.flatnonzero(np.bincount(labels.ravel())).tolist() if value]


_HELD_RUNS = 1 << 20
"""So many runs may be remembered before those of components that have grown are forgotten."""


class Runs(NamedTuple):
    """Runs of pixels along the rows of a flattened slab or band, and one number for each."""

    starts: NDArray[np.intp]
    """Counted from the slab's first pixel as long as the slab is at hand, then from the band's."""
    lengths: NDArray[np.int32]
    numbers: NDArray[np.int32]
    """Of components; in `Spots` the values (uint8) that are to be painted."""

    def where(self, chosen: Mask) -> "Runs":
        """Return the chosen runs."""
        return Runs._make(field[chosen] for field in self)

    def places(self) -> NDArray[np.intp]:
        """Return the pixels of all runs."""
        before = np.cumsum(self.lengths) - self.lengths
        return np.repeat(self.starts - before, self.lengths) + np.arange(self.lengths.sum())


Spots: TypeAlias = Mapping[int, Sequence[Runs]]
"""What is to be painted on each squeezed band, by its top row; numbers are the new values."""


def repainted(bands: Iterable[tuple[int, Labels]], spots: Spots) -> Iterator[tuple[int, Labels]]:
    """Yield the bands in which the spots were found, painted over."""
    above: Labels | None = None
    for top, band in bands:
        if len(band) and top in spots:
            thin = squeezed(band, above)
            values = band.copy() if thin.values is band else thin.values
            for runs in spots[top]:
                values.reshape(-1)[runs.places()] = np.repeat(runs.numbers, runs.lengths)
            yield top, thin.widened(values)
        else:
            yield top, band
        above = band[-1].copy() if len(band) else above  # a view would keep the whole band


class Slab(NamedTuple):
    """Some rows of a mask whose components have numbers."""

    mask: Mask
    ids: Ids
    """(h, w) int32, 0 outside the mask."""
    found: int
    """How many components there are."""
    edges: Edges
    """(w + 1,) where its columns begin in the whole; it may be squeezed (`geometry.squeezed`, with
    the row above)."""
    top: int
    """First row of its band."""
    row: int
    """Its own first row in the band."""


def numbered(
    mask: Mask, connectivity: int, edges: Edges | None = None, *, top: int = 0, row: int = 0
) -> Slab:
    """Give the components of some rows numbers."""
    ids, found = label(mask, connectivity)
    return Slab(
        mask, ids, found, np.arange(mask.shape[1] + 1) if edges is None else edges, top, row
    )


class Ledger:
    """The components of one mask, entered slab by slab, top to bottom.

    Parameters
    ----------
    width : int
        Columns of the mask.
    connectivity : int
        4 or 8, as the slabs were numbered.
    below_px : float
        Components of fewer pixels may be asked for by `spots`.
    """

    def __init__(self, width: int, connectivity: int, below_px: float = 0) -> None:
        self.connectivity = connectivity
        self.count, self.before = 0, 0
        self._below_px = below_px
        self._last, self._edges = np.zeros(1, np.int32), np.array([0, width], np.intp)
        self._areas: list[NDArray[np.int64]] = []
        self._pairs: list[Ids] = []
        self._small: list[tuple[int, Runs]] = []
        self._held, self._may_hold = 0, _HELD_RUNS

    def enter(self, slab: Slab) -> Runs:
        """Take the next rows; remember areas, and where components are that may be small.

        The provisional number of a component is that in its slab and `before`.

        Returns
        -------
        Runs
            Of components with less than `below_px` pixels in this slab, with their numbers in it.
        """
        self._lay(slab.edges)
        self.before, self.count = self.count, self.count + slab.found
        small = Runs(np.zeros(0, np.intp), *np.zeros((2, 0), np.int32))
        if slab.found:
            areas, runs = _measured(slab)
            self._areas.append(areas)
            self._pairs.append(contacts(self._last, self.numbers(slab.ids[0]), self.connectivity))
            small = runs.where((areas < self._below_px)[runs.numbers - 1])
        if small.starts.size:
            starts = small.starts + slab.row * slab.mask.shape[1]
            numbers = small.numbers + np.int32(self.before)
            self._small.append((slab.top, Runs(starts, small.lengths, numbers)))
            self._held += starts.size
        if self._held > self._may_hold:
            self._forget_grown()
        self._last = self.numbers(slab.ids[-1])
        return small

    def _forget_grown(self) -> None:
        """Forget where components are that are known to be too large to be asked for.

        Slabs of a wide mask have few rows: nearly every component begins as a small one there.
        """
        may_be_small = self.areas() < self._below_px
        left = [(top, runs.where(may_be_small[runs.numbers])) for top, runs in self._small]
        self._small = [(top, runs) for top, runs in left if runs.starts.size]
        self._held = sum(runs.starts.size for _, runs in self._small)
        self._may_hold = max(_HELD_RUNS, 2 * self._held)

    def numbers(self, ids: Ids) -> Ids:
        """Return provisional numbers of what was entered last, from those in its slab."""
        return np.where(ids > 0, ids + np.int32(self.before), np.int32(0))

    def row_above(self, edges: Edges) -> Ids:
        """Return the numbers in the last row that was entered, at the columns of the next slab."""
        self._lay(edges)
        return self._last

    def _lay(self, edges: Edges) -> None:
        self._last, self._edges = relaid(self._last, self._edges, edges), edges

    def spots(self, chosen: Mask, values: NDArray[np.uint8]) -> dict[int, list[Runs]]:
        """Return where chosen components are, all below `below_px`, and what they are to become.

        Parameters
        ----------
        chosen : (count + 1,) bool
            By provisional number.
        values : (count + 1,) uint8
            Likewise.
        """
        spots: dict[int, list[Runs]] = {}
        for top, runs in self._small:
            here = runs.where(chosen[runs.numbers])
            if here.starts.size:
                spots.setdefault(top, []).append(here._replace(numbers=values[here.numbers]))
        return spots

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


def _measured(slab: Slab) -> tuple[NDArray[np.int64], Runs]:
    """Return the areas of a slab's components 1..count, and their runs of pixels."""
    mask, edges, width = slab.mask, slab.edges, slab.mask.shape[1]
    begins = np.empty(mask.shape, bool)
    begins[:, 0] = True
    np.not_equal(mask[:, 1:], mask[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    numbers = slab.ids.reshape(-1)[starts]
    lengths = pixels = np.diff(starts, append=mask.size)
    if edges[-1] != width:  # squeezed: a gap's column stands for many
        rows, columns = np.divmod(starts, width)
        pixels = np.diff(rows * edges[-1] + edges[columns], append=len(mask) * edges[-1])
    inside = numbers > 0
    numbers = numbers[inside]
    areas = np.bincount(numbers, weights=pixels[inside], minlength=slab.found + 1)
    runs = Runs(starts[inside], lengths[inside].astype(np.int32), numbers)
    return areas[1:].astype(np.int64), runs


class Replay:
    """Finds a ledger's provisional numbers again in a second pass over the same bands."""

    def __init__(self, connectivity: int) -> None:
        self._connectivity = connectivity
        self._count = 0

    def ids(self, band: Mask) -> Ids:
        """Return the numbers that `numbered` and `Ledger.enter` gave to this band."""
        ids, found = label(band, self._connectivity)
        ids[band] += self._count
        self._count += found
        return ids
