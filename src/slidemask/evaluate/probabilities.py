"""What probabilities say beyond the mask: the charts and numbers of the report."""

import math
from dataclasses import dataclass

import numpy as np

from slidemask.evaluate.curves import (
    ReliabilityBin,
    average_precision,
    brier_score,
    calibration_error,
    reliability,
    sweep,
)
from slidemask.evaluate.histogram import Histogram
from slidemask.evaluate.plots import LineChart, Mark, Series, line_chart


@dataclass(frozen=True)
class ClassView:
    """Curves of one class over all thresholds."""

    name: str
    average_precision: float
    by_chance: float
    """The class's share of the pixels: the average precision of a guess."""
    best_threshold: float
    best_dice: float
    precision_recall: LineChart
    against_threshold: LineChart


@dataclass(frozen=True)
class ProbabilityView:
    """What the report shows where every slide has its probabilities."""

    slides: int
    pixels: int
    classes: list[ClassView]
    calibration_error: float
    brier_score: float
    bins: list[ReliabilityBin]
    calibration: LineChart


def view_probabilities(
    histogram: Histogram, names: tuple[str, ...], slides: int, threshold: float | None
) -> ProbabilityView:
    """Turn counts pooled over `slides` into charts.

    Parameters
    ----------
    histogram : Histogram
        Of all slides.
    names : tuple of str
        Class names by index, background first.
    slides : int
        How many were pooled.
    threshold : float or None
        By which the masks were made: marked in the charts.
    """
    areas = average_precision(histogram.confusions())
    bins = reliability(histogram)
    return ProbabilityView(
        slides=slides,
        pixels=histogram.total,
        classes=[
            _class_view(histogram, index, name, (float(areas[index]), threshold))
            for index, name in enumerate(names)
            if index > 0
        ],
        calibration_error=float(calibration_error(histogram.counts)),
        brier_score=float(brier_score(histogram.counts)),
        bins=bins,
        calibration=_calibration(bins),
    )


def _class_view(
    histogram: Histogram, index: int, name: str, known: tuple[float, float | None]
) -> ClassView:
    area, threshold = known
    curve = sweep(histogram, index)
    share = float(histogram.counts[index].sum() / max(1, histogram.total))
    best, dice = curve.best("dice")
    at = None if threshold is None else math.ceil(threshold * 255 - 1e-9)
    used = (
        []
        if at is None or np.isnan(curve.precision[at])
        else [Mark(f"{threshold:g}", float(curve.recall[at]), float(curve.precision[at]))]
    )
    return ClassView(
        name,
        area,
        share,
        best,
        dice,
        line_chart(
            f"Precision and recall of {name}",
            [
                Series("every threshold", curve.recall.tolist(), curve.precision.tolist()),
                Series("by chance", [0, 1], [share, share], dashed=True),
            ],
            ("recall", "precision"),
            x_range=(0, 1),
            y_range=(0, 1),
            marks=used,
        ),
        line_chart(
            f"{name} against the threshold",
            [
                Series(label, curve.thresholds.tolist(), values.tolist())
                for label, values in (("Dice", curve.dice), ("IoU", curve.iou), ("MCC", curve.mcc))
            ],
            ("threshold", "pooled figure"),
            x_range=(0, 1),
            y_range=(0, 1),
            marks=[] if threshold is None else [Mark("used", threshold)],
        ),
    )


def _calibration(bins: list[ReliabilityBin]) -> LineChart:
    full = [some for some in bins if some.pixels]
    return line_chart(
        "Calibration",
        [
            Series(
                "found",
                [some.promised for some in full],
                [some.found for some in full],
                dots=True,
                notes=[f"{some.pixels:,} pixels" for some in full],
            ),
            Series("as promised", [0, 1], [0, 1], dashed=True),
        ],
        ("foreground probability", "share that is foreground"),
        x_range=(0, 1),
        y_range=(0, 1),
    )
