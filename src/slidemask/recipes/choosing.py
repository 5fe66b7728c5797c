"""What the validation part decides: the epoch, and on whole slides threshold and cleaning too."""

import csv
import io
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from slidemask.base.errors import CohortError
from slidemask.base.files import write_json, write_text
from slidemask.base.progress import duration
from slidemask.data.loader import ValidationLoader
from slidemask.data.source import TileSource
from slidemask.infer.blend import Blend
from slidemask.models.bundle import Bundle, BundleInfo
from slidemask.post.clean import Post
from slidemask.recipes.card import write_card
from slidemask.recipes.recipe import Recipe
from slidemask.train.calibrate import fit_temperature
from slidemask.train.checkpoint import Progress
from slidemask.train.choose import (
    LEFT_OUT,
    LEVELS,
    POSITIVES,
    THRESHOLD,
    TILES,
    WHOLE,
    best_of,
    candidates,
    choice_of,
    deciding,
    figures_at,
    figures_of,
)
from slidemask.train.loop import TileLevel
from slidemask.train.schedule import Selection
from slidemask.train.wholeslides import WholeSlides

TABLE = "selection.csv"
log = logging.getLogger(__name__)

Figures = dict[str, float]


@dataclass(frozen=True)
class Validation:
    """The validation part: its slides whole, and all its tiles."""

    slides: WholeSlides
    tiles: ValidationLoader


def validation_tiles(recipe: Recipe, source: TileSource) -> tuple[ValidationLoader, TileLevel]:
    """Return the tiles that are scored at each epoch, and whether they are all or some.

    Where whole slides decide, tiles that hold the object stand beside them, as publications
    choose.

    Raises
    ------
    CohortError
        If tiles that hold the object are to decide and there is none.
    """
    level, held = recipe.selection.level, source.table.is_positive(source.sampling).any()
    if not held and level == POSITIVES:
        raise CohortError(
            "No tile of the validation part holds any of the classes, so none can choose the "
            'epoch. Give it other cases, or set selection.level to "slides" or "tiles".'
        )
    if not held:
        log.warning("no tile of the validation part holds any of the classes")
    some = level != TILES and bool(held)
    loader = ValidationLoader(source, recipe.schedule.batch, positives_only=some)
    return loader, POSITIVES if some else TILES


def post_so_far(recipe: Recipe, progress: Progress) -> Post:
    """Return the recipe's post-processing, at the threshold that the last epoch was judged at."""
    last = progress.history[-1] if progress.history else {}
    threshold = last.get(THRESHOLD, recipe.post.threshold)
    return recipe.post.model_copy(update={"threshold": threshold})


def evidence(recipe: Recipe, history: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return what a bundle says of how its epoch was chosen."""
    choice = choice_of(history, recipe.selection, recipe.post.threshold)
    if choice is None:
        return {}
    row = history[choice.epoch - 1]
    left_out = {"slides_left_out": int(row[LEFT_OUT])} if LEFT_OUT in row else {}
    return {**choice.as_dict(), **left_out, "in_words": str(choice)}


def scores_of(row: Mapping[str, float]) -> dict[str, Figures]:
    """Return an epoch's figures by level, without those of thresholds that were not chosen."""
    tables: dict[str, Figures] = {"training": {}}
    for name, value in row.items():
        level = next((level for level in LEVELS if name.startswith(level)), None)
        if level is None:
            tables["training"][name] = value
        elif " at " not in name:
            title = f"validation, {level}" + (", before cleaning" if level == WHOLE else "")
            tables.setdefault(title, {})[name.removeprefix(level).strip()] = value
    return tables


def settle(
    run: Path,
    recipe: Recipe,
    on: Validation,
    progress: Progress,
    *,
    device: torch.device,
) -> None:
    """Choose threshold and cleaning of the best epoch's bundle, once; write the table of all.

    Without cleaning and calibration the figures are known from the epoch itself. Otherwise the
    slides are segmented once more, with the bundle as it was saved, and cleaned in every way. The
    weights stay as they are; `bundle.json`, which says that all is done, is written last.
    """
    folder = run / "bundle"
    bundle = Bundle.load(folder, str(device))
    told = bundle.info.provenance["selection"]
    if "chosen" in told and (run / TABLE).exists():
        return
    began = time.perf_counter()
    warmth = 1.0
    if recipe.selection.calibrate:
        warmth = fit_temperature(bundle, on.tiles)
        bundle = _at_temperature(bundle, warmth)
    posts = candidates(recipe.selection, recipe.post)
    row, selection = progress.history[progress.best_epoch - 1], recipe.selection
    cleaning = recipe.selection.calibrate or any(_changes(post) for post in posts)
    if cleaning:
        scope = selection.scope
        each = [figures_of(counts, scope) for counts in on.slides.cleaned(bundle, posts)]
    else:
        each = [figures_at(row, selection, post.threshold) for post in posts]
    at = best_of(each, selection)
    best, chosen = posts[at], posts[at].model_dump(mode="json")
    words = (
        f"{told['in_words']} With threshold {best.threshold:g}, parts below "
        f"{best.min_area_um2:g} µm² dropped and holes below {best.fill_holes_um2:g} µm² filled: "
        f"{_in_words(each[at], selection)}, the best of {len(posts)} ways."
    )
    if recipe.selection.calibrate:
        words += f" Logits are divided by {warmth:.3f}, fitted to the validation tiles."
    log.info("%s (%s)", words, duration(time.perf_counter() - began))
    _write_table(run / TABLE, posts, each, names=deciding(selection), chosen=at)
    value = each[at][deciding(selection)[0]]
    settled = {**told, "chosen": chosen, "chosen_value": value, "in_words": words}
    info = bundle.info.model_copy(
        update={
            "use": _use(bundle.info, best),
            "provenance": {**bundle.info.provenance, "selection": settled},
        }
    )
    scores = scores_of(row)
    if cleaning:
        scores[f"validation, {WHOLE}, after cleaning"] = each[at]
    _rewrite(folder, info, recipe, scores)


def _at_temperature(bundle: Bundle, temperature: float) -> Bundle:
    """Return the bundle, as it was saved at temperature 1, at another."""
    info = bundle.info.model_copy(
        update={"model": bundle.info.model.model_copy(update={"temperature": temperature})}
    )
    bundle.segmenter.temperature = temperature
    return replace(bundle, info=info)


def _use(info: BundleInfo, post: Post) -> dict[str, dict[str, Any]]:
    """Return the bundle's settings with what was chosen; votes are positive from there on too.

    Not where positive tiles make the map: it was judged with theirs.
    """
    use = {**info.use, "post": post.model_dump(mode="json")}
    blend = Blend.model_validate(use.get("blend", {}))
    if not info.model.votes or blend.votes.dominant or blend.votes.combine == "union":
        return use
    votes = blend.votes.model_copy(update={"threshold": post.threshold})
    return {**use, "blend": blend.model_copy(update={"votes": votes}).model_dump(mode="json")}


def _changes(post: Post) -> bool:
    """Whether a mask is another one after it was cleaned."""
    kept = {"threshold", "simplify_px"}  # outlines are simplified, masks are not
    return post.model_dump(exclude=kept) != Post().model_dump(exclude=kept)


def _rewrite(folder: Path, info: BundleInfo, recipe: Recipe, scores: Mapping[str, Figures]) -> None:
    write_json(folder / "scores.json", dict(scores))
    write_text(folder / "card.md", write_card(info, recipe, scores))
    write_json(folder / "bundle.json", info.model_dump(mode="json"))


def _in_words(figures: Mapping[str, float], selection: Selection) -> str:
    """Return the value that was compared and, where it was asked for, recall."""
    name, *recall = deciding(selection)
    text = f"{name.removesuffix(selection.average).strip()} {figures[name]:.4f}"
    return f"{text} at recall {figures[recall[0]]:.4f}" if recall else text


def _write_table(
    path: Path,
    posts: Sequence[Post],
    each: Sequence[Mapping[str, float]],
    *,
    names: Sequence[str],
    chosen: int,
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["threshold", "min_area_um2", "fill_holes_um2", *names, "chosen"])
    for number, (post, figures) in enumerate(zip(posts, each, strict=True)):
        areas = (post.min_area_um2, post.fill_holes_um2)
        values = [figures[name] for name in names]
        writer.writerow([post.threshold, *areas, *values, "yes" if number == chosen else ""])
    write_text(path, text.getvalue())
