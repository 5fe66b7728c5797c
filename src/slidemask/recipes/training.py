"""Train a recipe on a cohort: from manifest to bundle."""

import copy
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from slidemask.base.errors import CohortError, OutputError
from slidemask.base.files import output_folder, write_json, write_text
from slidemask.base.memory import freed_kept
from slidemask.base.record import machine, versions
from slidemask.base.settings import digest
from slidemask.data.case import PARTS, Case
from slidemask.data.cohort import read_cohort, write_cohort
from slidemask.data.loader import TrainingLoader, ValidationLoader
from slidemask.data.source import TileSource, lay_tiles
from slidemask.data.split import Parts, split_cases
from slidemask.data.spread import learned_rails
from slidemask.data.survey import Rules
from slidemask.models.bundle import (
    COARSE,
    Bundle,
    BundleInfo,
    read_info,
    save_bundle,
    without_weights,
)
from slidemask.models.devices import choose_device
from slidemask.models.segmenter import Segmenter
from slidemask.models.start import start_from
from slidemask.recipes.card import learned_of, network_of, write_card
from slidemask.recipes.cascade import coarse_recipe, settle_cascade
from slidemask.recipes.choosing import (
    Validation,
    evidence,
    post_so_far,
    scores_of,
    settle,
    validation_tiles,
)
from slidemask.recipes.recipe import Recipe, load_recipe, write_recipe
from slidemask.tiles.filters import Filters
from slidemask.train.checkpoint import Progress
from slidemask.train.choose import candidates
from slidemask.train.curves import plot_samples
from slidemask.train.loop import Task, fit, is_finished
from slidemask.train.validation import classes_of
from slidemask.train.wholeslides import WholeSlides

SAMPLES = 8
WRITTEN = (
    "bundle", COARSE, ".coarse", "cohort.csv", "curves.png", "epochs", "hard", "history.csv",
    "inputs.json", "last.safetensors", "samples.png", "selection.csv", "tensorboard",
    ".validation", "recipe.toml",
)  # fmt: skip
"""What a run leaves in its folder; the recipe, which marks it as a run's, goes last."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Laid:
    """The tiles of training and validation, and what was learned by cutting them."""

    training: TileSource
    validation: TileSource
    filters: Filters
    """The recipe's, with rails in numbers."""
    told: Mapping[str, Any]
    """Rails and balance, for the provenance."""


@dataclass(frozen=True)
class Trained:
    """What a training left."""

    run: Path
    progress: Progress
    finished: bool
    source: TileSource
    """The training part's tiles."""
    chosen: str = ""
    """In words: by what, and what tiles would have chosen."""
    told: tuple[str, ...] = ()
    """In words: the network's size, what its tiles taught, and what was chosen."""


def train(
    recipe: Recipe, cases: Sequence[Case], run: Path, *, device: str = "auto", workers: int = 2,
    overwrite: bool = False,
) -> Trained:  # fmt: skip
    """Train `recipe` on the cases' training part, choose on their validation part.

    There the epoch is chosen, and where `selection.level` is "slides" threshold and cleaning too;
    they go into the bundle with the evidence. A run that was stopped goes on to the identical
    state with the same call.

    Raises
    ------
    CohortError, LeakError
        If a part is empty, or patients or files stand on both sides.
    OutputError
        If `run` holds a run of another recipe or on other cases.
    """
    parts = split_cases(cases, recipe.split)
    for part in PARTS[:2]:
        if not parts[part]:
            raise CohortError(f"No case in the {part} part; change the split or the split column.")
    where = choose_device(device)
    claim_run(run, recipe, labelled_cases(parts), overwrite=overwrite)
    if recipe.cascade is None:
        return _train(recipe, parts, run, device=where, workers=workers)
    coarse = coarse_recipe(recipe, recipe.cascade)
    trained = train(coarse, cases, run / COARSE, device=device, workers=workers)
    if not trained.finished:
        return trained
    trained = _train(recipe, parts, run, device=where, workers=workers)
    if trained.finished and trained.progress.best_epoch:
        settle_cascade(run, recipe.cascade, parts["validation"], device=str(where))
    return trained


def _train(
    recipe: Recipe, parts: Parts, run: Path, *, device: torch.device, workers: int
) -> Trained:
    """Train one network."""
    labelled = labelled_cases(parts)
    torch.manual_seed(recipe.schedule.seed)
    spec, tiling = recipe.model, recipe.tiling
    fresh = without_weights(spec) if spec.start else spec
    segmenter = Segmenter(fresh, len(recipe.classes.classes), tiling.context, tiling.tile_px)
    if spec.start:
        start_from(segmenter, spec.start)
    laid = _lay(recipe, parts)
    slides = _slides(recipe, parts, laid, run=run, threads=workers)
    task = _task(recipe, laid, segmenter, slides=slides, workers=workers)
    write_text(run / "recipe.toml", write_recipe(recipe))  # from here on the folder is this run's
    write_cohort(run / "cohort.csv", labelled)
    write_json(run / "inputs.json", _inputs(labelled))

    def keep(progress: Progress) -> None:
        info = _info(recipe, parts, laid, progress)
        scores = scores_of(progress.history[-1])
        card = write_card(info, recipe, scores)
        save_bundle(run / "bundle", info, segmenter, card=card, scores=scores)

    with freed_kept() if device.type == "cpu" else nullcontext():  # see benchmarks/training.py
        progress = fit(task, run, device, keep)
    finished = is_finished(progress, recipe.schedule, recipe.selection)
    if task.slides:
        if finished:
            tiles = ValidationLoader(laid.validation, recipe.schedule.batch)
            on = Validation(task.slides, tiles)
            settle(run, recipe, on, progress, device=device)
        task.slides.close()
    if not progress.best_epoch:
        return Trained(run, progress, finished, task.training.source)
    _draw(run, task)
    info = read_info(run / "bundle")
    chosen = info.provenance["selection"]["in_words"]
    told = (f"Network: {network_of(info)}.", *learned_of(info), chosen)
    return Trained(run, progress, finished, task.training.source, chosen, told)


def claim_run(run: Path, recipe: Recipe, cases: Sequence[Case], *, overwrite: bool) -> None:
    """Make the run's folder, or make sure that it is this very run's own.

    Raises
    ------
    OutputError
        If it holds a run of another recipe or on other cases.
    """
    kept, manifest = run / "recipe.toml", run / "cohort.csv"
    if overwrite and kept.exists():
        _remove(run)
    output_folder(run)
    if kept.exists() and digest(load_recipe(kept)) != digest(recipe):
        raise OutputError(
            f"{run} holds a run of other settings (its recipe.toml differs). "
            "Choose another --out, or pass --overwrite to start again."
        )
    if manifest.exists() and _resolved(read_cohort(manifest)) != _resolved(cases):
        raise OutputError(
            f"{run} holds a run on other cases (its cohort.csv differs). "
            "Choose another --out, or pass --overwrite to start again."
        )
    known = run / "inputs.json"
    before = json.loads(known.read_text(encoding="utf-8")) if known.exists() else {}
    changed = sorted(
        path for path, state in _inputs(cases).items() if before.get(path, state) != state
    )
    if changed:
        raise OutputError(
            f"{len(changed)} files have changed since {run} was begun, among them {changed[0]}. "
            "Choose another --out, or pass --overwrite to start again."
        )


def _remove(run: Path) -> None:
    """Remove what a run wrote and nothing else."""
    kept = run / "recipe.toml"
    if kept.read_text(encoding="utf-8") != write_recipe(load_recipe(kept)):
        raise OutputError(
            f"{kept} was not written by a run of this version, so nothing in its folder is "
            "replaced. Choose another --out."
        )
    for name in WRITTEN:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


def _inputs(cases: Sequence[Case]) -> dict[str, list[int]]:
    """Return size and time of change of every slide and annotation file."""
    files = [path.resolve() for case in cases for path in (case.slide, case.annotations) if path]
    states = {str(path): path.stat() for path in files}
    return {path: [state.st_size, state.st_mtime_ns] for path, state in states.items()}


def _resolved(cases: Sequence[Case]) -> list[Case]:
    """Return the cases with paths that can be compared."""
    return [
        replace(
            case,
            slide=case.slide.resolve(),
            annotations=case.annotations and case.annotations.resolve(),
        )
        for case in cases
    ]


def labelled_cases(parts: Parts) -> list[Case]:
    """Return all cases, each with its part."""
    return [replace(case, split=part) for part, cases in parts.items() for case in cases]


def _lay(recipe: Recipe, parts: Parts) -> _Laid:
    """Cut the tiles of both parts; what is learned by it is learned from the training part."""
    rules = Rules(recipe.classes, recipe.tiling, recipe.filters, recipe.sampling)
    training = lay_tiles(
        parts["train"], rules.classes,
        tiling=rules.tiling, filters=rules.filters, sampling=rules.sampling,
    )  # fmt: skip
    filters, told = recipe.filters, dict[str, Any]()
    if training.rails is not None:
        filters = filters.model_copy(update={"rails": training.rails})
        if recipe.tiling_on_slides.tile_px != recipe.tiling.tile_px:
            log.warning(
                "rails of %d px tiles will sift tiles of %d px on whole slides, which have other "
                "entropies; make whole.tile_px equal to tiling.tile_px",
                recipe.tiling.tile_px, recipe.tiling_on_slides.tile_px,
            )  # fmt: skip
    if training.rails is not None and training.rail_tiles:
        learned = learned_rails(parts["train"], rules, training.rails, training.rail_tiles)
        told["rails"] = learned.as_dict()
        log.log(logging.WARNING if learned.jump else logging.INFO, "%s", learned)
    if training.balance:
        told["balance"] = [asdict(one) for one in training.balance]
    as_they_come = recipe.sampling.model_copy(update={"balance": "none", "tiles_per_class": None})
    validation = lay_tiles(
        parts["validation"], rules.classes,
        tiling=rules.tiling, filters=filters, sampling=as_they_come,
    )  # fmt: skip
    return _Laid(training, validation, filters, told)


def _task(
    recipe: Recipe,
    laid: _Laid,
    segmenter: Segmenter,
    *,
    slides: WholeSlides | None,
    workers: int,
) -> Task:
    batch = recipe.schedule.batch
    training = TrainingLoader(laid.training, batch, workers=workers, augment=recipe.augment)
    validation, level = validation_tiles(recipe, laid.validation)
    return Task(
        segmenter, recipe.classes.names, recipe.loss, recipe.schedule, recipe.selection,
        training, validation, level, slides, recipe.post.threshold,
    )  # fmt: skip


def _slides(
    recipe: Recipe, parts: Parts, laid: _Laid, *, run: Path, threads: int
) -> WholeSlides | None:
    """Return the validation slides, where whole slides decide."""
    if recipe.selection.level != "slides":
        return None
    info = _info(recipe, parts, laid, Progress())
    folder = run / ".validation"
    slides = WholeSlides(
        parts["validation"], info, recipe.blend, folder=folder, threads=max(1, threads)
    )
    slides.require_pixel_sizes(candidates(recipe.selection, recipe.post))
    return slides


def _info(recipe: Recipe, parts: Parts, laid: _Laid, progress: Progress) -> BundleInfo:
    provenance: dict[str, Any] = {
        "recipe": recipe.name,
        "recipe_digest": digest(recipe),
        "epoch": progress.best_epoch,
        "selection": evidence(recipe, progress.history),
        "cases": {part: len(cases) for part, cases in parts.items()},
        "patients": {part: len({case.patient for case in cases}) for part, cases in parts.items()},
        **laid.told,
        "licence": recipe.licence,
        "trained": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
    }
    use: dict[str, Any] = {
        "blend": recipe.blend.model_dump(mode="json"),
        "post": post_so_far(recipe, progress).model_dump(mode="json"),
    }
    if recipe.photo is not None:
        use["photo"] = recipe.photo.model_dump(mode="json")
    weights, start = recipe.model.encoder_weights, recipe.model.start
    named = recipe.model.model_copy(
        update={
            "encoder_weights": weights and Path(weights).name,
            "start": start and Path(start).name,
        }
    )
    return BundleInfo(
        name=recipe.name,
        model=named,
        classes=recipe.classes,
        tiling=recipe.tiling_on_slides,
        filters=laid.filters,
        use=use,
        provenance=provenance,
    )


def _draw(run: Path, task: Task) -> None:
    """Show validation tiles with truth and the best epoch's prediction."""
    bundle = Bundle.load(run / "bundle", "cpu")
    # The bundle's network is made for the tiles of whole slides, which may have another size.
    own = copy.deepcopy(task.segmenter).cpu().eval()
    own.load_state_dict(bundle.segmenter.state_dict())
    bundle = replace(bundle, network=own)
    some = list(islice(task.validation, max(1, SAMPLES // task.schedule.batch)))
    images = torch.cat([batch.images for batch in some])[:SAMPLES]
    labels = torch.cat([batch.labels for batch in some])[:SAMPLES]
    threshold = bundle.info.use["post"]["threshold"]
    found = classes_of(torch.from_numpy(bundle.predict(images.numpy())), threshold)
    found = found.expand(labels.shape)  # a vote is its whole tile's
    plot_samples(
        list(images[..., :3].numpy()), list(labels.numpy()), list(found.numpy()),
        run / "samples.png", classes=bundle.info.classes,
    )  # fmt: skip
