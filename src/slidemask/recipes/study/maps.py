"""One trained model, its maps made in several ways, each smoothed and shrunk by several amounts.

The third table of Frank (rs-122564/v3, 2022): rails on and off, edges smoothed by kernels of 50,
100 and 150 px (discs of that diameter), shapes shrunk by 5 % and 10 %. The network runs once for
each way to make the map; the probabilities are kept, and smoothing and shrinking are scored from
them.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from slidemask.base.errors import CohortError, OutputError, SlidemaskError
from slidemask.base.files import output_folder, write_json
from slidemask.base.settings import digest
from slidemask.base.stages import Stages
from slidemask.data.case import Case
from slidemask.data.shelf import OpenCase, open_case
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation, SlideScore
from slidemask.evaluate.forward import ForwardRows
from slidemask.evaluate.score import score_slide
from slidemask.evaluate.slidelabels import SlideLabels, largest, true_label
from slidemask.infer.job import Job
from slidemask.infer.predict import predict
from slidemask.infer.prediction import Prediction
from slidemask.infer.voting import VOTES
from slidemask.models.bundle import Bundle
from slidemask.post.clean import Post, clean, labels_of, require_pixel_size
from slidemask.post.ink import without_ink
from slidemask.recipes.segment import Model
from slidemask.recipes.study.mapsettings import Edge, MapSetting
from slidemask.recipes.study.row import Means
from slidemask.recipes.study.sweep import annotated
from slidemask.tiles.grid import lay_grid
from slidemask.tiles.select import TileSet, select

log = logging.getLogger(__name__)
SCORES = "scores.json"


@dataclass(frozen=True)
class MapJob:
    """All maps of one setting.

    Parameters
    ----------
    model : str
        As `Bundle.load` takes it.
    setting : MapSetting
    edges : tuple of Edge
    cases : tuple of Case
        Annotated slides.
    folder : Path
        Of this setting; a folder for each slide is made in it.
    changes : tuple of str
        "key=value" on the bundle's settings, the same in all settings.
    means : Means
    """

    model: str
    setting: MapSetting
    edges: tuple[Edge, ...]
    cases: tuple[Case, ...]
    folder: Path
    changes: tuple[str, ...] = ()
    means: Means = field(default_factory=Means)


@dataclass(frozen=True, eq=False)
class MapRow:
    """One row of the table.

    Parameters
    ----------
    setting : MapSetting
    edge : Edge
    evaluation : Evaluation
        Pixels of the slide level.
    labels : SlideLabels
    seconds_per_slide : float
        Cleaning and scoring only.
    """

    setting: MapSetting
    edge: Edge
    evaluation: Evaluation
    labels: SlideLabels
    seconds_per_slide: float

    @property
    def label(self) -> str:
        """As tables write it."""
        return f"{self.setting.label}; {self.edge.label}"


def cases_of_part(cases: Sequence[Case], part: str) -> tuple[Case, ...]:
    """Return the annotated cases that the cohort says are of this part; "all" takes every one.

    Raises
    ------
    CohortError
        If there is none.
    """
    known = annotated([case for case in cases if part in ("all", case.split)])
    if not known:
        raise CohortError(
            f"No annotated case is in the {part} part. Fill the cohort's `split` column (a run's "
            "own cohort.csv has it), or take all slides with --split all."
        )
    stems = [case.slide.stem.casefold() for case in known]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise CohortError(
            f"Slides of one name cannot be told apart here: {', '.join(twice[:5])}. Rename them."
        )
    return known


def study_maps(jobs: Sequence[MapJob]) -> Iterator[tuple[str, list[MapRow], dict[str, str]]]:
    """Do one setting after the other.

    Yields
    ------
    (str, list of MapRow, dict)
        What became of the setting, all rows so far, and the messages of settings that failed.
    """
    rows: list[MapRow] = []
    failures: dict[str, str] = {}
    for job in jobs:
        label = job.setting.label
        try:
            names = _make(job)
            rows += [_row(job, edge, names) for edge in job.edges]
            said = f"{label}: done"
        except Exception as error:  # whatever ails one setting, the others go on
            log.debug("%s failed", label, exc_info=True)
            known = isinstance(error, SlidemaskError)
            failures[label] = str(error) if known else f"{type(error).__name__}: {error}"
            said = f"{label}: FAILED: {failures[label]}"
        yield said, rows, failures


def _make(job: MapJob) -> tuple[str, ...]:
    """Make and score what is not there yet; return the class names."""
    bundle = Bundle.load(job.model, job.means.device)
    model = Model.of(bundle, (*job.changes, *job.setting.changes))
    posts = {edge.label: edge.of(model.use.post) for edge in job.edges}
    for case in job.cases:
        folder = _folder(job, case)
        if job.means.overwrite and (folder / "map").exists():
            shutil.rmtree(folder)
        identity = _identity(case, model)
        known = _known(folder, identity)
        missing = {label: post for label, post in posts.items() if label not in known}
        if missing:
            made = _Maps(job, case, model).scored(missing)
            write_json(folder / SCORES, {"identity": identity, "edges": known | made})
    return bundle.info.classes.names


def _folder(job: MapJob, case: Case) -> Path:
    return job.folder / case.slide.stem


def _identity(case: Case, model: Model) -> str:
    """Return what must be equal for scores to be taken over: all but the edges."""
    files = [
        path and [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]
        for path in (case.slide, case.annotations)
    ]
    post = Edge(0, 0).of(model.use.post).model_dump(mode="json")
    settings = model.use.model_dump(mode="json") | {"post": post}
    said = [case.mpp, case.complete]
    return digest({"files": files, "said": said, "model": model.bundle.digest, "use": settings})


def _known(folder: Path, identity: str) -> dict[str, Any]:
    path = folder / SCORES
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return told["edges"] if told.get("identity") == identity else {}


@dataclass(frozen=True)
class _Maps:
    """One slide's maps in one setting."""

    job: MapJob
    case: Case
    model: Model

    def scored(self, posts: dict[str, Post]) -> dict[str, Any]:
        """Return each cleaning's counts, label and seconds."""
        classes, use = self.model.bundle.info.classes, self.model.use
        names = classes.names
        with open_case(self.case, classes) as opened:
            for post in posts.values():
                require_pixel_size(post, opened.slide.mpp)
            tiles = select(opened.slide, lay_grid(opened.slide, use.tiling), use.filters)
            prediction = self._predicted(opened, tiles)
            voted = prediction.positive
            label = None if voted is None else largest(dict(zip(names[1:], voted, strict=True)))
            return {
                name: _scored(opened, tiles, prediction, post=post, label=label)
                for name, post in posts.items()
            }

    def _predicted(self, opened: OpenCase, tiles: TileSet) -> Prediction:
        folder = output_folder(_folder(self.job, self.case)) / "map"
        self._take_votes(folder)
        status = self.case.slide.stat()
        source = f"{status.st_size} bytes, {status.st_mtime_ns}"
        job = Job(opened.slide, tiles, self.model.bundle, self.model.use.blend, source)
        return predict(job, folder, Stages(), threads=max(1, self.job.means.workers))

    def _take_votes(self, folder: Path) -> None:
        """Copy the votes of another setting with these rails; `predict` checks that they fit."""
        settings = self.job.folder.parent
        for other in self.job.setting.of_equal_votes():
            votes = settings / other.label / self.case.slide.stem / "map" / VOTES
            if votes.exists() and not (folder / VOTES).exists():
                shutil.copy2(votes, output_folder(folder) / VOTES)


def _scored(
    opened: OpenCase, tiles: TileSet, prediction: Prediction, *, post: Post, label: str | None
) -> dict[str, Any]:
    """Clean the kept probabilities and count them against the truth; nothing is written."""
    stages, slide = Stages(), opened.slide
    mpp = slide.mpp and slide.mpp * prediction.downsample

    def labels() -> Iterator[tuple[int, np.ndarray]]:
        bands = labels_of(prediction.bands(), post.threshold)
        return without_ink(bands, tiles.tissue, prediction.downsample)

    with stages.stage("score"):
        bands = clean(labels, prediction.canvas.width, post, mpp)
        mask = ForwardRows(bands, prediction.canvas, prediction.names)
        counts = score_slide(
            opened.truth, mask, slide.size, downsample=prediction.downsample, names=prediction.names
        )
        found = label or largest(mask.areas())
    return {
        "counts": counts.counts.tolist(),
        "label": found,
        "seconds": round(sum(stages.seconds.values()), 3),
    }


def _row(job: MapJob, edge: Edge, names: tuple[str, ...]) -> MapRow:
    """Gather a row from what each slide left."""
    scores, pairs, seconds = [], [], []
    for case in job.cases:
        path = _folder(job, case) / SCORES
        try:
            told = json.loads(path.read_text(encoding="utf-8"))["edges"][edge.label]
        except (OSError, ValueError, KeyError) as error:
            raise OutputError(f"{path} is damaged ({error}). Remove it and run again.") from error
        counts = Confusion(np.array(told["counts"], np.int64))
        scores.append(SlideScore(case.slide.stem, counts, case.patient, case.group))
        pairs.append((true_label(counts, names), told["label"]))
        seconds.append(told["seconds"])
    evaluation = Evaluation(names, tuple(scores), {})
    return MapRow(job.setting, edge, evaluation, SlideLabels.of(pairs), float(np.mean(seconds)))
