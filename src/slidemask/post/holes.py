"""Which holes of a label map are small, and which class lies around them; band by band."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from slidemask.base.ahead import ahead
from slidemask.base.types import Labels
from slidemask.geometry.components import Ids, slabs
from slidemask.geometry.squeezed import squeezed_bands
from slidemask.post.components import Ledger, Runs, Slab, Spots, numbered

Walls = NDArray[np.int64]
"""(3, n): background component, foreground value beside it, how many pixel edges they share."""


def small_holes(bands: Iterable[tuple[int, Labels]], width: int, area_px: float) -> Spots:
    """Return where the small holes are, and what they are to be filled with.

    A hole is an 8-connected background component that does not reach the canvas border. One of
    less than `area_px` pixels gets the value with which it shares most pixel edges, the lowest
    of equals.
    """
    background = Ledger(width, connectivity=8, below_px=area_px)
    rim: list[Ids] = []
    walls: list[Walls] = []
    for labels, above, slab in ahead(_background(bands, width)):
        ids, ids_above = slab.ids, background.row_above(slab.edges)
        small, before = background.enter(slab), background.before
        outer = np.concatenate([ids[:, 0], ids[:, -1], *([] if rim else [ids[0]])])
        inner = np.ones(slab.found + 1, bool)
        inner[outer] = False
        rim.append(np.flatnonzero(~inner[1:]).astype(np.int32) + np.int32(before + 1))
        first = np.array([[before], [0], [0]])
        walls += [
            _walls_around(slab, small.where(inner[small.numbers]), labels) + first,
            _walls_between(ids_above, background.numbers(ids[0]), above, labels[0]),
        ]
    component, count = background.components()
    values = _commonest(np.concatenate([np.empty((3, 0), np.int64), *walls], axis=1), component)
    open_to_rim = np.zeros(count + 1, bool)
    open_to_rim[component[np.concatenate([*rim, background.last_row])]] = True
    values[open_to_rim[component] | (background.areas() >= area_px)] = 0
    return background.spots(values > 0, values)


def _background(
    bands: Iterable[tuple[int, Labels]], width: int
) -> Iterator[tuple[Labels, Labels, Slab]]:
    """Yield slabs of labels, the row above each, and their background."""
    last_row = np.zeros(width, np.uint8)
    for top, band, thin in squeezed_bands(bands):
        above = last_row[thin.edges[:-1]]
        for rows in slabs(thin.values.shape):
            labels = thin.values[rows]
            yield labels, above, numbered(labels == 0, 8, thin.edges, top=top, row=rows.start)
            above = labels[-1]
        last_row = band[-1].copy()  # a view would keep the whole band


def _walls_around(slab: Slab, runs: Runs, labels: Labels) -> Walls:
    """Count the edges inside a slab between some of the background and what is beside it.

    `runs` are those of whole components, of which none begins or ends at the slab's sides.
    """
    flat, ids, width = labels.reshape(-1), slab.ids.reshape(-1), labels.shape[1]
    meant = np.zeros(slab.found + 1, bool)
    meant[runs.numbers] = True
    upper = np.flatnonzero(slab.mask[1:] != slab.mask[:-1])
    owner = np.maximum(ids[upper], ids[upper + width])
    upper, owner = upper[meant[owner]], owner[meant[owner]]
    beside = [flat[runs.starts - 1], flat[runs.starts + runs.lengths]]
    return _counted(
        np.concatenate([runs.numbers, runs.numbers, owner]),
        np.concatenate([*beside, flat[upper] + flat[upper + width]]),
    )


def _walls_between(ids: Ids, other_ids: Ids, labels: Labels, other_labels: Labels) -> Walls:
    """Count the edges between two rows, those of background components and of values beside."""
    edge = np.flatnonzero((labels == 0) ^ (other_labels == 0))
    value, other = labels[edge], other_labels[edge]
    return _counted(np.where(value == 0, ids[edge], other_ids[edge]), value + other)


def _counted(component: Ids, values: Labels) -> Walls:
    """Count pairs of component and value."""
    keys = component.astype(np.int64) << 8 | values
    keys, shared = np.unique(keys, return_counts=True)
    return np.stack([keys >> 8, keys & 255, shared])


def _commonest(walls: Walls, component: Ids) -> NDArray[np.uint8]:
    """Return, for each provisional number, the value with most edges along its component."""
    keys, place = np.unique(component[walls[0]] * np.int64(256) + walls[1], return_inverse=True)
    shared = np.bincount(place, weights=walls[2], minlength=keys.size)
    best = np.zeros(component.max() + 1, np.uint8)
    ascending = np.lexsort((-keys, shared))  # later ones win: most edges, then the lowest value
    best[keys[ascending] // 256] = keys[ascending] % 256
    return best[component]
