"""Which holes of a label map are small, and which class lies around them; band by band."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

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
    last_row = np.zeros(width, np.uint8)
    rim: list[Ids] = []
    walls: list[Walls] = []
    for _, band, thin in squeezed_bands(bands):
        above = last_row[thin.edges[:-1]]
        for rows in slabs(thin.values.shape):
            labels, ids_above = thin.values[rows], background.row_above(thin.edges)
            ids = background.enter(labels == 0, thin.edges)
            rim.append(
                np.unique(np.concatenate([ids[:, 0], ids[:, -1], *([] if rim else [ids[0]])]))
            )
            walls += [
                _walls(ids[:, :-1], ids[:, 1:], labels[:, :-1], labels[:, 1:]),
                _walls(ids[:-1], ids[1:], labels[:-1], labels[1:]),
                _walls(ids_above, ids[0], above, labels[0]),
            ]
            above = labels[-1]
        last_row = band[-1].copy()  # a view would keep the whole band
    component, count = background.components()
    values = _commonest(np.concatenate([np.empty((3, 0), np.int64), *walls], axis=1), component)
    open_to_rim = np.zeros(count + 1, bool)
    open_to_rim[component[np.concatenate([*rim, background.last_row])]] = True
    values[open_to_rim[component] | (background.areas() >= area_px)] = 0
    return background, values


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
