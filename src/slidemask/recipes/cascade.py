"""Cascades: a second network, trained at a coarser resolution, says where the first has to look."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slidemask.base.files import write_json
from slidemask.base.types import IGNORE
from slidemask.data.case import Case
from slidemask.data.shelf import Shelf
from slidemask.geometry.box import Box
from slidemask.infer.blend import Blend
from slidemask.infer.cascade import (
    CascadeSpec,
    best_seen,
    coarser,
    highest_threshold,
    level_of,
    predict_coarse,
    tile_maxima,
    whole_map,
)
from slidemask.infer.job import Job
from slidemask.models.bundle import COARSE, Bundle
from slidemask.post.clean import Post
from slidemask.recipes.recipe import Recipe
from slidemask.tiles.grid import lay_grid
from slidemask.tiles.select import select
from slidemask.train.schedule import Selection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settled:
    """What the validation slides say of a coarse network.

    Parameters
    ----------
    threshold : float
        Of its map.
    recall : float
        Share of the object in tiles that it leaves.
    tiles, left : int
        Tiles with tissue, and those of them that it leaves.
    """

    threshold: float
    recall: float
    tiles: int
    left: int

    def __str__(self) -> str:
        share = self.left / max(self.tiles, 1)
        return (
            f"On the validation slides the coarse network leaves {self.left} of {self.tiles} tiles "
            f"({share:.0%}), with {self.recall:.4f} of the object, at threshold "
            f"{self.threshold:.3f}."
        )


def coarse_recipe(recipe: Recipe, spec: CascadeSpec) -> Recipe:
    """Return the recipe of a cascade's coarse network."""
    schedule = recipe.schedule
    if spec.epochs is not None:
        schedule = schedule.model_copy(update={"epochs": spec.epochs})
    return recipe.model_copy(
        update={
            "name": f"{recipe.name}, coarse",
            "tiling": coarser(recipe.tiling, spec),
            "whole": None,
            "model": spec.model or recipe.model,
            "schedule": schedule,
            "post": Post(),
            "selection": Selection(every_epochs=recipe.selection.every_epochs),
            "cascade": None,
        }
    )


def settle_cascade(run: Path, spec: CascadeSpec, cases: Sequence[Case], *, device: str) -> Settled:
    """Put the coarse network of `run` into its bundle, at the threshold that keeps enough.

    Parameters
    ----------
    run : Path
        Folder of a finished training, with that of the coarse network in `coarse/`.
    spec : CascadeSpec
        Recall that must be kept.
    cases : sequence of Case
        The validation part.
    device : str
        Where the coarse network runs.

    Returns
    -------
    Settled
        Also in the bundle's provenance. A bundle that is settled stays as it is.
    """
    folder = run / "bundle"
    info = Bundle.load(folder, device).info
    if "cascade" in info.use:
        return Settled(**info.provenance["cascade"])
    shutil.copytree(run / COARSE / "bundle", folder / COARSE, dirs_exist_ok=True)
    settled = _measure(Bundle.load(folder, device), spec.recall, cases, run / ".coarse")
    info = info.model_copy(
        update={
            "use": {**info.use, "cascade": {"threshold": settled.threshold}},
            "provenance": {**info.provenance, "cascade": asdict(settled)},
        }
    )
    write_json(folder / "bundle.json", info.model_dump(mode="json"))
    with (folder / "card.md").open("a", encoding="utf-8") as card:
        card.write(f"\n## Cascade\n\n{settled}\n")
    log.info("%s", settled)
    return settled


def _measure(bundle: Bundle, recall: float, cases: Sequence[Case], folder: Path) -> Settled:
    """Predict every slide coarsely; count the object's pixels by what their tiles hold."""
    counts = np.zeros(256, np.int64)
    of_tiles: list[Any] = []
    shelf = Shelf(tuple(cases), bundle.info.classes)
    try:
        for number in range(len(cases)):
            opened = shelf.get(number)
            slide, grid = opened.slide, lay_grid(opened.slide, bundle.info.tiling)
            tiles = select(slide, grid, bundle.info.filters)
            job = Job(slide, tiles, bundle, Blend.model_validate(bundle.info.use["blend"]))
            shutil.rmtree(folder, ignore_errors=True)
            prediction = predict_coarse(job, folder)
            found, step = whole_map(prediction), prediction.downsample
            maxima = tile_maxima(found, step, grid)
            height, width = found.shape
            truth = opened.truth.labels(Box(0, 0, width * step, height * step), step)
            on_tissue = best_seen(tiles.kept.view(np.uint8), grid, found.shape, step) > 0
            wanted = (truth > 0) & (truth != IGNORE) & on_tissue
            seen = best_seen(np.where(tiles.kept, maxima, 0), grid, found.shape, step)
            counts += np.bincount(seen[wanted], minlength=256)
            of_tiles.append(maxima[tiles.kept])
    finally:
        shelf.close()
        shutil.rmtree(folder, ignore_errors=True)
    threshold = highest_threshold(counts, recall)
    every = np.concatenate(of_tiles)
    least = level_of(threshold)
    kept = counts[least:].sum() / max(counts.sum(), 1)
    return Settled(threshold, float(kept), len(every), int((every >= least).sum()))
