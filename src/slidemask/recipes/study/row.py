"""One row of a study: a recipe trained, the test slides segmented, both measured."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slidemask.base.errors import CohortError, SlideError, TrainingError
from slidemask.base.files import output_folder, write_json
from slidemask.base.record import peak_memory_mb
from slidemask.base.settings import digest
from slidemask.data.case import Case
from slidemask.data.sampling import draw
from slidemask.data.source import TileSource
from slidemask.data.split import split_cases
from slidemask.evaluate.evaluation import Evaluation
from slidemask.evaluate.slidelabels import SlideLabels
from slidemask.io.open import open_slide
from slidemask.models.bundle import Bundle
from slidemask.recipes.recipe import Recipe
from slidemask.recipes.results import read_summary
from slidemask.recipes.scoring import evaluate
from slidemask.recipes.segment import Options, segment
from slidemask.recipes.study.labels import labels_of
from slidemask.recipes.study.process import in_own_process
from slidemask.recipes.training import train


@dataclass(frozen=True)
class Means:
    """With what a study computes.

    Parameters
    ----------
    device : str
        "auto", "cpu", "cuda", …
    workers : int
        Reading threads or processes.
    overwrite : bool
        Begin again where something of the study is there already.
    """

    device: str = "auto"
    workers: int = 2
    overwrite: bool = False


@dataclass(frozen=True)
class Row:
    """A recipe of a study and where its run and results go.

    Parameters
    ----------
    label : str
        What tables call it.
    recipe : Recipe
    folder : Path
        `run/` and `results/` are made in it.
    cases : tuple of Case
        The whole cohort.
    means : Means
    """

    label: str
    recipe: Recipe
    folder: Path
    cases: tuple[Case, ...]
    means: Means = Means()

    @property
    def run(self) -> Path:
        """Folder of the training."""
        return self.folder / "run"

    @property
    def results(self) -> Path:
        """Folder of the segmented slides."""
        return self.folder / "results"

    @property
    def identity(self) -> dict[str, str]:
        """What must be equal for a finished training to be taken over."""
        files = [
            path and [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]
            for case in self.cases
            for path in (case.slide, case.annotations)
        ]
        stated = [[case.patient, case.split, case.mpp, case.complete] for case in self.cases]
        return {"recipe": digest(self.recipe), "cases": digest({"files": files, "said": stated})}

    def part(self, name: str) -> tuple[Case, ...]:
        """Return the cases of the 'train', 'validation' or 'test' part."""
        return split_cases(self.cases, self.recipe.split)[name]


@dataclass(frozen=True)
class Training:
    """What a training took, and what it learnt from.

    Parameters
    ----------
    seconds : float, optional
        Of the whole training. Where it was stopped and taken up again, the seconds per epoch of
        the last stretch times the epochs; None where that stretch held no epoch.
    peak_memory_mb : float
        Of the training's process, without its reading processes.
    device_memory_mb : float, optional
        The most that was allocated on a CUDA device.
    epochs, best_epoch : int
    tiles, positive : int
        Candidate tiles of the training part, and those that hold the object.
    tiles_per_epoch : int
    tile_mm2 : float, optional
        Area of a tile; None where no slide says its pixel size.
    negative_per_positive : float, optional
        Background pixels for each foreground pixel of an epoch's tiles; None without foreground.
    parameters : int, optional
        Of the network; None where an older study has not counted them.
    """

    seconds: float | None
    peak_memory_mb: float
    device_memory_mb: float | None
    epochs: int
    best_epoch: int
    tiles: int
    positive: int
    tiles_per_epoch: int
    tile_mm2: float | None
    negative_per_positive: float | None
    parameters: int | None = None


@dataclass(frozen=True)
class Segmenting:
    """What segmenting the slides took.

    Parameters
    ----------
    slides : int
    seconds_per_slide : float
        Mean of all that `segment` does to a slide, reading and writing included.
    network_seconds_per_slide : float
        The network's part of it.
    seconds_per_cm2 : float, optional
        For each square centimetre of tissue: what carries over to slides of another size.
    peak_memory_mb : float
        Of the process that did nothing else.
    device : str
    """

    slides: int
    seconds_per_slide: float
    network_seconds_per_slide: float
    seconds_per_cm2: float | None
    peak_memory_mb: float
    device: str

    @property
    def slides_per_minute(self) -> float:
        """Slides a minute."""
        return 60 / self.seconds_per_slide


@dataclass(frozen=True)
class Measured:
    """All that is known of a row once it is done."""

    row: Row
    training: Training
    segmenting: Segmenting
    evaluation: Evaluation
    labels: SlideLabels | None = None


def require_test(recipe: Recipe, cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the annotated cases of the test part.

    Raises
    ------
    CohortError
        If there are none: a study compares on slides that no training has seen.
    """
    test = split_cases(cases, recipe.split)["test"]
    known = tuple(case for case in test if case.annotations or case.complete)
    if not known:
        raise CohortError(
            "No annotated case in the test part, and a study compares on slides that no training "
            "has seen. Name some in the cohort's split column, or set split.test."
        )
    return known


def measure(row: Row) -> Measured:
    """Train, segment the test slides, score them; what is done already is not done again."""
    training = trained(row)
    test = require_test(row.recipe, row.cases)
    segmenting = in_own_process(segment_all, (row, test, row.results))
    evaluation, _ = evaluate(row.results, test, overwrite=True)  # they are this row's own
    return Measured(row, training, segmenting, evaluation, labels_of(evaluation, row.results))


def trained(row: Row) -> Training:
    """Train a row in a process of its own, or read what that took."""
    path = row.folder / "training.json"
    if path.exists() and not row.means.overwrite:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told.pop("identity", None) == row.identity:
            return Training(**told)
    output_folder(row.folder)
    for stale in (path, *row.folder.glob("*.npz")):
        stale.unlink(missing_ok=True)
    training = in_own_process(_train, row)
    write_json(path, asdict(training) | {"identity": row.identity})
    return training


def _train(row: Row) -> Training:
    means, before = row.means, 0 if row.means.overwrite else _epochs(row.run)
    began = time.perf_counter()
    done = train(
        row.recipe, row.cases, row.run,
        device=means.device, workers=means.workers, overwrite=means.overwrite,
    )  # fmt: skip
    seconds, epochs = time.perf_counter() - began, done.progress.epoch
    if not done.finished:
        raise TrainingError("The training was stopped; the same command goes on.")
    here = epochs - before
    cuda = torch.cuda.is_available() and torch.cuda.max_memory_allocated() / 1e6
    return Training(
        seconds=round(seconds * epochs / here, 3) if here else None,
        peak_memory_mb=round(peak_memory_mb(), 1),
        device_memory_mb=round(cuda, 1) if cuda else None,
        epochs=epochs,
        best_epoch=done.progress.best_epoch,
        parameters=count_parameters(Bundle.load(row.run, "cpu")),
        **learnt_from(done.source),
    )


def count_parameters(bundle: Bundle) -> int:
    """Return how many weights a network has learnt; statistics of normalisation are none."""
    return sum(weights.numel() for weights in bundle.segmenter.parameters())


def learnt_from(source: TileSource) -> dict[str, Any]:
    """Count the training part's tiles and the pixels of an epoch's."""
    positive, negative, count = _pixel_shares(source)
    return {
        "tiles": len(source.table),
        "positive": int(np.count_nonzero(source.table.is_positive(source.sampling))),
        "tiles_per_epoch": count,
        "tile_mm2": _tile_mm2(source),
        "negative_per_positive": negative / positive if positive else None,
    }


def _pixel_shares(source: TileSource) -> tuple[float, float, int]:
    """Return foreground and background of the first epoch's tiles, in tiles, and their number."""
    tiles = draw(source.table, source.sampling, 1)
    positive = source.table.positive[tiles].astype(np.float64)
    unknown = source.table.unknown[tiles].astype(np.float64)
    known = 1 - unknown
    foreground = float((known * positive).sum())
    return foreground, float(known.sum()) - foreground, len(tiles)


def _tile_mm2(source: TileSource) -> float | None:
    """Return the area of a tile of the first slide that says its pixel size."""
    for case, grid in zip(source.cases, source.grids, strict=True):
        with open_slide(case.slide, mpp=case.mpp) as slide:
            if slide.mpp:
                return (grid.tile * grid.downsample * slide.mpp / 1000) ** 2
    return None


def _epochs(run: Path) -> int:
    """Return how many epochs a run's history counts."""
    history = run / "history.csv"
    return max(0, history.read_text(encoding="utf-8").count("\n") - 1) if history.exists() else 0


def segment_all(job: tuple[Row, tuple[Case, ...], Path]) -> Segmenting:
    """Segment a row's cases into a folder; what is there already is not done again.

    Raises
    ------
    SlideError
        If one of them could not be segmented.
    """
    row, cases, to = job
    return segment_cases([Bundle.load(row.run, row.means.device)], cases, to, row.means)


def segment_cases(
    bundles: Sequence[Bundle], cases: Sequence[Case], to: Path, means: Means
) -> Segmenting:
    """Segment cases with one model, or with several together.

    Raises
    ------
    SlideError
        If one of the cases could not be segmented.
    """
    options = Options(overwrite=means.overwrite, threads=max(1, means.workers))
    outcomes = list(segment(cases, bundles, to, options))
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if failed:
        raise SlideError(
            f"{len(failed)} of {len(outcomes)} slides could not be segmented, "
            f"first {failed[0].slide.name}: {failed[0].message}"
        )
    return _times([read_summary(outcome.folder) for outcome in outcomes])


def _times(summaries: Sequence[dict[str, Any]]) -> Segmenting:
    seconds = [summary["seconds"]["total"] for summary in summaries]
    network = [summary["seconds"].get("network", 0.0) for summary in summaries]
    tissue = [summary["tissue_mm2"] for summary in summaries]
    cm2 = sum(tissue) / 100 if all(area is not None for area in tissue) else 0
    return Segmenting(
        slides=len(summaries),
        seconds_per_slide=float(np.mean(seconds)),
        network_seconds_per_slide=float(np.mean(network)),
        seconds_per_cm2=sum(seconds) / cm2 if cm2 else None,
        peak_memory_mb=max(summary["peak_memory_mb"] for summary in summaries),
        device=summaries[0]["device"],
    )
