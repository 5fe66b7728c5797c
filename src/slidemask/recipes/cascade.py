"""Cascades: a second network, trained at a coarser resolution, says where the first has to look."""

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidemask.base.files import write_json
from slidemask.base.progress import track
from slidemask.data.case import Case
from slidemask.data.shelf import open_case
from slidemask.geometry.box import Box
from slidemask.infer.blend import Blend
from slidemask.infer.cascade import (
    CascadeSpec,
    best_seen,
    coarse_tiles,
    coarser,
    highest_threshold,
    level_of,
    predict_coarse,
    tile_maxima,
)
from slidemask.infer.job import Job
from slidemask.models.backends import Name
from slidemask.models.bundle import COARSE, Bundle
from slidemask.post.clean import Post
from slidemask.recipes.recipe import Recipe
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import lay_grid
from slidemask.tiles.select import select
from slidemask.train.schedule import Selection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Survey:
    """What a coarse network finds on slides whose truth is known.

    Parameters
    ----------
    object : (K, 256) int64
        Pixels of each class on tissue, by the most that is found in a fine tile over them.
    tiles : (256,) int64
        Fine tiles with tissue, by the most that is found in them.
    coarse : int
        Tiles of the coarse network that it took.
    """

    object: NDArray[np.int64]
    tiles: NDArray[np.int64]
    coarse: int

    def __add__(self, other: "Survey") -> "Survey":
        return Survey(
            self.object + other.object, self.tiles + other.tiles, self.coarse + other.coarse
        )

    def threshold(self, recall: float) -> float:
        """Return the highest threshold at which every class keeps this share of its pixels."""
        return min(highest_threshold(counts, recall) for counts in self.object)

    def recall(self, threshold: float) -> float:
        """Return the share of the object in tiles that are left, of the class that loses most.

        NaN where there is no object.
        """
        left = self.object[:, level_of(threshold) :].sum(axis=1)
        total = self.object.sum(axis=1)
        return float((left[total > 0] / total[total > 0]).min()) if total.any() else math.nan

    def left(self, threshold: float) -> int:
        """Return how many tiles are left to the fine network."""
        return int(self.tiles[level_of(threshold) :].sum())


@dataclass(frozen=True)
class Settled:
    """What the validation slides say of a coarse network.

    Parameters
    ----------
    threshold : float
        Of its map.
    recall : float
        Share of the object in tiles that it leaves, of the class that loses most.
    tiles, left : int
        Tiles with tissue, and those of them that it leaves.
    """

    threshold: float
    recall: float
    tiles: int
    left: int

    @classmethod
    def of(cls, survey: Survey, recall: float) -> "Settled":
        """Choose the threshold that keeps `recall` on surveyed slides."""
        threshold = survey.threshold(recall)
        kept = survey.recall(threshold)
        total, left = int(survey.tiles.sum()), survey.left(threshold)
        return cls(threshold, 1.0 if math.isnan(kept) else kept, total, left)

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
            "filters": Filters(tissue=recipe.filters.tissue, min_tissue_share=0),
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
    slides = surveyed(Bundle.load(folder, device), cases, run / ".coarse")
    settled = Settled.of(reduce(add, slides), spec.recall)
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


def survey(
    bundle: Bundle, case: Case, folder: Path, *, backend: Name = "torch", threads: int = 2
) -> Survey:
    """Predict a slide coarsely, in `folder`; count object and tiles by what is found in tiles."""
    classes = bundle.info.classes
    with open_case(case, classes) as opened:
        slide, grid = opened.slide, lay_grid(opened.slide, bundle.info.tiling)
        tiles = select(slide, grid, bundle.info.filters)
        job = Job(slide, tiles, bundle, Blend())
        prediction = predict_coarse(job, folder, backend=backend, threads=threads)
        coarse = len(coarse_tiles(job))
        canvas, step = prediction.canvas, prediction.downsample
        maxima = tile_maxima(prediction.bands(), canvas, step, grid)
        truth = opened.truth.labels(Box(0, 0, canvas.width * step, canvas.height * step), step)
    on_tissue = best_seen(tiles.kept.view(np.uint8), grid, truth.shape, step) > 0
    seen = best_seen(np.where(tiles.kept, maxima, 0), grid, truth.shape, step)
    pixels = [
        np.bincount(seen[(truth == index) & on_tissue], minlength=256)
        for index in range(1, len(classes.names))
    ]
    return Survey(np.array(pixels), np.bincount(maxima[tiles.kept], minlength=256), coarse)


def surveyed(
    bundle: Bundle,
    cases: Sequence[Case],
    folder: Path,
    *,
    backend: Name = "torch",
    threads: int = 2,
) -> list[Survey]:
    """Survey slides one after the other; `folder` is gone afterwards."""
    found: list[Survey] = []
    for case in track(cases, "coarse", len(cases), "slides"):
        shutil.rmtree(folder, ignore_errors=True)  # of a slide before, or a run that was killed
        found.append(survey(bundle, case, folder, backend=backend, threads=threads))
    shutil.rmtree(folder, ignore_errors=True)
    return found
