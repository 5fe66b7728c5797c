"""Batches of tiles, read straight from slides, by worker processes where wanted.

Nothing depends on how many workers there are: a worker is told which tile of which epoch to make,
and draws from a generator seeded by that alone.
"""

import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from slidemask.base.process import end_with_parent
from slidemask.base.types import Labels, Views
from slidemask.data.augment import Augment, change_look_together, draw_motion
from slidemask.data.motion import Motion
from slidemask.data.sampling import draw, epoch_length, moved
from slidemask.data.shelf import Shelf
from slidemask.data.source import TileSource
from slidemask.geometry.box import Box
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.reading import read_tile, surroundings


class Batch(NamedTuple):
    """Tiles, their labels, and where they come from."""

    images: Tensor
    """(N, H, W, 3) uint8, or (N, H, W, 6) where the tiling has a context: tile, surroundings."""
    labels: Tensor
    """(N, H, W) uint8."""
    slides: tuple[str, ...]
    """Path of each tile's slide."""


class Order(NamedTuple):
    """A tile to be made: its case and corner and, for training, which draw of the epoch it is."""

    case: int
    x: float
    y: float
    draw: tuple[int, int] | None = None
    stride: int | None = None
    """Of the grid that it comes from; None: of the case's."""


class TileMaker(Dataset[tuple[Views, Labels, str]]):
    """Makes the tile that an order asks for; goes to worker processes without its open slides.

    Parameters
    ----------
    source : TileSource
        Its table stays behind.
    augment : Augment, optional
        How training tiles are varied.
    """

    def __init__(self, source: TileSource, augment: Augment | None = None) -> None:
        self._cases, self._grids, self._classes = source.cases, source.grids, source.classes
        self._sampling, self._augment = source.sampling, augment or Augment.off()
        self._shelf = Shelf(self._cases, self._classes)

    def __getitem__(self, order: Order) -> tuple[Views, Labels, str]:
        grid = self._grids[order.case]
        if order.draw is None:
            side = grid.tile * grid.downsample
            box, motion, rng = Box(order.x, order.y, side, side), Motion(grid.tile), None
        else:
            rng = np.random.default_rng((self._sampling.seed, *order.draw))
            own = grid if order.stride is None else replace(grid, stride=order.stride)
            box = moved((order.x, order.y), own, self._sampling.jitter, rng)
            motion = draw_motion(self._augment, grid.tile, rng)
        if self._sampling.squeeze:
            box, motion = _squeezed(grid, motion)
        slide, truth = self._shelf.get(order.case)
        window = _window(box, motion, grid.downsample)
        views = read_tile(slide, window, grid.downsample)
        views, labels = motion.apply(views, truth.labels(window, grid.downsample))
        if grid.context is not None:
            coarse, step = motion.coarser(grid.context), grid.downsample * grid.context
            window = _window(surroundings(box, grid.context), coarse, step)
            around = coarse.apply_to_image(read_tile(slide, window, step))
            views = np.concatenate([views, around], axis=2)
        if rng is not None:
            views = change_look_together(views, self._augment, rng)
        return views, labels, str(self._cases[order.case].slide)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_shelf": Shelf(self._cases, self._classes)}


class TrainingLoader:
    """The batches of each epoch, every epoch drawn anew.

    Parameters
    ----------
    source : TileSource
        Where the tiles come from.
    batch : int
        Tiles per batch; an epoch's last, incomplete batch is left out unless it is the only one.
    workers : int
        Processes that read; 0 reads in this one.
    augment : Augment, optional
        How tiles are varied; None leaves them, but for the movement by `Sampling.jitter`.
    pin : bool
        Put batches into page-locked memory, for CUDA.
    """

    def __init__(
        self,
        source: TileSource,
        batch: int,
        *,
        workers: int = 0,
        augment: Augment | None = None,
        pin: bool = False,
    ) -> None:
        self._source, self._batch = source, batch
        self._orders = _Orders()
        self._loader = _loader(TileMaker(source, augment), self._orders, workers, pin=pin)
        self._tiles = epoch_length(source.table, source.sampling)
        self.hard: NDArray[np.intp] | None = None
        """Tiles of the source's table to be seen more often (`Sampling.hard_rounds`)."""

    @property
    def source(self) -> TileSource:
        """Where the tiles come from."""
        return self._source

    def __len__(self) -> int:
        """Batches an epoch."""
        return max(1, self._tiles // self._batch)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (N, H, W, 3 or 6) and labels (N, H, W), both uint8, of epoch `number`."""
        table = self._source.table
        tiles = draw(table, self._source.sampling, number, self.hard)
        tiles = tiles[: len(self) * self._batch]
        columns = (table.case, table.x, table.y, table.stride)
        listed = zip(*(column[tiles].tolist() for column in columns), strict=True)
        orders = [
            Order(case, x, y, (number, place), stride)
            for place, (case, x, y, stride) in enumerate(listed)
        ]
        self._orders.now = _batched(orders, self._batch)
        for images, labels, _ in self._loader:
            yield images, labels


class ValidationLoader:
    """All candidate tiles in order, unmoved and unvaried.

    Parameters
    ----------
    source : TileSource
        Where the tiles come from.
    batch : int
        Tiles per batch.
    workers : int
        Processes that read; 0 reads in this one.
    positives_only : bool
        Only tiles that hold enough foreground.
    rows : array of int, optional
        Only these of the source's table, in this order.
    pin : bool
        Put batches into page-locked memory, for CUDA.
    """

    def __init__(
        self,
        source: TileSource,
        batch: int,
        *,
        workers: int = 0,
        positives_only: bool = False,
        rows: NDArray[np.intp] | None = None,
        pin: bool = False,
    ) -> None:
        table = source.table if rows is None else source.table.where(rows)
        if positives_only:
            table = table.where(table.is_positive(source.sampling))
        self._orders = _Orders()
        corners = zip(table.case.tolist(), table.x.tolist(), table.y.tolist(), strict=True)
        self._orders.now = _batched([Order(*corner) for corner in corners], batch)
        self._loader = _loader(TileMaker(source), self._orders, workers, pin=pin)

    def __len__(self) -> int:
        """Batches."""
        return len(self._orders.now)

    def __iter__(self) -> Iterator[Batch]:
        yield from self._loader


class _Orders:
    """A batch sampler whose content is set before each pass."""

    def __init__(self) -> None:
        self.now: list[list[Order]] = []

    def __iter__(self) -> Iterator[list[Order]]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)


def _loader(maker: TileMaker, orders: _Orders, workers: int, *, pin: bool) -> Any:  # noqa: ANN401 - DataLoader's type is the dataset's, not the batch's
    return DataLoader(
        maker,
        batch_sampler=orders,
        collate_fn=_collate,
        num_workers=workers,
        multiprocessing_context=_processes() if workers else None,
        persistent_workers=workers > 0,
        worker_init_fn=_start_worker,
        pin_memory=pin,
    )


def _processes() -> BaseContext:
    """Return how workers are started: never forked from here.

    A fork would inherit locked mutexes of OpenSlide's and OpenCV's threads, and CUDA's state. On
    Linux they come from a server that imported this module once, elsewhere each starts anew.
    """
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _collate(tiles: list[tuple[Views, Labels, str]]) -> Batch:
    images, labels, slides = zip(*tiles, strict=True)
    return Batch(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)), slides)


def _start_worker(_worker: int) -> None:
    end_with_parent()
    cv2.setNumThreads(1)
    # `lay_tiles` opened the same files in the main process and has said what there is to say.
    logging.getLogger("slidemask").setLevel(logging.ERROR)


def _batched(orders: list[Order], size: int) -> list[list[Order]]:
    return [orders[first : first + size] for first in range(0, len(orders), size)]


def _squeezed(grid: TileGrid, motion: Motion) -> tuple[Box, Motion]:
    """Return a tile at the slide's corner and the motion that fills it with the whole slide."""
    side, slide = grid.tile * grid.downsample, grid.slide
    own = motion.squeezed(slide.width / grid.downsample, slide.height / grid.downsample)
    return Box(0, 0, side, side), own


def _window(box: Box, motion: Motion, downsample: float) -> Box:
    window = motion.window
    return Box(
        box.x + window.x * downsample,
        box.y + window.y * downsample,
        window.width * downsample,
        window.height * downsample,
    )
