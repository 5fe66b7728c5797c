"""Which annotated and predicted objects lie on one another, and by how much."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from slidemask.base.types import IGNORE, Labels
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.box import Box
from slidemask.geometry.raster import rasterise
from slidemask.geometry.valid import polygon_parts, repaired

Polygons = NDArray[np.object_]
"""(N,) shapely Polygon or MultiPolygon, level-0 pixels."""

Known = Callable[[Box, float], Labels]
"""`Truth.labels`: (box, downsample) to labels, 255 where nothing is known."""

NONE = -1
"""Partner of an object that overlaps no other."""

_SAMPLES = 64
_PAIRS_AT_A_TIME = 4096
_CORNERS = 512
_HALVINGS = 32
_NOISE = 1e-9


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Objects of one class on one slide, and the pairs of truth and prediction that overlap.

    Parameters
    ----------
    truth, predicted : (T,), (P,) object array of polygons
        Valid, with an area, level-0 pixels.
    pairs : (2, N) int
        Rows of `truth` and of `predicted` that have an area in common, by truth, then predicted.
    common : (N,) float64
        That area, px².
    left_out : (int, int)
        Objects of truth and prediction dropped before, because most of them lies where nothing
        is known.
    """

    truth: Polygons
    predicted: Polygons
    pairs: NDArray[np.intp]
    common: NDArray[np.float64]
    left_out: tuple[int, int] = (0, 0)

    @cached_property
    def areas(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Areas of truth and predicted objects, px²."""
        return shapely.area(self.truth), shapely.area(self.predicted)

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """(N,) intersection over union of each pair."""
        own = self.areas[0][self.pairs[0]], self.areas[1][self.pairs[1]]
        return self.common / (own[0] + own[1] - self.common)

    def matches(self, threshold: float = 0.5) -> NDArray[np.intp]:
        """Return the pairs (places in `pairs`) matched one to one with at least this IoU.

        The pair of highest IoU is matched first; ties go to the earlier object. Above 0.5 no
        object of disjoint ones has two candidates. At exactly 0.5 one may have two: say a truth
        object whose halves were predicted apart. An intersection of half of the union is at
        least half of either object, so the two candidates are those halves themselves and
        touch nothing else. Hence one of them is matched, the other is not, and no other choice
        would match more. Only annotations that overlap one another can depend on the order.
        """
        ordered = np.lexsort((self.pairs[1], self.pairs[0], -self.iou.round(12)))
        taken: tuple[set[int], set[int]] = set(), set()
        chosen: list[int] = []
        for place in ordered[self.iou[ordered] >= threshold - _NOISE].tolist():
            one, other = self.pairs[:, place].tolist()
            if one not in taken[0] and other not in taken[1]:
                taken[0].add(one)
                taken[1].add(other)
                chosen.append(place)
        return np.array(sorted(chosen), np.intp)

    def partners(self, side: int) -> NDArray[np.intp]:
        """Return, for each object, the pair in which it overlaps most; NONE where in none.

        Parameters
        ----------
        side : int
            0 for truth objects, 1 for predicted ones. Of equal overlaps the first counts.
        """
        best = np.full(len((self.truth, self.predicted)[side]), NONE, np.intp)
        rising = np.lexsort((-np.arange(self.common.size), self.common))
        best[self.pairs[side][rising]] = rising  # the best is written last
        return best


def meet(truth: Annotations, predicted: Annotations, *, known: Known | None = None) -> Overlaps:
    """Find all overlaps between annotated and predicted objects of one class.

    Each polygon is one object, also where it touches or overlaps the next; a MultiPolygon is one
    object too. Invalid outlines are repaired, what has no area is passed over.

    Parameters
    ----------
    truth, predicted : Annotations
        Polygons of one class, level-0 pixels; labels do not matter.
    known : callable, optional
        `Truth.labels`. Objects with more than half of their area where nothing is known are
        left out. Without it everything is known.
    """
    sides = [_areal(part.polygons) for part in (truth, predicted)]
    kept = [_judged(polygons, known) for polygons in sides]
    wanted, found = (side[keep] for side, keep in zip(sides, kept, strict=True))
    pairs, common = _common_areas(wanted, found)
    smaller = np.minimum(shapely.area(wanted)[pairs[0]], shapely.area(found)[pairs[1]])
    real = common > _NOISE * smaller
    left_out = int((~kept[0]).sum()), int((~kept[1]).sum())
    return Overlaps(wanted, found, pairs[:, real], common[real], left_out)


def known_share(polygon: Polygon | MultiPolygon, known: Known) -> float:
    """Return the share of a polygon's area where the truth is known, sampled on a 64 px raster."""
    left, top, right, bottom = shapely.bounds(polygon)
    box = Box(left, top, right - left, bottom - top)
    downsample = max(box.width, box.height) / _SAMPLES
    inside = rasterise(polygon, box, downsample)
    if not inside.any():  # thinner than a sample
        inside[:] = True
    return float((known(box, downsample)[inside] != IGNORE).mean())


def _areal(polygons: Polygons) -> Polygons:
    valid = repaired(polygons)
    return valid[shapely.area(valid) > 0]


def _judged(polygons: Polygons, known: Known | None) -> NDArray[np.bool_]:
    if known is None:
        return np.ones(len(polygons), bool)
    return np.array([known_share(polygon, known) >= 0.5 for polygon in polygons], bool)


def _common_areas(ones: Polygons, others: Polygons) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return (2, N) pairs that touch, in order, and the area that each has in common."""
    (parts, owner), (other_parts, other_owner) = _cut(ones), _cut(others)
    touching = shapely.STRtree(other_parts).query(parts, predicate="intersects")
    starts = range(0, touching.shape[1], _PAIRS_AT_A_TIME)
    areas = [
        shapely.area(shapely.intersection(parts[one], other_parts[other]))
        for one, other in (touching[:, start : start + _PAIRS_AT_A_TIME] for start in starts)
    ]
    keys = owner[touching[0]] * max(1, len(others)) + other_owner[touching[1]]
    pairs, place = np.unique(keys, return_inverse=True)
    common = np.bincount(place, np.concatenate([np.zeros(0), *areas]), minlength=len(pairs))
    return np.stack(np.divmod(pairs, max(1, len(others)))), common.astype(np.float64)


def _cut(polygons: Polygons) -> tuple[Polygons, NDArray[np.intp]]:
    """Halve large polygons until each piece has few corners; return pieces and their owners.

    So a pair costs what lies near it, not what its larger object has elsewhere.
    """
    pieces, owner = polygon_parts(polygons)
    for _ in range(_HALVINGS):
        large = shapely.get_num_coordinates(pieces) > _CORNERS
        if not large.any():
            break
        halves, of = polygon_parts(_halved(pieces[large]))
        pieces = np.concatenate([pieces[~large], halves])
        owner = np.concatenate([owner[~large], np.repeat(owner[large], 2)[of]])
    return pieces, owner


def _halved(polygons: Polygons) -> Polygons:
    """Cut each polygon across the longer side of its box: (2 N,), halves side by side."""
    left, top, right, bottom = shapely.bounds(polygons).T
    wide = right - left >= bottom - top
    x, y = np.where(wide, (left + right) / 2, right), np.where(wide, bottom, (top + bottom) / 2)
    first = shapely.box(left, top, x, y)
    second = shapely.box(np.where(wide, x, left), np.where(wide, top, y), right, bottom)
    return np.stack(
        [shapely.intersection(polygons, first), shapely.intersection(polygons, second)], axis=1
    ).ravel()
