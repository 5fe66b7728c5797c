"""Several networks on one slide: the mean of their probabilities, the sum of their votes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from slidemask.base.errors import SettingsError
from slidemask.base.stages import Stages
from slidemask.infer.job import Job
from slidemask.infer.predict import predict
from slidemask.infer.prediction import Prediction
from slidemask.infer.store import BandStore
from slidemask.infer.votes import leading, tally
from slidemask.infer.voting import votes_of
from slidemask.models.bundle import Bundle

BAND_ROWS = 256


def predict_together(
    jobs: Sequence[Job], to: Path, stages: Stages, *, threads: int = 2
) -> Prediction:
    """Predict a slide by one or several networks; take up what a killed run left.

    Each has its own tiles, filters and folder below `to`, and tells of the same classes. Where
    only a dominant class shall keep its votes, it is the one that most positive tiles of all
    networks together have; their tiles are added up in the result.

    Parameters
    ----------
    jobs : sequence of Job
        One a network, of one slide.
    to : Path
        Folder of the prediction.
    stages : Stages
        As for `predict`.
    threads : int
        Reading threads.

    Raises
    ------
    SettingsError
        If the networks' classes or canvases differ.
    OutputError, SlideError
        As `predict` raises them.
    """
    _require_alike(jobs)
    if len(jobs) == 1:
        return predict(jobs[0], to, stages, threads=threads)
    places = [place_of(to, number, len(jobs)) for number in range(len(jobs))]
    jobs = _of_one_dominant(jobs, places, stages, threads)
    parts = [
        predict(job, place, stages, threads=threads)
        for job, place in zip(jobs, places, strict=True)
    ]
    first = parts[0]
    identity: dict[str, object] = {"models": [job.identity for job in jobs]}
    store = BandStore(to / "mean", identity, first.store.shape)
    _write_means(parts, store, stages)
    counts = [part.positive for part in parts if part.positive is not None]
    return replace(
        first,
        store=store,
        positive=_sums(counts) if counts else None,
        notes=tuple(note for part in parts for note in part.notes),
    )


def require_same_classes(bundles: Sequence[Bundle]) -> None:
    """Refuse networks whose mean would mean nothing.

    Raises
    ------
    SettingsError
        If they do not know the same classes in the same order.
    """
    first = bundles[0]
    for other in bundles[1:]:
        if first.info.classes.names != other.info.classes.names:
            told = [", ".join(one.info.classes.names[1:]) for one in (first, other)]
            raise SettingsError(
                f"Models {_named(first)} and {_named(other)} cannot be averaged: one "
                f"finds {told[0]}, the other {told[1]}. Give models of the same classes in the "
                "same order."
            )


def _named(bundle: Bundle) -> str:
    return f"{bundle.info.name} ({bundle.source or bundle.digest})"


def place_of(to: Path, number: int, models: int) -> Path:
    """Return the folder of one model's prediction, the first's number being 0."""
    return to if models == 1 else to / str(number + 1)


def _require_alike(jobs: Sequence[Job]) -> None:
    require_same_classes([job.bundle for job in jobs])
    first = jobs[0]
    for other in jobs[1:]:
        names = [_named(job.bundle) for job in (first, other)]
        grids = first.tiles.grid, other.tiles.grid
        steps = [grid.downsample for grid in grids]
        if grids[0].canvas != grids[1].canvas or not math.isclose(*steps, rel_tol=1e-6):
            told = [
                f"{grid.canvas.width} x {grid.canvas.height} px (downsample {grid.downsample:g})"
                for grid in grids
            ]
            raise SettingsError(
                f"Models {names[0]} and {names[1]} cannot be averaged: they see {first.slide.id} "
                f"as {told[0]} and as {told[1]}. Give models of one resolution, or the same to "
                "all with --set tiling.downsample=… or tiling.mpp=…"
            )


def _of_one_dominant(
    jobs: Sequence[Job], places: Sequence[Path], stages: Stages, threads: int
) -> Sequence[Job]:
    """Let the votes of all decide which class is the dominant one."""
    if not any(job.bundle.info.model.votes and job.blend.votes.dominant for job in jobs):
        return jobs
    counts = [
        tally(votes_of(job, place, stages, threads=threads), job.blend.votes.threshold)
        for job, place in zip(jobs, places, strict=True)
        if job.bundle.info.model.votes
    ]
    return [replace(job, dominant=leading(_sums(counts))) for job in jobs]


def _sums(counts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sum(column) for column in zip(*counts, strict=True))


def _write_means(parts: Sequence[Prediction], store: BandStore, stages: Stages) -> None:
    height = store.shape[1]
    for top in range(store.rows, height, BAND_ROWS):
        rows = min(BAND_ROWS, height - top)
        with stages.stage("blend"):
            total = np.zeros((store.shape[0], rows, store.shape[2]), np.uint16)
            for part in parts:
                total += part.rows(top, rows)
            mean = ((total + len(parts) // 2) // len(parts)).astype(np.uint8)
        with stages.stage("write"):
            store.append(mean)
