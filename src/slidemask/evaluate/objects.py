"""Scores of whole objects: how many were found, and how well.

An object is one annotation polygon as it was drawn, also where it touches or overlaps the next,
or one 4-connected part of a label image; a predicted object is one polygon of the result. All is
counted in sums, so that slides can be added up and patients drawn anew for an interval; the
figures are functions of the sums.

Sources: precision, recall and F1 at an IoU threshold as in the nucleus challenges (Caicedo et
al., Nature Methods 16, 2019); panoptic quality (Kirillov et al., CVPR 2019); F1 at half of the
truth object, object Dice and object Hausdorff of the GlaS challenge (Sirinukunwattana et al.,
Medical Image Analysis 35, 2017).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from slidemask.data.truth import LabelImageTruth, PolygonTruth
from slidemask.evaluate.hausdorff import hausdorff, nearest, shapes_of
from slidemask.evaluate.overlaps import NONE, Known, Overlaps, meet
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.trace import trace

Sums = NDArray[np.float64]
"""(..., M) by `FIELDS`."""

THRESHOLDS: Final = tuple(percent / 100 for percent in range(50, 100, 5))
"""IoU from which on a pair is a match."""

_MATCHED = tuple(f"matched_{round(100 * threshold)}" for threshold in THRESHOLDS)

FIELDS: Final = (
    "truth",  # objects
    "predicted",
    *_MATCHED,  # pairs, by IoU in percent
    "iou",  # of the pairs matched at 50 %, added up
    "glas_matched",
    "area_truth",  # µm², or px² of slides without a pixel size; so are the weights below
    "area_predicted",
    "dice_truth",  # Dice with the partner times own area
    "dice_predicted",
    "hausdorff_truth",  # µm or px, times own area
    "hausdorff_predicted",
    "reached_truth",  # area of the objects that have an object to be measured to
    "reached_predicted",
    "left_out_truth",  # objects where mostly nothing is known
    "left_out_predicted",
    "slides_um",  # slides with objects, by unit
    "slides_px",
)
"""Names of the sums, in the order in which they stand."""

_AT = {name: place for place, name in enumerate(FIELDS)}


@dataclass(frozen=True, eq=False)
class ObjectCounts:
    """What was counted of one class's objects; add them to pool slides.

    Parameters
    ----------
    sums : (M,) float64
        By `FIELDS`.

    Examples
    --------
    >>> truth = Annotations.of([shapely.box(0, 0, 4, 4), shapely.box(9, 0, 10, 4)], ["a", "a"])
    >>> predicted = Annotations.of([shapely.box(0, 0, 4, 3)], ["a"])
    >>> counts = count_objects(truth, predicted, um_per_px=None)
    >>> round(counts.figure("object f1"), 3), counts.figure("object recall"), counts.unit
    (0.667, 0.5, 'px')
    """

    sums: Sums

    @classmethod
    def zero(cls) -> "ObjectCounts":
        """Return empty counts, from which sums start."""
        return cls(np.zeros(len(FIELDS)))

    def __add__(self, other: "ObjectCounts") -> "ObjectCounts":
        return ObjectCounts(self.sums + other.sums)

    def __getitem__(self, field: str) -> float:
        return float(self.sums[_AT[field]])

    def figure(self, name: str) -> float:
        """Return one of `OBJECT_FIGURES`; NaN where it is not defined."""
        return float(OBJECT_FIGURES[name](self.sums))

    @property
    def unit(self) -> str:
        """Unit of the object Hausdorff distance: "µm", "px", or "mixed", where it is NaN."""
        if not self["slides_px"]:
            return "µm"
        return "mixed" if self["slides_um"] else "px"


def count_objects(
    truth: Annotations,
    predicted: Annotations,
    *,
    um_per_px: float | None,
    known: Known | None = None,
) -> ObjectCounts:
    """Compare the annotated and the predicted objects of one class on one slide.

    Parameters
    ----------
    truth, predicted : Annotations
        Polygons of one class, level-0 pixels; labels do not matter. See `truth_objects`.
    um_per_px : float, optional
        The slide's mpp; None leaves areas and distances in pixels.
    known : callable, optional
        `Truth.labels`: objects with more than half of their area where nothing is known are
        left out and counted as such. Without it everything is known.
    """
    return counts_of(meet(truth, predicted, known=known), um_per_px=um_per_px)


def counts_of(overlaps: Overlaps, *, um_per_px: float | None) -> ObjectCounts:
    """Count overlaps that `meet` found."""
    scale = um_per_px or 1.0
    matched = overlaps.iou[overlaps.matches(THRESHOLDS[0])]
    any_object = len(overlaps.truth) + len(overlaps.predicted) > 0
    found = {
        "truth": len(overlaps.truth),
        "predicted": len(overlaps.predicted),
        "iou": matched.sum(),
        "glas_matched": len(glas_found(overlaps)),
        "left_out_truth": overlaps.left_out[0],
        "left_out_predicted": overlaps.left_out[1],
        "slides_um": any_object and um_per_px is not None,
        "slides_px": any_object and um_per_px is None,
    }
    for field, threshold in zip(_MATCHED, THRESHOLDS, strict=True):
        found[field] = np.count_nonzero(matched >= threshold - 1e-9)
    distances = _distances(overlaps)
    for side, name in enumerate(("truth", "predicted")):
        areas = overlaps.areas[side] * scale**2
        reached = ~np.isnan(distances[side])
        found[f"area_{name}"] = areas.sum()
        found[f"dice_{name}"] = (areas * _dice(overlaps, side)).sum()
        found[f"hausdorff_{name}"] = (areas * distances[side])[reached].sum() * scale
        found[f"reached_{name}"] = areas[reached].sum()
    return ObjectCounts(np.array([found[field] for field in FIELDS], np.float64))


def glas_found(overlaps: Overlaps) -> NDArray[np.intp]:
    """Return the truth objects found by the rule of the GlaS challenge.

    A predicted object stands for the truth object that it overlaps most, and finds it where it
    covers at least half of it (so the paper; the challenge's program asks for more than half).
    A truth object is found once, also where two predictions cover exactly half of it each.
    """
    partner = overlaps.partners(1)
    pairs = partner[partner != NONE]
    owner = overlaps.pairs[0][pairs]
    enough = overlaps.common[pairs] >= 0.5 * (1 - 1e-9) * overlaps.areas[0][owner]
    return np.unique(owner[enough])


def truth_objects(truth: PolygonTruth | LabelImageTruth, class_index: int) -> Annotations:
    """Return a slide's annotated objects of one class.

    Polygons are taken as they were drawn, what was drawn over them notwithstanding. The class's
    4-connected parts of a label image are outlined; objects that touch there are one.
    """
    if isinstance(truth, PolygonTruth):
        mine = [truth.index.get(label) == class_index for label in truth.annotations.labels]
        polygons = truth.annotations.polygons[np.array(mine, bool)]
    else:
        polygons = np.array([*trace(truth.pixels == class_index), None], object)[:-1]
    return Annotations(polygons, ("",) * len(polygons))


def _dice(overlaps: Overlaps, side: int) -> NDArray[np.float64]:
    """Return each object's Dice with its partner; 0 without one."""
    partner = overlaps.partners(side)
    has = partner != NONE
    pairs = partner[has]
    sizes = (
        overlaps.areas[0][overlaps.pairs[0][pairs]] + overlaps.areas[1][overlaps.pairs[1][pairs]]
    )
    dice = np.zeros(len(partner))
    dice[has] = 2 * overlaps.common[pairs] / sizes
    return dice


def _distances(overlaps: Overlaps) -> tuple[Sums, Sums]:
    """Return each object's distance to its partner, px; NaN where the other side is empty.

    Without overlap the partner is the object at the least Hausdorff distance.
    """
    sides = overlaps.truth, overlaps.predicted
    shapes = tuple(map(shapes_of, sides))
    bounds = tuple(map(shapely.bounds, sides))
    of_pair: dict[int, float] = {}
    distances = np.full(len(sides[0]), np.nan), np.full(len(sides[1]), np.nan)
    if not all(map(len, sides)):
        return distances
    for side in (0, 1):
        for number, pair in enumerate(overlaps.partners(side).tolist()):
            if pair == NONE:
                there = nearest(shapes[side](number), bounds[1 - side], shapes[1 - side])
            elif (there := of_pair.get(pair, -1)) < 0:
                one, other = overlaps.pairs[:, pair].tolist()
                there = of_pair[pair] = hausdorff(shapes[0](one), shapes[1](other))
            distances[side][number] = there
    return distances


def _ratio(part: Sums, whole: Sums) -> Sums:
    """Divide; NaN where there is nothing to divide by."""
    out = np.full(np.broadcast_shapes(np.shape(part), np.shape(whole)), np.nan)
    return np.divide(part, whole, out=out, where=np.asarray(whole) > 0)


def _of(sums: Sums, field: str) -> Sums:
    return sums[..., _AT[field]]


def _precision(sums: Sums, matched: str = "matched_50") -> Sums:
    return _ratio(_of(sums, matched), _of(sums, "predicted"))


def _recall(sums: Sums, matched: str = "matched_50") -> Sums:
    return _ratio(_of(sums, matched), _of(sums, "truth"))


def _f1(sums: Sums, matched: str = "matched_50") -> Sums:
    return _ratio(2 * _of(sums, matched), _of(sums, "truth") + _of(sums, "predicted"))


def _over_thresholds(figure: Callable[[Sums, str], Sums]) -> Callable[[Sums], Sums]:
    return lambda sums: np.mean([figure(sums, field) for field in _MATCHED], axis=0)


def _weighted(name: str, weight: str) -> Callable[[Sums], Sums]:
    """Average both directions, each weighted by area; one alone where the other has no objects."""

    def figure(sums: Sums) -> Sums:
        ways = np.stack(
            [
                _ratio(_of(sums, f"{name}_{side}"), _of(sums, f"{weight}_{side}"))
                for side in ("truth", "predicted")
            ]
        )
        defined = ~np.isnan(ways) & _one_unit(sums)
        return _ratio(np.where(defined, ways, 0).sum(0), defined.sum(0).astype(np.float64))

    return figure


def _mm2(field: str) -> Callable[[Sums], Sums]:
    return lambda sums: np.where(_of(sums, "slides_px") > 0, np.nan, _of(sums, field) / 1e6)


def _one_unit(sums: Sums) -> NDArray[np.bool_]:
    return ~((_of(sums, "slides_um") > 0) & (_of(sums, "slides_px") > 0))


OBJECT_FIGURES: Final[Mapping[str, Callable[[Sums], Sums]]] = {
    "object precision": _precision,
    "object recall": _recall,
    "object f1": _f1,
    "object precision .5:.95": _over_thresholds(_precision),
    "object recall .5:.95": _over_thresholds(_recall),
    "object f1 .5:.95": _over_thresholds(_f1),
    "pq": lambda sums: _ratio(2 * _of(sums, "iou"), _of(sums, "truth") + _of(sums, "predicted")),
    "sq": lambda sums: _ratio(_of(sums, "iou"), _of(sums, "matched_50")),
    "rq": _f1,
    "glas precision": lambda sums: _precision(sums, "glas_matched"),
    "glas recall": lambda sums: _recall(sums, "glas_matched"),
    "glas f1": lambda sums: _f1(sums, "glas_matched"),
    "object dice": _weighted("dice", "area"),
    "object hausdorff": _weighted("hausdorff", "reached"),
    "objects in truth": lambda sums: _of(sums, "truth"),
    "objects predicted": lambda sums: _of(sums, "predicted"),
    "mm2 in truth": _mm2("area_truth"),
    "mm2 predicted": _mm2("area_predicted"),
}
"""Figures of (..., M) sums, whole leading axes at a time; NaN where nothing can be divided by.

Precision, recall and F1 count a match from IoU 0.5 on; ".5:.95" is their mean over `THRESHOLDS`.
"object dice" is 0 where only truth or only prediction has objects. "object hausdorff" leaves out
the slides on which either has none, where the challenge would say infinite; it is in µm, in px
where no slide has a pixel size, and NaN where some have and some have not.
"""

OBJECT_LABELS: Final[Mapping[str, str]] = {
    "object f1": "object F1",
    "object f1 .5:.95": "object F1 .5:.95",
    "pq": "PQ",
    "sq": "SQ",
    "rq": "RQ",
    "glas precision": "GlaS precision",
    "glas recall": "GlaS recall",
    "glas f1": "GlaS F1",
    "object dice": "object Dice",
    "object hausdorff": "object Hausdorff",
    "mm2 in truth": "mm² in truth",
    "mm2 predicted": "mm² predicted",
}
"""How tables write a figure's name, where that is not the name itself."""
