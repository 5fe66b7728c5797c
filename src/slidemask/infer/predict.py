"""Whole-slide prediction: row by row, in bounded memory, resumable after any interruption.

A network that votes, one prediction a tile, first classifies all tiles (`infer.voting`).
"""

import logging
import shutil
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import OutputError
from slidemask.base.files import output_folder
from slidemask.base.lock import locked
from slidemask.base.memory import give_back
from slidemask.base.progress import Meter
from slidemask.base.stages import Stages
from slidemask.base.types import Probs
from slidemask.infer.augmentation import predict_views
from slidemask.infer.blend import Ring, as_votes, weights
from slidemask.infer.fitting import Fitting
from slidemask.infer.job import Job
from slidemask.infer.prediction import Prediction
from slidemask.infer.reading import Batch, batches_in_order, read_ahead
from slidemask.infer.store import BandStore
from slidemask.infer.voting import predict_by_votes
from slidemask.tiles.grid import TileGrid

_BATCHES_KEPT = 64
"""After so many, what they took and is free again goes back to the system: it lies between what
is still in use, and grows with the slide otherwise."""
log = logging.getLogger(__name__)


def predict(job: Job, to: Path, stages: Stages, *, threads: int = 2) -> Prediction:
    """Predict a slide into a folder; take up what an earlier, killed run left there.

    Parameters
    ----------
    job : Job
        Slide, tiles, network and blending.
    to : Path
        Folder of the prediction; bands appear in it from the top down.
    stages : Stages
        Receives the seconds of "read" (waiting for pixels), "network", "blend" and "write".
    threads : int
        Reading threads.

    Returns
    -------
    Prediction
        Complete, bit by bit what an uninterrupted run gives; of a network that votes also with
        its positive tiles. Such a run, killed before all tiles are classified, classifies them
        anew.

    Raises
    ------
    OutputError
        If the folder holds another job's prediction or cannot be written to.
    SettingsError
        If the settings are not for such a network.
    SlideError
        If a tile cannot be read.
    """
    grid = job.tiles.grid
    names = job.bundle.info.classes.names
    store = BandStore(to, job.identity, (len(names) - 1, grid.canvas.height, grid.canvas.width))
    positive = None
    if job.bundle.info.model.votes:
        positive = predict_by_votes(job, to, store, stages, threads=threads)
    elif not store.complete:
        fitting = _Run(job, store, stages, range(grid.shape[0])).go(threads)
        return Prediction(
            store, names, grid.slide, grid.downsample,
            batch=fitting.most, notes=tuple(fitting.notes),
        )  # fmt: skip
    return Prediction(store, names, grid.slide, grid.downsample, positive)


def predict_part(job: Job, to: Path, stages: Stages, *, rows: range, threads: int = 2) -> BandStore:
    """Predict some rows of the grid, as one machine of several does.

    Parameters
    ----------
    job : Job
        Of the whole slide; no network that votes.
    to : Path
        Folder of this part, resumed like a whole prediction.
    stages : Stages
        As for `predict`.
    rows : range
        Rows of the grid. Rows above that reach into them are computed too, so that the part is bit
        by bit what the whole slide's prediction has there.
    threads : int
        Reading threads.
    """
    store = part_store(job, to, rows)
    if not store.complete:
        _Run(job, store, stages, rows).go(threads)
    return store


def part_store(job: Job, to: Path, rows: range) -> BandStore:
    """Open the bands of some rows of the grid, as far as they are there."""
    grid = job.tiles.grid
    top, bottom = (_canvas_row(grid, row) for row in (rows.start, rows.stop))
    identity = job.identity | {"rows": [rows.start, rows.stop]}
    shape = (len(job.bundle.info.classes.names) - 1, bottom - top, grid.canvas.width)
    return BandStore(to, identity, shape)


def take_parts(
    job: Job, to: Path, places: Sequence[tuple[range, Path]], stages: Stages, *, threads: int = 2
) -> None:
    """Put what was predicted in parts where `predict` of the whole slide finds it.

    A part that is not there, or was computed otherwise than `job` is, is predicted here where a
    later one is there: every finished part is taken up, whatever became of those before it. What
    comes behind the last band is left to `predict`, and so is all from a part on that another
    process is still at.

    Parameters
    ----------
    job : Job
        Of the whole slide; no network that votes.
    to : Path
        Folder of the whole prediction.
    places : sequence of (rows, folder)
        Rows of the grid that each part has; they begin at 0 and follow each other.
    stages, threads
        As for `predict`.
    """
    with ExitStack() as locks:
        free = list(takewhile(lambda place: _is_free(place[1], locks), places))
        parts = [_part_of(job, rows, folder) for rows, folder in free]
        last = max((number for number, part in enumerate(parts) if part.rows), default=-1)
        for number, (rows, folder) in enumerate(free[:last]):
            parts[number] = predict_part(job, folder, stages, rows=rows, threads=threads)
        adopt_parts(job, to, parts[: last + 1])


def part_lock(folder: Path) -> Path:
    """Return what a process holds that works on a part."""
    return folder.with_name(f"{folder.name}.lock")


def _is_free(folder: Path, locks: ExitStack) -> bool:
    """Whether nobody is at a part; it is then ours until `locks` are closed."""
    output_folder(folder.parent)  # perhaps no part was begun
    return locks.enter_context(locked(part_lock(folder))) is None


def _part_of(job: Job, rows: range, folder: Path) -> BandStore:
    """Open a part; what was computed otherwise than `job` is goes."""
    try:
        return part_store(job, folder, rows)
    except OutputError as error:
        log.warning(
            "%s: rows %d to %d are computed again. %s", job.slide.id, rows[0], rows[-1], error
        )
        shutil.rmtree(folder)
        return part_store(job, folder, rows)


def adopt_parts(job: Job, to: Path, parts: Sequence[BandStore]) -> None:
    """Put the bands of parts, in order, where `predict` of the whole slide finds them.

    Each part must begin where the one before ends; what is not there is left to `predict`.
    """
    grid = job.tiles.grid
    if not parts:
        return
    shape = (parts[0].shape[0], grid.canvas.height, grid.canvas.width)
    store = BandStore(to, job.identity, shape)
    top = 0
    for part in parts:
        for start, band in part.bands():
            if top + start == store.rows:
                store.append(band)
        top += part.shape[1]


class _Run:
    """One pass down some rows of tiles, usually all."""

    def __init__(self, job: Job, store: BandStore, stages: Stages, rows: range) -> None:
        grid = job.tiles.grid
        self._job, self._store, self._stages, self._rows = job, store, stages, rows
        self._top = _canvas_row(grid, rows.start)
        self._ring = Ring(
            classes=store.shape[0], tile=grid.tile, stride=grid.stride, width=grid.canvas.width
        )
        self._weight = weights(grid.tile, grid.stride, job.blend.window)
        self._fitting = Fitting(job, self._computed)
        # Rows above the first unfinished one that still reach into it are computed again.
        done = rows.stop if store.complete else rows.start + store.rows // grid.stride
        self._row = max(0, done - _reach(grid))

    def go(self, threads: int) -> Fitting:
        """Write all bands that are missing; return how many tiles fitted into memory."""
        job, grid = self._job, self._job.tiles.grid
        groups = batches_in_order(job.tiles, range(self._row, self._rows.stop), job.batch)
        batches = read_ahead(job.slide, groups, grid, job.bundle.info.filters, threads=threads)
        predicted = self._predicted(batches, job.bundle.streams)
        meter = Meter(job.slide.id, int(job.tiles.kept[self._row : self._rows.stop].sum()), "tiles")
        try:
            for number, (batch, answer) in enumerate(predicted):
                self._finish_rows_above(batch.row)
                self._add(batch, answer)
                meter.advance(len(batch.columns))
                if number % _BATCHES_KEPT == 0:
                    give_back()
            self._finish_rows_above(self._rows.stop)
        finally:
            predicted.close()
            batches.close()
            meter.close()
        return self._fitting

    def _predicted(
        self, batches: Generator[Batch], streams: int
    ) -> Generator[tuple[Batch, Callable[[], Probs]]]:
        """Yield batches in order, and what gives the network's answer.

        With streams it has been computed ahead in threads, otherwise it is when asked for.
        """
        if not streams:
            while (batch := self._next(batches)) is not None:
                yield batch, partial(self._predict, batch)
            return
        with ThreadPoolExecutor(streams, thread_name_prefix="network") as pool:
            ahead: deque[tuple[Batch, Callable[[], Probs]]] = deque()
            while True:
                while len(ahead) <= streams and (batch := self._next(batches)) is not None:
                    ahead.append((batch, pool.submit(self._predict, batch).result))
                if not ahead:
                    return
                yield ahead.popleft()

    def _next(self, batches: Generator[Batch]) -> Batch | None:
        with self._stages.stage("read"):
            return next(batches, None)

    def _predict(self, batch: Batch) -> Probs:
        if not batch.columns:
            return np.empty(0, np.float32)
        return self._fitting(batch.pixels)

    def _computed(self, pixels: NDArray[np.uint8]) -> Probs:
        probs = predict_views(self._job.bundle, pixels, self._job.blend)
        share = self._job.blend.vote_share
        return probs if share is None else as_votes(probs, share)

    def _add(self, batch: Batch, answer: Callable[[], Probs]) -> None:
        with self._stages.stage("network"):
            probs = answer()
        with self._stages.stage("blend"):
            for column, tile in zip(batch.columns, probs, strict=True):
                self._ring.add(tile[1:], column * self._job.tiles.grid.stride, self._weight)

    def _finish_rows_above(self, row: int) -> None:
        """Write the bands that tiles of `row` and below cannot change any more."""
        grid = self._job.tiles.grid
        while self._row < row:
            top = _canvas_row(grid, self._row)
            rows = _canvas_row(grid, self._row + 1) - top
            with self._stages.stage("blend"):
                band = self._ring.flush(rows)
            if top >= self._top + self._store.rows:
                with self._stages.stage("write"):
                    self._store.append(band)
            self._row += 1


def _canvas_row(grid: TileGrid, row: int) -> int:
    """Where the band of a row of tiles begins; behind the last row, the canvas' end."""
    return grid.canvas.height if row == grid.shape[0] else row * grid.stride


def _reach(grid: TileGrid) -> int:
    """How many tile rows above one reach into it."""
    return -(-grid.tile // grid.stride) - 1
