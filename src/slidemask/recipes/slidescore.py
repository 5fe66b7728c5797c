"""One slide's result against its annotations, on all levels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from scipy.ndimage import find_objects
from shapely import MultiPolygon
from shapely.affinity import translate

from slidemask.base.classes import ClassMap
from slidemask.base.types import IGNORE, Rgb
from slidemask.data.case import Case
from slidemask.data.truth import LabelImageTruth, PolygonTruth, Truth, open_truth
from slidemask.evaluate.evaluation import SlideScore
from slidemask.evaluate.histogram import Histogram, histogram_slide
from slidemask.evaluate.objects import ObjectCounts, counts_of, truth_objects
from slidemask.evaluate.overlaps import meet
from slidemask.evaluate.score import score_slide
from slidemask.evaluate.sizes import ObjectSizes, sizes_of
from slidemask.evaluate.tilecounts import count_tiles
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.box import Box
from slidemask.geometry.trace import trace
from slidemask.io.geojson import read_geojson
from slidemask.io.labelimage import LabelImage, read_label_image
from slidemask.io.maskfile import MaskFile, open_mask
from slidemask.io.open import open_slide
from slidemask.io.probabilityfile import open_probability
from slidemask.io.slide import Slide
from slidemask.post.cases import case_picture
from slidemask.post.preview import thumbnail, write_picture
from slidemask.recipes.found import Found
from slidemask.tiles.grid import TileGrid

PICTURE_PX: Final = 900
"""Longest side of each of the three copies in a slide's picture."""


@dataclass(frozen=True, eq=False)
class Scored:
    """One slide's scores, and its annotated objects by size (by class)."""

    score: SlideScore
    sizes: dict[str, ObjectSizes]


def score_result(found: Found, classes: ClassMap, pictures: Path | None = None) -> Scored:
    """Score one slide's result on all levels; write its picture into `pictures`."""
    case, folder, summary = found.case, found.folder, found.summary
    files, downsample = summary["files"], summary["canvas"]["downsample"]
    with open_slide(case.slide, mpp=case.mpp) as slide, open_mask(folder / files["mask"]) as mask:
        truth = open_truth(case, slide, classes)
        names, side = classes.names, summary["settings"]["tiling"]["tile_px"]
        confusion = score_slide(truth, mask, slide.size, downsample=downsample, names=names)
        grid = TileGrid(slide.size, tile=side, stride=side, downsample=downsample)
        tiles = count_tiles(truth, mask, slide.size, downsample=downsample, names=names, grid=grid)
        picture = pictures and pictures / f"{folder.name}.png"
        if picture:
            write_picture(picture, _picture(slide, truth, mask, classes))
        objects, sizes = _objects(truth, found, classes)
        histogram = _histogram(slide, truth, found, classes)
    score = SlideScore(
        folder.name, confusion, case.patient, case.group, picture,
        tiles=tiles, objects=objects, histogram=histogram,
    )  # fmt: skip
    return Scored(score, sizes)


def _objects(
    truth: PolygonTruth | LabelImageTruth, found: Found, classes: ClassMap
) -> tuple[dict[str, ObjectCounts], dict[str, ObjectSizes]]:
    """Count every class's objects; sizes are known only where the pixel size is."""
    predicted = read_geojson(found.folder / found.summary["files"]["polygons"])
    known = None if _all_known(truth) else truth.labels
    mpp = found.summary["slide"]["mpp"]  # by which it was segmented, wherever that came from
    counts, sizes = {}, {}
    for index, name in enumerate(classes.names[1:], start=1):
        chosen = np.array([label == name for label in predicted.labels], bool)
        mine = Annotations(predicted.polygons[chosen], (name,) * int(chosen.sum()))
        overlaps = meet(_annotated(truth, found.case, classes, index), mine, known=known)
        counts[name] = counts_of(overlaps, um_per_px=mpp)
        if mpp is not None:
            sizes[name] = sizes_of(overlaps, um_per_px=mpp)
    return counts, sizes


def _annotated(
    truth: PolygonTruth | LabelImageTruth, case: Case, classes: ClassMap, index: int
) -> Annotations:
    """Return the annotated objects of a class: polygons, numbered objects, or connected parts."""
    only = len(classes.classes) == 1 and not classes.classes[0].values
    if isinstance(truth, LabelImageTruth) and case.annotations and only:
        values = read_label_image(case.annotations)
        if is_numbered(values):
            return numbered_objects(values)
    return truth_objects(truth, index)


def is_numbered(values: LabelImage) -> bool:
    """Whether a label image of one class numbers its objects, as those of the GlaS challenge do.

    It does where it holds several values besides 0 and none of them is the highest of its type:
    a mask of 0 and 255 whose edges were smoothed holds many values too.
    """
    numbers = np.unique(values[values > 0])
    return len(numbers) > 1 and numbers[-1] < np.iinfo(values.dtype).max


def numbered_objects(values: LabelImage) -> Annotations:
    """Outline the objects of a label image, one for each number, in one part or several."""
    polygons = []
    for number, window in enumerate(find_objects(values), start=1):
        if window is not None:
            parts = trace(values[window] == number)
            whole = parts[0] if len(parts) == 1 else MultiPolygon(parts)
            polygons.append(translate(whole, window[1].start, window[0].start))
    return Annotations(np.array([*polygons, None], object)[:-1], ("",) * len(polygons))


def _all_known(truth: PolygonTruth | LabelImageTruth) -> bool:
    """Whether no pixel of the slide is unknown: then objects need not be looked at singly."""
    if isinstance(truth, LabelImageTruth):
        return not (truth.pixels == IGNORE).any()
    return truth.fill == 0 and truth.region is None


def _histogram(slide: Slide, truth: Truth, found: Found, classes: ClassMap) -> Histogram | None:
    name = found.summary["files"].get("probability")
    if name is None:
        return None
    with open_probability(found.folder / name) as probability:
        return histogram_slide(
            truth,
            probability,
            slide.size,
            downsample=found.summary["canvas"]["downsample"],
            classes=len(classes.names),
        )


def _picture(slide: Slide, truth: Truth, mask: MaskFile, classes: ClassMap) -> Rgb:
    picture, downsample = thumbnail(slide, PICTURE_PX)
    height, width = picture.shape[:2]
    wanted = truth.labels(Box(0, 0, width * downsample, height * downsample), downsample)
    return case_picture(picture, wanted, mask.level(max(height, width)), classes)
