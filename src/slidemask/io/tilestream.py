"""From bands of rows to encoded tiles of every level, in bounded memory.

Level 0's tiles come out as the bands go in. The coarser levels are made at the same time; their
encoded tiles wait in a file of the caller's until they are asked for.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import OutputError
from slidemask.geometry.box import Size
from slidemask.geometry.squeezed import runs, zeros

Planes: TypeAlias = NDArray[np.uint8]
"""(C, H, W, S): C planes stored apart, S samples stored side by side."""


_MUCH = 0.5
"""Share of a row of tiles that was written to, above which its memory is used again."""


@dataclass(frozen=True)
class TileFormat:
    """How tiles of one kind of pyramid are encoded, shrunk and tagged."""

    size: Size
    planes: int
    samples: int
    tile: int
    encode: Callable[[NDArray[np.uint8]], bytes]
    shrink: Callable[[Planes], Planes]
    tags: dict[str, Any]
    sub_ifds: bool

    @property
    def sizes(self) -> list[Size]:
        """Sizes of the levels, halved until one tile holds all; a begun pixel counts."""
        sizes = [self.size]
        while max(sizes[-1]) > self.tile:
            sizes.append(Size(-(-sizes[-1].width // 2), -(-sizes[-1].height // 2)))
        return sizes

    def shape(self, size: Size) -> tuple[int, ...]:
        """Shape of a level as tifffile wants it."""
        inner = (size.height, size.width, *((self.samples,) if self.samples > 1 else ()))
        return (self.planes, *inner) if self.planes > 1 else inner


def level_0_tiles(
    bands: Iterable[tuple[int, Planes]],
    layout: TileFormat,
    spool: "Spool",
    pool: ThreadPoolExecutor,
) -> Iterator[bytes]:
    """Yield the encoded tiles of level 0, plane by plane; put the coarser ones on the spool."""
    encode = _Encoding(layout, pool)
    level: _LevelRows | None = None
    for number in reversed(range(len(layout.sizes))):
        level = _LevelRows(number, layout, _Sink(encode, spool, level))
    assert level is not None  # noqa: S101 - there is always a level 0
    for _, band in _checked(bands, layout):
        level.push(band)
        yield from spool.ready()
    for plane in range(1, layout.planes):
        yield from spool.tiles(0, plane)


def _checked(
    bands: Iterable[tuple[int, Planes]], layout: TileFormat
) -> Iterator[tuple[int, Planes]]:
    width, height = layout.size
    reached = 0
    for top, band in bands:
        planes, rows, columns, samples = band.shape if band.ndim == 4 else (0, 0, 0, 0)
        right = (planes, columns, samples) == (layout.planes, width, layout.samples)
        if not right or band.dtype != np.uint8 or top != reached or reached + rows > height:
            raise OutputError(
                f"the next band should start at row {reached} of {height} and hold {layout.planes} "
                f"plane(s) of {width} columns by {layout.samples} sample(s), uint8; "
                f"got one at row {top}, (planes, rows, columns, samples) = {band.shape}, "
                f"{band.dtype}"
            )
        reached += rows
        yield top, band
    if reached != height:
        raise OutputError(f"the bands ended at row {reached} of {height}")


class Spool:
    """Encoded tiles that wait for their turn, all but those of level 0's first plane."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._end = file, 0
        self._places: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._ready: deque[bytes] = deque()

    def put(self, level: int, plane: int, tiles: Iterable[bytes]) -> None:
        """Take the next tiles of a plane."""
        if (level, plane) == (0, 0):
            self._ready.extend(tiles)
            return
        places = self._places.setdefault((level, plane), [])
        for tile in tiles:
            places.append((self._end, len(tile)))
            self._end += self._file.write(tile)

    def ready(self) -> Iterator[bytes]:
        """Give away what can be written at once."""
        while self._ready:
            yield self._ready.popleft()

    def tiles(self, level: int, plane: int) -> Iterator[bytes]:
        """Read a plane's tiles back in their order."""
        for offset, length in self._places[level, plane]:
            self._file.seek(offset)
            yield self._file.read(length)

    def level(self, level: int, planes: int) -> Iterator[bytes]:
        """Read the tiles of all planes of a level."""
        for plane in range(planes):
            yield from self.tiles(level, plane)


class _Encoding:
    """Encode tiles on several threads; a tile of one colour is encoded once."""

    def __init__(self, layout: TileFormat, pool: ThreadPoolExecutor) -> None:
        self._layout, self._pool = layout, pool
        self._blanks: dict[bytes, bytes] = {}

    def row(self, rows: NDArray[np.uint8], held: NDArray[np.bool_]) -> list[bytes]:
        """Encode (≤ tile, W, S) pixels as one row of tiles, the last ones padded.

        `held` says which tiles hold something; there is no need to look at the others.
        """
        side, count = self._layout.tile, len(held)
        empty = (
            b"" if held.all() else self._encoded(np.zeros((side, side, rows.shape[2]), np.uint8))
        )
        tiles, numbers = [empty] * count, np.flatnonzero(held).tolist()
        parts = (rows[:, number * side : (number + 1) * side] for number in numbers)
        for number, tile in zip(numbers, self._pool.map(self._encoded, parts), strict=True):
            tiles[number] = tile
        return tiles

    def _encoded(self, part: NDArray[np.uint8]) -> bytes:
        key, blank = part[0, 0].tobytes(), of_one_colour(part)
        if blank and key in self._blanks:
            return self._blanks[key]
        side = self._layout.tile
        if part.shape[:2] != (side, side):
            padding = [(0, side - part.shape[0]), (0, side - part.shape[1]), (0, 0)]
            part = np.pad(part, padding, mode="edge")
        tile = self._layout.encode(part)
        if blank:
            self._blanks[key] = tile
        return tile


@dataclass(frozen=True)
class _Sink:
    """Where a level's full rows of tiles go: to the spool, and halved to the next level."""

    encode: _Encoding
    spool: Spool
    coarser: "_LevelRows | None"


class _LevelRows:
    """Rows of one level, gathered until they fill a row of tiles.

    Pixels of 0 are neither copied nor halved, and where there are no others nothing is encoded.
    """

    def __init__(self, number: int, layout: TileFormat, sink: _Sink) -> None:
        self._number, self._layout, self._sink = number, layout, sink
        self._size = layout.sizes[number]
        self._filled, self._missing = 0, self._size.height
        self._held = np.zeros(-(-self._size.width // layout.tile), bool)
        self._rows: Planes = zeros((layout.planes, layout.tile, self._size.width, layout.samples))

    def _clear(self) -> None:
        """Make room for the next rows; what little was written to goes back to the system."""
        if self._held.mean() > _MUCH:
            self._rows[:] = 0
        elif self._held.any():
            self._rows = zeros(self._rows.shape)
        self._held[:] = False

    def push(self, rows: Planes) -> None:
        """Take the next rows."""
        self.take(rows.shape[1], [(held.start, rows[:, :, held]) for held in _held(rows)])

    def take(self, height: int, pieces: Sequence[tuple[int, Planes]]) -> None:
        """Take the next rows, of which pieces from some columns on hold something."""
        done = 0
        while done < height:
            rows = slice(done, min(height, done + self._layout.tile - self._filled))
            for left, piece in pieces:
                self._put(left, piece[:, rows])
            done, count = rows.stop, rows.stop - rows.start
            self._filled += count
            self._missing -= count
            if self._filled == self._layout.tile or not self._missing:
                self._pass_on(self._rows[:, : self._filled])
                self._filled = 0
                self._clear()

    def _put(self, left: int, piece: Planes) -> None:
        right, side = left + piece.shape[2], self._layout.tile
        self._rows[:, self._filled : self._filled + piece.shape[1], left:right] = piece
        self._held[left // side : -(-right // side)] = True

    def _pass_on(self, rows: Planes) -> None:
        for plane in range(self._layout.planes):
            tiles = self._sink.encode.row(rows[plane], self._held)
            self._sink.spool.put(self._number, plane, tiles)
        if self._sink.coarser is not None:
            side, shrink = self._layout.tile, self._layout.shrink  # an even side: no block is cut
            pieces = [
                (run.start * side // 2, shrink(rows[:, :, run.start * side : run.stop * side]))
                for run in _runs(self._held)
            ]
            self._sink.coarser.take(-(-rows.shape[1] // 2), pieces)


def _held(rows: Planes) -> list[slice]:
    """Return the columns that hold something; of colours all, as they are hardly ever black."""
    if rows.shape[3] > 1:
        return [slice(0, rows.shape[2])]
    return runs(rows[..., 0])


def _runs(flags: NDArray[np.bool_]) -> list[slice]:
    """Return the runs of True."""
    steps = np.diff(flags.astype(np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(steps > 0).tolist(), np.flatnonzero(steps < 0).tolist()
    return [slice(*run) for run in zip(starts, stops, strict=True)]


def of_one_colour(part: NDArray[np.uint8]) -> bool:
    """Say whether all (H, W, S) pixels are alike."""
    pixel, rows = part[0, 0], part.reshape(len(part), -1)
    # Long rows compare quicker than single pixels; a few of them tell of most parts.
    first = pixel if pixel.size == 1 else np.tile(pixel, part.shape[1])
    return all(bool((some == first).all()) for some in (rows[:: max(1, len(rows) // 8)], rows))
