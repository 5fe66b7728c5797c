"""Which holes of a label map are small, and which class lies around them; band by band."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slidemask.base.ahead import ahead
from slidemask.base.types import Labels
from slidemask.geometry.components import Ids, slabs
from slidemask.geometry.squeezed import squeezed_bands
from slidemask.post.components import Ledger

Walls = NDArray[np.int64]
"""(3, n): background component, foreground value beside it, how many pixel edges they share."""


def hole_values(
    bands: Iterable[tuple[int, Labels]], width: int, area_px: float
) -> tuple[Ledger, NDArray[np.uint8]]:
    """Enter the background; return what each of it is to be filled with, 0 = left as it is.

    A hole is an 8-connected background component that does not reach the canvas border. One of
    less than `area_px` pixels gets the value with which it shares most pixel edges, the lowest
    of equals. The index is the number that the ledger gave, slab by slab.
    """
    background = Ledger(width, connectivity=8)
    rim: list[Ids] = []
    walls: list[Walls] = []
    for entered in ahead(_entered(bands, background, width)):
        labels, ids, before = entered.labels, entered.ids, entered.before
        outer = np.concatenate([ids[:, 0], ids[:, -1], *([] if rim else [ids[0]])])
        rim.append(np.unique(np.where(outer > 0, outer + before, 0)))
        first = np.array([[before], [0], [0]])
        walls += [
            _walls(ids[:, :-1], ids[:, 1:], labels[:, :-1], labels[:, 1:]) + first,
            _walls(ids[:-1], ids[1:], labels[:-1], labels[1:]) + first,
            _walls(entered.ids_above, entered.first_ids, entered.above, labels[0]),
        ]
    component, count = background.components()
    values = _commonest(np.concatenate([np.empty((3, 0), np.int64), *walls], axis=1), component)
    open_to_rim = np.zeros(count + 1, bool)
    open_to_rim[component[np.concatenate([*rim, background.last_row])]] = True
    values[open_to_rim[component] | (background.areas() >= area_px)] = 0
    return background, values


class _Entered(NamedTuple):
    """A slab whose background is in the ledger, and the row above it."""

    labels: Labels
    ids: Ids
    before: int
    first_ids: Ids
    above: Labels
    ids_above: Ids


def _entered(
    bands: Iterable[tuple[int, Labels]], background: Ledger, width: int
) -> Iterator[_Entered]:
    last_row = np.zeros(width, np.uint8)
    for _, band, thin in squeezed_bands(bands):
        above = last_row[thin.edges[:-1]]
        for rows in slabs(thin.values.shape):
            labels, ids_above = thin.values[rows], background.row_above(thin.edges)
            ids = background.enter(labels == 0, thin.edges)
            first_ids = background.numbers(ids[0])
            yield _Entered(labels, ids, background.before, first_ids, above, ids_above)
            above = labels[-1]
        last_row = band[-1].copy()  # a view would keep the whole band


def _walls(ids: Ids, other_ids: Ids, labels: Labels, other_labels: Labels) -> Walls:
    """Count the pixel edges between background components and foreground values beside them."""
    beside = (labels == 0) ^ (other_labels == 0)
    edge = np.unravel_index(np.flatnonzero(beside), beside.shape)  # few: the rest sees only them
    value, other = labels[edge], other_labels[edge]
    component = np.where(value == 0, ids[edge], other_ids[edge])
    keys, shared = np.unique(component * np.int64(256) + value + other, return_counts=True)
    return np.stack([keys // 256, keys % 256, shared])


def _commonest(walls: Walls, component: Ids) -> NDArray[np.uint8]:
    """Return, for each provisional number, the value with most edges along its component."""
    keys, place = np.unique(component[walls[0]] * np.int64(256) + walls[1], return_inverse=True)
    shared = np.bincount(place, weights=walls[2], minlength=keys.size)
    best = np.zeros(component.max() + 1, np.uint8)
    ascending = np.lexsort((-keys, shared))  # later ones win: most edges, then the lowest value
    best[keys[ascending] // 256] = keys[ascending] % 256
    return best[component]
