"""Slides found in photos, against the true ones: outlines, corners, what was missed or merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from shapely.geometry import Polygon

from slidemask.evaluate.bootstrap import Estimate, Values, bounds, draws

Corners = NDArray[np.float64]
State = Literal["found", "missed", "merged", "split"]
STATES: Final[tuple[State, ...]] = ("found", "missed", "merged", "split")

MATCHED: Final = 0.5
"""Least IoU of a true slide and its outline."""
HALF: Final = 0.5
"""From which share on a slide lies under an outline, or an outline in a slide."""

FIGURES: Final = (
    "iou", "iou of matched", "corner error", "found", "missed", "merged", "split", "false finds",
)  # fmt: skip
"""Of `PhotoFigures`: the mean IoU over all true slides, of which one without an outline has 0, and
over those with one; the mean distance of corners, as a share of the photo's diagonal; shares of
the true slides; false finds a photo."""
LOWER_IS_BETTER: Final = frozenset({"corner error", "missed", "merged", "split", "false finds"})


@dataclass(frozen=True, eq=False)
class Shape:
    """A slide in a photo, true or found.

    Parameters
    ----------
    polygon : Polygon
        Within the photo, its pixels.
    corners : (4, 2) float64, optional
        (x, y), in order round the slide; None where they are not known or lie outside the photo.
    """

    polygon: Polygon
    corners: Corners | None = None


@dataclass(frozen=True)
class SlideFate:
    """What became of one true slide.

    Parameters
    ----------
    state : {"found", "missed", "merged", "split"}
        "merged": an outline lies over at least half of it and of another slide, and it has none
        for itself.
        "split": two outlines or more lie with at least half of their own area in it. Otherwise
        "found" if it has an outline and "missed" if not.
    iou : float
        With its own outline; 0 without one.
    corner_error : float
        Mean distance of the outline's corners from the true ones, as a share of the photo's
        diagonal; NaN where there is no outline or a corner is not known.
    outline : int, optional
        Which outline is its own.
    """

    state: State
    iou: float
    corner_error: float
    outline: int | None


@dataclass(frozen=True)
class PhotoScore:
    """What was found in one photo.

    Parameters
    ----------
    slides : tuple of SlideFate
        One per true slide, in their order.
    false_finds : tuple of int
        Outlines that are no slide's own, nor merge or split slides.
    """

    slides: tuple[SlideFate, ...]
    false_finds: tuple[int, ...]

    @property
    def sums(self) -> Values:
        """What the photo adds to every figure: two numbers for each of `FIGURES`."""
        ious = [slide.iou for slide in self.slides]
        matched = [slide.iou for slide in self.slides if slide.outline is not None]
        errors = [s.corner_error for s in self.slides if not np.isnan(s.corner_error)]
        pairs = [(sum(values), len(values)) for values in (ious, matched, errors)]
        states = [slide.state for slide in self.slides]
        pairs += [(states.count(state), len(states)) for state in STATES]
        return np.array([*pairs, (len(self.false_finds), 1)], np.float64)


def score_photo(
    true: Sequence[Shape], found: Sequence[Shape], size: tuple[float, float]
) -> PhotoScore:
    """Match outlines with slides so that the sum of their IoU is greatest, none below one half.

    (Hungarian method: H. W. Kuhn, Naval Research Logistics Quarterly 2, 1955.)

    Parameters
    ----------
    true, found : sequence of Shape
    size : (width, height)
        Of the photo, pixels.

    Examples
    --------
    >>> left, right = Shape(shapely.box(0, 0, 10, 10)), Shape(shapely.box(10, 0, 20, 10))
    >>> both, aside = Shape(shapely.box(0, 0, 20, 10)), Shape(shapely.box(40, 0, 50, 10))
    >>> score = score_photo([left, right], [both, aside], (60, 20))
    >>> [slide.state for slide in score.slides], score.false_finds
    (['merged', 'merged'], (1,))
    """
    common = _common(true, found)
    areas = [np.array([shape.polygon.area for shape in shapes]) for shapes in (true, found)]
    ious = common / np.maximum(areas[0][:, None] + areas[1][None, :] - common, 1e-9)
    own = _matched(ious)
    covered = common >= HALF * areas[0][:, None]
    within = common >= HALF * np.maximum(areas[1], 1e-9)
    merging = covered & (covered.sum(axis=0) >= 2)
    for at, outline in own.items():  # with an outline of its own alone no other can merge it
        merging[at] &= merging[at, outline]
    splitting = within & (within.sum(axis=1) >= 2)[:, None] & ~merging.any(axis=0)
    fates = [
        SlideFate(
            _state(at in own, merged=merging[at].any(), split=splitting[at].any()),
            float(ious[at, own[at]]) if at in own else 0.0,
            _corner_error(shape, found[own[at]], size) if at in own else np.nan,
            own.get(at),
        )
        for at, shape in enumerate(true)
    ]
    explained = {*own.values(), *np.flatnonzero((merging | splitting).any(axis=0)).tolist()}
    return PhotoScore(tuple(fates), tuple(at for at in range(len(found)) if at not in explained))


def corner_error(true: Corners, found: Corners) -> float:
    """Return the mean distance of four corners, in pixels.

    Which corner comes first is a matter of how a slide lies, so the best of the four turns counts.

    >>> square = np.array([(0, 0), (4, 0), (4, 4), (0, 4)], float)
    >>> corner_error(square, np.roll(square, 1, axis=0) + (3, 4))
    5.0
    """
    turns = [np.roll(found, turn, axis=0) for turn in range(4)]
    return float(min(np.linalg.norm(true - turned, axis=1).mean() for turned in turns))


def estimate_of(scores: Sequence[PhotoScore], patients: Sequence[str]) -> Estimate:
    """Return all `FIGURES` of photos, ready to be resampled by patient."""
    names = {name: number for number, name in enumerate(dict.fromkeys(patients))}
    parts = np.zeros((len(names), len(FIGURES), 2))
    for score, patient in zip(scores, patients, strict=True):
        parts[names[patient]] += score.sums
    return Estimate(parts, _ratios)


def difference(one: Estimate, other: Estimate, seed: int = 0) -> tuple[Values, Values, Values]:
    """Return other - one of all `FIGURES` and the bounds of its 95 % interval, paired by patient.

    Both must be of the same photos.
    """
    weights = draws(len(one.parts), seed)
    low, high = bounds(other.resampled(weights) - one.resampled(weights))
    if len(one.parts) < 2:
        low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
    return other.value - one.value, low, high


def _ratios(sums: Values) -> Values:
    with np.errstate(invalid="ignore"):
        return np.divide(
            sums[..., 0], sums[..., 1],
            out=np.full(sums.shape[:-1], np.nan), where=sums[..., 1] > 0,
        )  # fmt: skip


def _common(true: Sequence[Shape], found: Sequence[Shape]) -> Values:
    """Return the areas that slides and outlines have in common, (true, found)."""
    ours, theirs = (
        np.array([shape.polygon.buffer(0) for shape in shapes], dtype=object)
        for shapes in (true, found)
    )
    if not len(ours) or not len(theirs):
        return np.zeros((len(ours), len(theirs)))
    return np.asarray(shapely.area(shapely.intersection(ours[:, None], theirs[None, :])))


def _matched(ious: Values) -> dict[int, int]:
    """Return the outline of each true slide that has one."""
    enough = np.where(ious >= MATCHED, ious, 0.0)
    rows, columns = linear_sum_assignment(-enough)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {row: column for row, column in pairs if enough[row, column] > 0}


def _state(has_outline: bool, *, merged: bool, split: bool) -> State:  # noqa: FBT001 - one plain fact
    if merged:
        return "merged"
    if split:
        return "split"
    return "found" if has_outline else "missed"


def _corner_error(true: Shape, found: Shape, size: tuple[float, float]) -> float:
    if true.corners is None or found.corners is None:
        return float("nan")
    return corner_error(true.corners, found.corners) / float(np.hypot(*size))
