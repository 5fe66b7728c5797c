"""Cascades: a second network, trained at a coarser resolution, says where the first has to look."""

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slidemask.base.files import write_json
from slidemask.base.progress import track
from slidemask.base.types import Mask
from slidemask.data.case import Case
from slidemask.data.shelf import open_case
from slidemask.geometry.box import Box
from slidemask.geometry.components import label
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
from slidemask.recipes.recall import lower_bound, objects_needed, surest_threshold
from slidemask.recipes.recipe import Recipe
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import lay_grid
from slidemask.tiles.select import select
from slidemask.train.schedule import Selection

log = logging.getLogger(__name__)


class Kept(NamedTuple):
    """Objects left to the fine network, of all, and the least share of others that surely is."""

    left: int
    total: int
    promised: float


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
    objects : (K, 256) int64
        Objects of each class, by the highest threshold that leaves half of their pixels or more.
    """

    object: NDArray[np.int64]
    tiles: NDArray[np.int64]
    coarse: int
    objects: NDArray[np.int64]

    def __add__(self, other: "Survey") -> "Survey":
        return Survey(
            self.object + other.object, self.tiles + other.tiles, self.coarse + other.coarse,
            self.objects + other.objects,
        )  # fmt: skip

    def threshold(self, recall: float, confidence: float = 0) -> float:
        """Return the highest threshold at which every class keeps this share.

        Of its pixels here, and, with this confidence, of its objects anywhere; `surest_threshold`
        says what is chosen where there are too few to be confident.
        """
        of_pixels = min(highest_threshold(counts, recall) for counts in self.object)
        if not confidence:
            return of_pixels
        sure = min(surest_threshold(counts, recall, confidence) for counts in self.objects)
        return min(of_pixels, sure)

    def kept(self, threshold: float, confidence: float) -> "Kept":
        """Return how many objects are left, of the class of which least can be promised."""
        left = self.objects[:, level_of(threshold) :].sum(axis=1)
        each = [
            Kept(int(some), int(total), float(lower_bound(some, int(total), confidence)))
            for some, total in zip(left, self.objects.sum(axis=1), strict=True)
            if total
        ]
        return min(each, key=lambda kept: kept.promised, default=Kept(0, 0, 0.0))

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
    asked, confidence : float
        Recall that was asked for, and how surely.
    objects, found : int
        Annotated objects of the class of which least can be promised, and those that are left.
    promised : float
        Share of all objects of that class that is left at least, with that confidence.
    """

    threshold: float
    recall: float
    tiles: int
    left: int
    asked: float = 0.0
    confidence: float = 0.0
    objects: int = 0
    found: int = 0
    promised: float = 0.0

    @classmethod
    def of(cls, survey: Survey, recall: float, confidence: float = 0.0) -> "Settled":
        """Choose the threshold that keeps `recall`, if that can be, on surveyed slides."""
        threshold = survey.threshold(recall, confidence)
        share = survey.recall(threshold)
        total, left = int(survey.tiles.sum()), survey.left(threshold)
        kept = survey.kept(threshold, confidence)
        return cls(
            threshold, 1.0 if math.isnan(share) else share, total, left,
            asked=recall, confidence=confidence,
            objects=kept.total, found=kept.left,
            promised=1.0 if threshold == 0 else kept.promised if confidence else 0.0,
        )  # fmt: skip

    @property
    def short(self) -> str:
        """What keeps the recall from being promised; "" where it is."""
        if not self.confidence or self.promised >= self.asked - 1e-9:
            return ""
        needed = objects_needed(self.asked, self.confidence)
        enough = (
            "no number of objects is enough for that" if math.isinf(needed)
            else f"that takes {needed:.0f} objects of each class, all of them left"
        )  # fmt: skip
        return (
            f"A recall of {self.asked:g} cannot be promised from {self.objects} validation objects "
            f"({enough}): the threshold is the highest that leaves all of them, and promises "
            f"{self.promised:.3f}. Annotate more validation slides, or ask for less with "
            "cascade.recall."
        )

    def __str__(self) -> str:
        share = self.left / max(self.tiles, 1)
        said = (
            f"On the validation slides the coarse network leaves {self.left} of {self.tiles} tiles "
            f"({share:.0%}), with {self.recall:.4f} of the object, at threshold "
            f"{self.threshold:.3f}."
        )
        if not self.confidence:
            return said
        if self.threshold == 0:
            return f"{said} It is 0: the fine network looks everywhere."
        said += (
            f" {self.found} of {self.objects} annotated objects are left; of others like them, "
            f"{self.promised:.3f} at least, at {100 * self.confidence:g} % confidence."
        )
        return f"{said} {self.short}".rstrip()


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
    settled = Settled.of(reduce(add, slides), spec.recall, spec.confidence)
    info = info.model_copy(
        update={
            "use": {**info.use, "cascade": {"threshold": settled.threshold}},
            "provenance": {**info.provenance, "cascade": asdict(settled)},
        }
    )
    write_json(folder / "bundle.json", info.model_dump(mode="json"))
    with (folder / "card.md").open("a", encoding="utf-8") as card:
        card.write(f"\n## Cascade\n\n{settled}\n")
    log.log(logging.WARNING if settled.short else logging.INFO, "%s", settled)
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
    objects = [
        kept_until((truth == index) & on_tissue, seen) for index in range(1, len(classes.names))
    ]
    return Survey(
        np.array(pixels), np.bincount(maxima[tiles.kept], minlength=256), coarse, np.array(objects)
    )


def kept_until(mask: Mask, seen: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count objects by the highest threshold that leaves half of their pixels or more, (256,).

    Parameters
    ----------
    mask : (H, W) bool
        Its 8-connected components are the objects.
    seen : (H, W) uint8
        Of each pixel, the highest threshold that leaves it.

    Examples
    --------
    >>> mask = np.array([[1, 1, 1, 0, 1]], bool)
    >>> np.flatnonzero(kept_until(mask, np.array([[9, 4, 2, 99, 7]], np.uint8))).tolist()
    [4, 7]
    """
    ids, count = label(mask, 8)
    numbers, values = ids[ids > 0], seen[ids > 0]
    order = np.lexsort((values, numbers))
    sizes = np.bincount(numbers, minlength=count + 1)[1:]
    middles = np.cumsum(sizes) - sizes + sizes // 2
    return np.bincount(values[order][middles], minlength=256)


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
