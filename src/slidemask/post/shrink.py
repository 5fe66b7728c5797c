"""Each part of a label map drawn smaller about its own centre, in bands.

Parts are held as runs, the pixels of one row from a start to a stop: the memory grows with the
parts' outlines and not with their areas, and a run is let go when its new row is written.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Labels
from slidemask.geometry.components import Ids, slabs
from slidemask.post.components import Ledger, Replay, numbered, present

_ROWS = 512
_PIXELS = 1 << 21
"""Pixels that are painted at once: numpy takes 8 bytes for the place of each."""

Bands = Iterator[tuple[int, Labels]]
Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


def shrinking(make_bands: Callable[[], Bands], width: int, share: float) -> Callable[[], Bands]:
    """Return what makes bands whose parts are scaled by 1 - `share`.

    Each 4-connected part of one class is scaled about its centroid, the mean of its pixels'
    centres; a pixel belongs to it then where its centre does. Where parts come to lie on one
    another, as a ring on what it surrounds, the one that begins later (by rows, then columns) lies
    on top. Frank 2022, rs-122564/v3, calls it isomorphic shrinking.

    Parameters
    ----------
    make_bands : callable
        Starts the bands of labels from the top again, cut in the same way each time.
    width : int
        Columns.
    share : float
        0..1; 0.05 takes 5 % off lengths.
    """
    parts = cache(lambda: _parts(make_bands(), width))

    def shrunk() -> Bands:
        return _drawn(make_bands(), parts(), width, 1 - share)

    return shrunk


class _Runs(NamedTuple):
    """Pixels side by side: row, first column, one after the last, whose they are."""

    row: Whole
    start: Whole
    stop: Whole
    part: Whole

    def where(self, chosen: NDArray[np.bool_]) -> "_Runs":
        return _Runs(*(column[chosen] for column in self))


@dataclass(frozen=True)
class _Parts:
    """All parts of one class."""

    number: Ids
    """Part of each provisional number, from 1 up."""
    x: Floats
    """Centroids, in pixel edges."""
    y: Floats
    top: Whole
    bottom: Whole
    """First row, and last."""
    rank: Whole
    """Place among the parts of all classes, by their first pixels."""


@dataclass
class _Sums:
    """What is known of one class's provisional numbers: a row of figures each, slab by slab."""

    ledger: Ledger
    figures: list[Floats] = field(default_factory=list)

    def enter(self, mask: NDArray[np.bool_], top: int) -> None:
        """Add a slab: pixels, sums of x and y, place of the first pixel, first and last row."""
        slab = numbered(mask, self.ledger.connectivity)
        self.ledger.enter(slab)
        runs = _runs(slab.ids, top)
        count, index = self.ledger.count - self.ledger.before, runs.part - 1
        pixels = (runs.stop - runs.start).astype(np.float64)
        places = runs.row * mask.shape[1] + runs.start
        sums = (pixels, pixels * (runs.start + runs.stop) / 2, pixels * (runs.row + 0.5))
        table = np.empty((6, count))
        table[:3] = [np.bincount(index, weights=some, minlength=count) for some in sums]
        table[3:5], table[5] = np.inf, -1
        np.minimum.at(table[3], index, places)
        np.minimum.at(table[4], index, runs.row)
        np.maximum.at(table[5], index, runs.row)
        self.figures.append(table)


def _parts(bands: Bands, width: int) -> dict[int, _Parts]:
    """Measure the parts of every class."""
    sums: dict[int, _Sums] = {}
    for top, labels in bands:
        for rows in slabs(labels.shape):
            for value in present(labels[rows]):
                sums.setdefault(value, _Sums(Ledger(width, connectivity=4)))
            for value, one in sums.items():
                one.enter(labels[rows] == value, top + rows.start)
    joined = {value: _joined(one) for value, one in sums.items()}
    starts = np.concatenate([np.empty(0), *(table[3] for _, table in joined.values())])
    ranks = np.argsort(np.argsort(starts))
    parts: dict[int, _Parts] = {}
    for value, (number, table) in joined.items():
        pixels, x, y = table[:3]
        top, bottom = table[4:].astype(np.int64)
        own, ranks = ranks[: len(x)], ranks[len(x) :]
        parts[value] = _Parts(number, x / pixels, y / pixels, top, bottom, own)
    return parts


def _joined(sums: _Sums) -> tuple[Ids, Floats]:
    """Add up the figures of provisional numbers that are one part."""
    number, count = sums.ledger.components()
    whole = np.concatenate(sums.figures, axis=1)
    table, index = np.empty((6, count)), number[1:] - 1
    for row in range(3):
        table[row] = np.bincount(index, weights=whole[row], minlength=count)
    table[3:5], table[5] = np.inf, -1
    for row in (3, 4):
        np.minimum.at(table[row], index, whole[row])
    np.maximum.at(table[5], index, whole[5])
    return number, table


def _runs(ids: Ids, top: int) -> _Runs:
    """Return the runs of a slab whose first row is `top`, by rows; parts of ids never touch."""
    edges = np.diff((ids > 0).astype(np.int8), axis=1, prepend=0, append=0)
    rows, starts = np.nonzero(edges == 1)
    _, stops = np.nonzero(edges == -1)
    return _Runs(rows + top, starts, stops, ids[rows, starts].astype(np.int64))


def _drawn(bands: Bands, parts: dict[int, _Parts], width: int, scale: float) -> Bands:
    """Draw the parts again, each row as soon as nothing more can come into it."""
    replays = {value: Replay(connectivity=4) for value in parts}
    # What is to be painted: runs by new rows, each with its rank and value.
    waiting: list[tuple[_Runs, NDArray[np.uint8]]] = []
    done = read = 0
    for top, labels in bands:
        for rows in slabs(labels.shape):
            for value in present(labels[rows]):
                ids = replays[value].ids(labels[rows] == value)
                runs = _scaled(_runs(ids, top + rows.start), parts[value], scale)
                waiting.append((runs, np.full(len(runs.row), value, np.uint8)))
        read = top + len(labels)
        while _settled(parts, read, scale) - done >= _ROWS:
            band, waiting = _painted(waiting, done, done + _ROWS, width)
            yield done, band
            done += _ROWS
    while done < read:
        end = min(done + _ROWS, read)
        band, waiting = _painted(waiting, done, end, width)
        yield done, band
        done = end


def _settled(parts: dict[int, _Parts], read: int, scale: float) -> int:
    """Rows of the result that no row from `read` on can change."""
    settled = read
    for one in parts.values():
        begun = (one.top < read) & (one.bottom >= read)
        if begun.any():
            settled = min(settled, int(_moved(read, one.y[begun], scale).min()))
    return settled


def _moved(edges: Whole | int, centre: Floats, scale: float) -> Whole:
    """Return the first pixels whose centres lie beyond edges that are drawn nearer to a centre."""
    return np.ceil(centre + (edges - centre) * scale - 0.5).astype(np.int64)


def _scaled(runs: _Runs, parts: _Parts, scale: float) -> _Runs:
    """Draw runs nearer to their parts' centroids; rows that get no pixel's centre vanish."""
    index = parts.number[runs.part] - 1
    x, y = parts.x[index], parts.y[index]
    row = _moved(runs.row, y, scale)
    scaled = _Runs(
        row, _moved(runs.start, x, scale), _moved(runs.stop, x, scale), parts.rank[index]
    )
    return scaled.where((_moved(runs.row + 1, y, scale) > row) & (scaled.stop > scaled.start))


def _painted(
    waiting: list[tuple[_Runs, NDArray[np.uint8]]], top: int, bottom: int, width: int
) -> tuple[Labels, list[tuple[_Runs, NDArray[np.uint8]]]]:
    """Return rows top..bottom, and what is left to be painted below them."""
    band = np.zeros((bottom - top, width), np.uint8)
    if not waiting:
        return band, []
    runs = _Runs(*(np.concatenate(column) for column in zip(*(r for r, _ in waiting), strict=True)))
    values = np.concatenate([value for _, value in waiting])
    here = np.flatnonzero(runs.row < bottom)
    here = here[np.argsort(runs.part[here], kind="stable")]
    lengths = (runs.stop - runs.start)[here]
    starts = ((runs.row - top) * width + runs.start)[here]
    groups = np.cumsum(lengths) // _PIXELS
    for group in np.unique(groups):
        some = groups == group
        count = lengths[some]
        places = np.repeat(starts[some] - np.cumsum(count) + count, count) + np.arange(count.sum())
        band.ravel()[places] = np.repeat(values[here][some], count)
    left = runs.row >= bottom
    return band, [(runs.where(left), values[left])] if left.any() else []
