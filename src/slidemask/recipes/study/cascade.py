"""What a cascade saves and costs: whole slides with the coarse network and without."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from slidemask.base.errors import SettingsError, SlideError
from slidemask.base.files import write_json
from slidemask.data.case import Case
from slidemask.data.split import split_cases
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation
from slidemask.infer.cascade import CascadeSpec
from slidemask.io.maskfile import open_mask
from slidemask.io.open import open_slide
from slidemask.models.backends import Name as Backend
from slidemask.models.bundle import COARSE, Bundle, find_bundle, read_info
from slidemask.recipes.cascade import Settled, Survey, coarse_recipe, settle_cascade, surveyed
from slidemask.recipes.plan import cost_on
from slidemask.recipes.recipe import Recipe
from slidemask.recipes.results import read_summary
from slidemask.recipes.scoring import evaluate
from slidemask.recipes.segment import Options, segment
from slidemask.recipes.study.row import Means, require_test
from slidemask.recipes.training import claim_run, labelled_cases, train
from slidemask.recipes.use import use_of
from slidemask.tiles.grid import lay_grid

MASK = "mask.ome.tif"
EVERYWHERE = "everywhere"
PARTS = ("validation", "test")
BAND_ROWS = 512


@dataclass(frozen=True)
class CascadeJob:
    """What is to be studied.

    Parameters
    ----------
    recipe : Recipe
        With a `[cascade]` part.
    cases : tuple of Case
        The whole cohort.
    out : Path
    recalls : tuple of float
        What the coarse network shall keep on the validation slides; the recipe's own comes first.
    means : Means
    model : str
        A bundle that gives the fine network, which is then not trained; "" trains both.
    backend : {"torch", "openvino", "onnxruntime"}
        What computes both networks on a processor; the same however few tiles are left.
    """

    recipe: Recipe
    cases: tuple[Case, ...]
    out: Path
    recalls: tuple[float, ...] = ()
    means: Means = field(default_factory=Means)
    model: str = ""
    backend: Backend = "torch"

    @property
    def spec(self) -> CascadeSpec:
        """The recipe's `[cascade]`."""
        if self.recipe.cascade is None:
            raise SettingsError(
                f"Recipe {self.recipe.name} has no [cascade]. Add one, or pass --set "
                "cascade.factor=8."
            )
        return self.recipe.cascade

    @property
    def asked(self) -> tuple[float, ...]:
        """Every recall that is asked for, once."""
        return tuple(dict.fromkeys((self.spec.recall, *self.recalls)))


@dataclass(frozen=True)
class Costs:
    """Operations of one tile in each network."""

    fine: float
    coarse: float


@dataclass(frozen=True)
class CascadeRow:
    """The test slides segmented with one threshold of the coarse network.

    Parameters
    ----------
    label : str
    asked : float, optional
        Recall on the validation slides; None: the fine network looked everywhere.
    threshold : float
    validation, test : Survey
        Of all slides of the part.
    lowest : float
        Recall of the coarse network on the test slide where it is lowest.
    confidence : float
        How surely the recall asked for is to be kept.
    costs : Costs
    evaluation : Evaluation
        Of the masks, against the annotations.
    agreement : float
        Dice of the masks and those of the fine network everywhere, all slides pooled.
    seconds, network_seconds : float
        Of all test slides; of them in either network.
    """

    label: str
    asked: float | None
    threshold: float
    validation: Survey
    test: Survey
    lowest: float
    confidence: float
    costs: Costs
    evaluation: Evaluation
    agreement: float
    seconds: float
    network_seconds: float

    @property
    def settled(self) -> Settled | None:
        """What the validation slides say of this threshold; None everywhere."""
        if self.asked is None:
            return None
        return Settled.of(self.validation, self.asked, self.confidence)

    @property
    def tiles_share(self) -> float:
        """Fine tiles looked at, of those with tissue."""
        return self.test.left(self.threshold) / max(1, int(self.test.tiles.sum()))

    @property
    def operations_share(self) -> float:
        """Operations of both networks, of those of the fine one everywhere."""
        everywhere = int(self.test.tiles.sum()) * self.costs.fine
        coarse = self.test.coarse * self.costs.coarse if self.asked is not None else 0.0
        return (self.test.left(self.threshold) * self.costs.fine + coarse) / max(everywhere, 1.0)


def study_cascade(job: CascadeJob) -> Iterator[tuple[str, list[CascadeRow]]]:
    """Train what is not trained, segment the test slides everywhere and at each recall.

    Thresholds are chosen on the validation slides alone.

    Yields
    ------
    (str, list of CascadeRow)
        What was done, and all rows so far.

    Raises
    ------
    SettingsError
        If the recipe has no cascade, or the model knows other classes.
    CohortError
        If there is no annotated test part.
    """
    _ = job.spec
    test = require_test(job.recipe, job.cases)
    run = job.out / "run"
    validation = trained(job, run)
    yield f"trained: {run / 'bundle'}", []
    bundle = Bundle.load(run, job.means.device)
    threads = max(1, job.means.workers)
    found = {
        part: surveyed(bundle, cases, job.out / ".coarse", backend=job.backend, threads=threads)
        for part, cases in zip(PARTS, (validation, test), strict=True)
    }
    on_validation, costs = reduce(add, found["validation"]), costs_of(bundle, test[0])
    rows: list[CascadeRow] = []
    for asked in (None, *job.asked):
        sure = job.spec.confidence
        threshold = 0.0 if asked is None else on_validation.threshold(asked, sure)
        rows.append(_row(job, bundle, test, threshold, asked=asked, found=found, costs=costs))
        yield f"{rows[-1].label}: done", rows


def trained(job: CascadeJob, run: Path) -> Sequence[Case]:
    """Train both networks, or the coarse one beside a model that is there.

    Returns
    -------
    sequence of Case
        The validation part.
    """
    means, cases = job.means, job.cases
    parts = split_cases(cases, job.recipe.split)
    validation = parts["validation"]
    if not job.model and _is_settled(run) and not means.overwrite:
        claim_run(run, job.recipe, labelled_cases(parts), overwrite=False)
        return validation
    if job.model:
        _train_coarse(job, run)
    else:
        train(
            job.recipe, cases, run,
            device=means.device, workers=means.workers, overwrite=means.overwrite,
        )  # fmt: skip
    settle_cascade(run, job.spec, validation, device=means.device)
    return validation


def _is_settled(run: Path) -> bool:
    bundle = run / "bundle"
    return (bundle / "bundle.json").exists() and "cascade" in read_info(bundle).use


def _train_coarse(job: CascadeJob, run: Path) -> None:
    """Train a coarse network at the model's own resolution times the factor; copy the model."""
    source = find_bundle(job.model)
    if not source.is_dir():
        raise SettingsError(f"--model {job.model} is a zip; unpack it, and give the folder.")
    fine = Bundle.load(source, "cpu").info
    if fine.classes.names != job.recipe.classes.names:
        raise SettingsError(
            f"Model {fine.name} finds {', '.join(fine.classes.names[1:])}, and recipe "
            f"{job.recipe.name} {', '.join(job.recipe.classes.names[1:])}. Give a recipe of the "
            "model's classes."
        )
    recipe = job.recipe.model_copy(update={"tiling": fine.tiling})
    means = job.means
    train(
        coarse_recipe(recipe, job.spec), job.cases, run / COARSE,
        device=means.device, workers=means.workers, overwrite=means.overwrite,
    )  # fmt: skip
    if means.overwrite or not (run / "bundle").exists():
        shutil.rmtree(run / "bundle", ignore_errors=True)
        _copy_alone(source, run / ".bundle")
        (run / ".bundle").rename(run / "bundle")


def _copy_alone(source: Path, to: Path) -> None:
    """Copy a bundle without the coarse network that it may have."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(source, to, ignore=shutil.ignore_patterns(COARSE))
    info = read_info(to)
    use = {stage: settings for stage, settings in info.use.items() if stage != "cascade"}
    write_json(to / "bundle.json", info.model_copy(update={"use": use}).model_dump(mode="json"))


def costs_of(bundle: Bundle, case: Case) -> Costs:
    """Return what one tile of each network costs."""
    assert bundle.coarse is not None  # noqa: S101 - it has been settled
    with open_slide(case.slide, mpp=case.mpp) as slide:
        fine, coarse = (
            cost_on(lay_grid(slide, one.info.tiling), one, use_of(one)).operations
            for one in (bundle, bundle.coarse)
        )
    return Costs(fine, coarse)


def agreement(one: Path, other: Path) -> Confusion:
    """Count the pixels of two masks of one slide, the second as if it were the truth."""
    total: Confusion | None = None
    with open_mask(one) as first, open_mask(other) as second:
        if first.size != second.size:
            raise SlideError(f"{one} and {other} are masks of different sizes.")
        for top in range(0, first.size.height, BAND_ROWS):
            rows = min(BAND_ROWS, first.size.height - top)
            counts = Confusion.of(second.rows(top, rows), first.rows(top, rows), len(first.names))
            total = counts if total is None else total + counts
    assert total is not None  # noqa: S101 - a mask has rows
    return total


def _row(
    job: CascadeJob,
    bundle: Bundle,
    test: Sequence[Case],
    threshold: float,
    *,
    asked: float | None,
    found: dict[str, list[Survey]],
    costs: Costs,
) -> CascadeRow:
    """Segment the test slides with one threshold and score them."""
    label = EVERYWHERE if asked is None else f"recall {asked:g}"
    out = job.out / label.replace(" ", "-")
    options = Options(
        (f"cascade.threshold={threshold}",),
        overwrite=job.means.overwrite,
        threads=max(1, job.means.workers),
        backend=job.backend,
    )
    outcomes = list(segment(test, bundle, out, options))
    failed = [outcome for outcome in outcomes if outcome.state not in ("done", "there")]
    if failed:
        raise SlideError(f"{failed[0].slide.name} was not segmented: {failed[0].message}")
    folders = [outcome.folder for outcome in outcomes]
    seconds = [read_summary(folder)["seconds"] for folder in folders]
    evaluation, _ = evaluate(out, test, overwrite=True)
    pairs = [
        agreement(folder / MASK, job.out / EVERYWHERE / folder.name / MASK) for folder in folders
    ]
    return CascadeRow(
        label, asked, threshold, reduce(add, found["validation"]), reduce(add, found["test"]),
        lowest=float(np.nanmin([one.recall(threshold) for one in found["test"]])),
        confidence=job.spec.confidence,
        costs=costs,
        evaluation=evaluation,
        agreement=float(np.nanmean(reduce(add, pairs).dice[1:])),
        seconds=sum(one["total"] for one in seconds),
        network_seconds=sum(one.get("network", 0) + one.get("coarse", 0) for one in seconds),
    )  # fmt: skip
