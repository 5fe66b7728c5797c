"""The levels at which a model is scored, from what was counted on each slide."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidemask.evaluate.bootstrap import Values
from slidemask.evaluate.confusion import Confusion, PerClass
from slidemask.evaluate.curves import average_precision, brier_score, calibration_error
from slidemask.evaluate.figures import (
    ALL_CLASSES,
    ALL_FOREGROUND,
    ALL_TILES,
    AVERAGE_PRECISION,
    BRIER_SCORE,
    CALIBRATION_ERROR,
    MEAN_OF_SLIDES,
    MEAN_OF_TILES,
    OBJECT,
    OVERALL_ACCURACY,
    PER_CLASS,
    SLIDE,
    TILES_WITH_OBJECT,
)
from slidemask.evaluate.histogram import Histogram, confusions_of
from slidemask.evaluate.measures import Level, Measure, Pile, ratio
from slidemask.evaluate.objects import OBJECT_FIGURES, ObjectCounts

Owner = NDArray[np.intp]
"""(U,) whose each unit is."""

AMOUNTS: Final = frozenset(
    {"objects in truth", "objects predicted", "mm2 in truth", "mm2 predicted"}
)
"""Object figures that are added up."""


def pixel_levels(confusions: NDArray[np.int64], owner: Owner, names: Sequence[str]) -> list[Level]:
    """Return the slide level from (U, C, C) counts of slides, and its overall accuracy."""
    present = np.ones((len(confusions), len(names) - 1), np.bool_)
    pile = Pile(MEAN_OF_SLIDES, one_vs_rest(confusions), present, owner)
    overall = _overall(SLIDE, MEAN_OF_SLIDES, confusions, owner)
    return [Level(SLIDE, tuple(names[1:]), pile, _PIXELS), overall]


def tile_levels(counts: NDArray[np.int64], owner: Owner, names: Sequence[str]) -> list[Level]:
    """Return the two tile levels from (T, C, C) counts of tiles; tiles unknown are no tiles."""
    known = counts.any((1, 2))
    counts, owner, classes = counts[known], owner[known], tuple(names[1:])
    binary, with_object = one_vs_rest(counts), counts[:, 1:].sum(2) > 0
    chosen = np.where(with_object[..., None, None], binary, 0.0)
    some = Pile(MEAN_OF_TILES, chosen, with_object, owner)
    every = Pile(MEAN_OF_TILES, binary, np.ones_like(with_object), owner)
    return [
        Level(TILES_WITH_OBJECT, classes, some, _PIXELS),
        Level(ALL_TILES, classes, every, _PIXELS),
        _overall(ALL_TILES, MEAN_OF_TILES, counts, owner),
    ]


def probability_levels(
    histograms: Sequence[Histogram], owner: Owner, names: Sequence[str]
) -> list[Level]:
    """Return what the probabilities are scored by: AUPRC by class, ECE and Brier score over all."""
    counts = np.stack([histogram.counts for histogram in histograms]).astype(np.float64)
    present = np.ones((len(counts), len(names) - 1), np.bool_)
    by_class = Pile(MEAN_OF_SLIDES, counts, present, owner)
    of_all = Pile(MEAN_OF_SLIDES, counts, present[:, :1], owner)
    return [
        Level(SLIDE, tuple(names[1:]), by_class, {AVERAGE_PRECISION: _average_precision}),
        Level(SLIDE, (ALL_FOREGROUND,), of_all, _OF_ALL_FOREGROUND),
    ]


def object_level(
    counts: Sequence[Sequence[ObjectCounts | None]], owner: Owner, names: Sequence[str]
) -> Level:
    """Return the object level from each slide's K counts, None where a class was not counted."""
    none = ObjectCounts.zero()
    sums = np.array([[(one or none).sums for one in slide] for slide in counts])
    present = np.array([[one is not None for one in slide] for slide in counts])
    pile = Pile(MEAN_OF_SLIDES, sums, present, owner)
    distance = ObjectCounts(sums.sum((0, 1))).unit
    units = {"object hausdorff": distance, "mm2 in truth": "mm²", "mm2 predicted": "mm²"}
    return Level(OBJECT, tuple(names[1:]), pile, OBJECT_FIGURES, AMOUNTS, units)


def one_vs_rest(counts: NDArray[np.int64]) -> Values:
    """Turn (U, C, C) confusions into (U, K, 2, 2): each foreground class against the rest."""
    tp, fp, fn, tn = (part[..., 1:] for part in Confusion(counts).one_vs_rest())
    return np.stack([np.stack([tn, fp], -1), np.stack([fn, tp], -1)], -2)


def _of_pixels(figure: Callable[[Confusion], PerClass], sums: Values) -> Values:
    """Take a figure of (..., K, 2, 2); sums of counts are whole numbers."""
    return figure(Confusion(sums.astype(np.int64)))[..., 1]


_PIXELS: Final[dict[str, Measure]] = {
    name: partial(_of_pixels, figure) for name, figure in PER_CLASS.items()
}


_OF_ALL_FOREGROUND: Final[dict[str, Measure]] = {
    CALIBRATION_ERROR: lambda sums: calibration_error(sums)[..., None],
    BRIER_SCORE: lambda sums: brier_score(sums)[..., None],
}


def _overall(level: str, mean: str, confusions: NDArray[np.int64], owner: Owner) -> Level:
    """Return the overall accuracy: its counts are pixels found and all pixels."""
    right = confusions.diagonal(axis1=-2, axis2=-1).sum(-1)
    counts = np.stack([right, confusions.sum((-2, -1))], -1)[:, None].astype(np.float64)
    pile = Pile(mean, counts, np.ones((len(counts), 1), np.bool_), owner)
    measure = {OVERALL_ACCURACY: lambda sums: ratio(sums[..., 0], sums[..., 1])}
    return Level(level, (ALL_CLASSES,), pile, measure)


def _average_precision(sums: Values) -> Values:
    return average_precision(confusions_of(sums.astype(np.int64)))[..., 1:]
