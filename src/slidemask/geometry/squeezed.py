"""Bands of a large, mostly empty map, squeezed to the columns that hold something.

Most of a slide is glass. In a band of its rows, each gap of empty columns is kept as one column:
what touches what stays as it was, and work on the band takes the time of what is in it.
"""

import math
import mmap
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)
Edges: TypeAlias = NDArray[np.intp]
"""(w + 1,) where each of w kept columns begins in the whole band, and the whole width."""

_LEAST_GAP = 64
"""Narrower gaps are kept as they are: each piece costs a copy."""

_MOST = 0.85
"""A band with a larger share of columns that hold something is kept whole: no copy at all."""

_LEAST_MAPPED = 1 << 20


def blank(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return zeros that take no memory, read-only; `is_blank` knows them without looking.

    >>> blank((2, 3)).tolist(), is_blank(blank((2, 3))), is_blank(np.zeros((2, 3), np.uint8))
    ([[0, 0, 0], [0, 0, 0]], True, False)
    """
    return np.broadcast_to(np.uint8(0), shape)


def zeros(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return zeros that take memory only where they are written to, and give it back at once.

    numpy's come from the heap, where what was in use before is written over and kept.

    >>> zeros((2, 3)).tolist()
    [[0, 0, 0], [0, 0, 0]]
    """
    size = math.prod(shape)
    if size < _LEAST_MAPPED or not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.zeros(shape, np.uint8)
    private = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(private, np.uint8).reshape(shape)


def is_blank(band: NDArray[np.uint8]) -> bool:
    """Say whether a band is one that `blank` made, or a part of one."""
    return band.size > 0 and not any(band.strides) and not band.flat[0]


def runs(band: NDArray[np.uint8], above: NDArray[np.uint8] | None = None) -> list[slice]:
    """Return the columns of (..., W) values that hold something, joined over narrow gaps.

    Where that is most of the columns, all are returned in one piece.

    >>> runs(np.array([[0, 5, 0, 7]], np.uint8)), runs(blank((4, 4)))
    ([slice(1, 4, None)], [])
    """
    width = band.shape[-1]
    empty = not band.size or is_blank(band)
    held = np.zeros(width, np.uint8) if empty else band.reshape(-1, width).max(axis=0)
    places = np.flatnonzero(held if above is None else held | above)
    if not places.size:
        return []
    breaks = np.flatnonzero(np.diff(places) > _LEAST_GAP)
    starts = places[np.concatenate([[0], breaks + 1])].tolist()
    stops = (places[np.concatenate([breaks, [-1]])] + 1).tolist()
    if sum(stops) - sum(starts) > _MOST * width:
        return [slice(0, width)]
    return [slice(*run) for run in zip(starts, stops, strict=True)]


class Squeezed(NamedTuple):
    """A band without most of its empty columns."""

    values: NDArray[np.uint8]
    """(h, w), w as small as may be."""
    edges: Edges
    pieces: tuple[tuple[slice, slice], ...]
    """Columns of the whole band, and the columns here that stand for them: as many, or one."""

    def widened(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (h, w) values, squeezed like these, as a whole band; it may be read-only."""
        height, width = len(values), int(self.edges[-1])
        if values.shape[1] == width:
            return values
        if not values.any():
            return blank((height, width))
        whole = zeros((height, width))
        for there, here in self.pieces:
            part = values[:, here]
            if part.shape[1] > 1 or part.any():  # of a gap nothing is touched
                whole[:, there] = part
        return whole


def squeezed(band: NDArray[np.uint8], above: NDArray[np.uint8] | None = None) -> Squeezed:
    """Squeeze (h, W) values to the columns that hold something, in the band or the row above it.

    >>> thin = squeezed(np.array([[0] * 100 + [3, 4] + [0] * 98], np.uint8))
    >>> thin.values.tolist(), thin.edges.tolist()
    ([[0, 3, 4, 0]], [0, 100, 101, 102, 200])
    """
    width, left, kept = band.shape[1], 0, 0
    pieces: list[tuple[slice, slice]] = []
    edges: list[Edges] = []
    for run in [*runs(band, above), slice(width, width)]:
        if run.start > left:
            pieces.append((slice(left, run.start), slice(kept, kept + 1)))
            edges.append(np.array([left]))
            kept += 1
        if run.stop > run.start:
            pieces.append((run, slice(kept, kept + run.stop - run.start)))
            edges.append(np.arange(run.start, run.stop))
            kept += run.stop - run.start
        left = run.stop
    places = np.concatenate([*edges, [width]]).astype(np.intp)
    if kept == width:
        return Squeezed(band, places, tuple(pieces))
    values = np.zeros((len(band), kept), np.uint8)
    for there, here in pieces:
        if here.stop - here.start > 1 or there.stop - there.start == 1:
            values[:, here] = band[:, there]
    return Squeezed(values, places, tuple(pieces))


def squeezed_bands(
    bands: Iterable[tuple[int, NDArray[np.uint8]]],
) -> Iterator[tuple[int, NDArray[np.uint8], Squeezed]]:
    """Yield each band with itself squeezed, such that where one gap is, the row above is empty."""
    above: NDArray[np.uint8] | None = None
    for top, band in bands:
        yield top, band, squeezed(band, above)
        above = band[-1].copy() if len(band) else above  # a view would keep the whole band


def relaid(row: NDArray[Number], edges: Edges, to: Edges) -> NDArray[Number]:
    """Return a row of values of some kept columns, as the columns kept by another squeezing."""
    return row if edges is to else np.repeat(row, np.diff(edges))[to[:-1]]
