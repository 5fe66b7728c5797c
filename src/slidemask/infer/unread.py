"""Tiles that cannot be read: left out and written down instead of ending the slide."""

import json
import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import SlideError
from slidemask.base.files import append_synced, sync_folder
from slidemask.base.types import IGNORE, Labels, Mask, Rgb
from slidemask.geometry.box import Box, Size
from slidemask.io.slide import Slide
from slidemask.tiles.grid import Tile
from slidemask.tiles.select import TileSet

T = TypeVar("T")
log = logging.getLogger(__name__)


class TolerantSlide:
    """A slide for whose unreadable tiles nothing is predicted.

    A tile that was left out once stays so when a killed run goes on, even if it could be read
    then: the result is that of one run.

    Parameters
    ----------
    slide : Slide
    noted : Path
        A line for each tile that was left out, fsynced before anything is made of the others.
        What an earlier run of the same job wrote there is taken up.
    """

    def __init__(self, slide: Slide, noted: Path) -> None:
        self._slide, self._noted = slide, noted
        self.unread = read_notes(noted)
        self._lock = threading.Lock()

    @property
    def id(self) -> str:
        """The slide's own."""
        return self._slide.id

    @property
    def size(self) -> Size:
        """The slide's own."""
        return self._slide.size

    @property
    def mpp(self) -> float | None:
        """The slide's own."""
        return self._slide.mpp

    @property
    def downsamples(self) -> tuple[float, ...]:
        """The slide's own."""
        return self._slide.downsamples

    def read(self, box: Box, downsample: float = 1.0) -> Rgb:
        """Read as the slide does, errors included."""
        return self._slide.read(box, downsample)

    def noting(self, noted: Path) -> "TolerantSlide":
        """Return the same slide with notes of its own, as another grid of tiles needs them."""
        return TolerantSlide(self._slide, noted)

    def unless_unread(self, tile: Tile, read: Callable[[], T]) -> T | None:
        """Return what `read` reads of a tile, or None and note it; threads may call at once."""
        if tile.number in self.unread:
            return None
        try:
            return read()
        except SlideError as error:
            self._note(tile, str(error))
            return None

    def _note(self, tile: Tile, why: str) -> None:
        log.debug("%s: tile %d left out: %s", self.id, tile.number, why)
        with self._lock:
            line = json.dumps({"tile": tile.number, "why": why}) + "\n"
            append_synced(self._noted, line.encode())
            if not self.unread:
                sync_folder(self._noted.parent)
            self.unread[tile.number] = why


def read_notes(noted: Path) -> dict[int, str]:
    """Return number and reason of each tile that was left out, and cut off a torn last line."""
    if not noted.exists():
        return {}
    whole = noted.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end < len(whole):
        os.truncate(noted, end)
    lines = [json.loads(line) for line in whole[:end].splitlines()]
    return {line["tile"]: line["why"] for line in lines}


@dataclass(frozen=True, eq=False)
class Unread:
    """Tiles of one network's grid that were left out.

    Parameters
    ----------
    tiles : TileSet
        Those that the network was to see.
    why : dict of int to str
        Number and reason of each that could not be read.
    """

    tiles: TileSet
    why: dict[int, str]

    @property
    def boxes(self) -> list[Box]:
        """Where they are, level-0 pixels."""
        return [self.tiles.grid[number].box for number in sorted(self.why)]

    def rows(self, top: int, height: int) -> Mask | None:
        """Return which pixels of canvas rows no readable tile covers; None: all are known."""
        grid = self.tiles.grid
        here = [grid[number] for number in self.why]
        lost = [tile for tile in here if -grid.tile < tile.row * grid.stride - top < height]
        if not lost:
            return None
        unknown = np.zeros((height, grid.canvas.width), bool)
        for tile in lost:
            unknown[self._window(tile.row, tile.column, top)] = True
        for row, column in self._readable_beside(lost):
            unknown[self._window(row, column, top)] = False
        return unknown

    def _window(self, row: int, column: int, top: int) -> tuple[slice, slice]:
        """Return rows, counted from `top`, and columns that a tile covers; empty where above."""
        side, stride = self.tiles.grid.tile, self.tiles.grid.stride
        first, left = row * stride - top, column * stride
        return slice(max(0, first), max(0, first + side)), slice(left, left + side)

    def _readable_beside(self, lost: Collection[Tile]) -> Iterator[tuple[int, int]]:
        """Yield rows and columns of the readable tiles that may overlap those."""
        grid = self.tiles.grid
        readable = self.tiles.kept.copy()
        readable.flat[list(self.why)] = False
        near = np.zeros(grid.shape, bool)
        reach = -(-grid.tile // grid.stride) - 1
        for tile in lost:
            rows = slice(max(0, tile.row - reach), tile.row + reach + 1)
            near[rows, max(0, tile.column - reach) : tile.column + reach + 1] = True
        rows, columns = np.nonzero(near & readable)
        yield from zip(rows.tolist(), columns.tolist(), strict=True)


def with_unknown(
    bands: Iterator[tuple[int, Labels]], unread: Collection[Unread]
) -> Iterator[tuple[int, Labels]]:
    """Mark as unknown (255) the pixels that some network saw no readable tile of."""
    for top, labels in bands:
        for one in unread:
            unknown = one.rows(top, len(labels))
            if unknown is not None:
                labels = np.where(unknown, np.uint8(IGNORE), labels)  # noqa: PLW2901 - each adds
        yield top, labels


def share_unknown(unread: Collection[Unread], canvas: Size, tissue: NDArray[np.bool_]) -> float:
    """Return which share of the tissue is unknown.

    Parameters
    ----------
    unread : collection of Unread
    canvas : Size
        Of the map.
    tissue : (H, W) bool
        Of the same area, at any resolution.
    """
    lost, height = 0, tissue.shape[0]
    columns = _centres(tissue.shape[1], canvas.width)
    for index, row in enumerate(_centres(height, canvas.height).tolist()):
        unknown = [found for one in unread if (found := one.rows(row, 1)) is not None]
        if unknown:
            lost += int(np.count_nonzero(np.any(unknown, axis=0)[0, columns] & tissue[index]))
    return lost / max(1, int(np.count_nonzero(tissue)))


def _centres(count: int, length: int) -> NDArray[np.intp]:
    """Return in which of `length` pixels the centres of `count` pixels lie."""
    return ((np.arange(count) + 0.5) * length / count).astype(np.intp)
