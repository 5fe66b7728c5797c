"""Which epoch, threshold and cleaning: figures for the history, and the choice among them.

Every figure's name says its level first ("tiles", "positive tiles", "whole slides"), then what it
is, then of what it is the average. All are means over the foreground classes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.histogram import Histogram
from slidemask.post.clean import Post
from slidemask.train.schedule import Selection

FIGURES: Final = ("dice", "iou", "mcc", "precision", "recall")
WHOLE: Final = "whole slides"
TILES: Final = "tiles"
POSITIVES: Final = "positive tiles"
LEVELS: Final = (TILES, POSITIVES, WHOLE)
THRESHOLD: Final = f"{WHOLE} threshold"
"""The threshold that the other figures of whole slides stand at."""
LEFT_OUT: Final = f"{WHOLE} left out"
"""Slides whose figure is not defined, so that the mean over slides is without them."""

Row = Mapping[str, float]
"""One epoch's figures."""


def figures_of(counts: Sequence[Confusion]) -> dict[str, float]:
    """Return every figure in both averages, from each slide's counts.

    A figure that is not defined is left out of its mean: Dice of a class that is in neither truth
    nor prediction, precision of what was never predicted. Of the coefficient of Matthews only
    truth decides that (see `defined`). Where nothing is defined the mean is 0, so that an empty
    epoch is never better than another.

    Returns
    -------
    dict
        "<figure> pooled" from the counts of all slides, "<figure> slides" as the mean of each
        slide's own figure.
    """
    pooled = sum(counts[1:], start=counts[0])
    result: dict[str, float] = {}
    for figure in FIGURES:
        result[f"{figure} pooled"] = _mean(defined(pooled, figure))
        result[f"{figure} slides"] = _mean(np.array([defined(count, figure) for count in counts]))
    return result


def defined(count: Confusion, figure: str) -> np.ndarray:
    """Return (K,) values of the foreground classes, NaN where there is nothing to judge.

    The coefficient of Matthews has no value either where all or nothing was predicted. It is 0
    there, as of chance, as long as the truth holds both the class and something else: otherwise
    the slides on which a network finds nothing would be left out, and the network be the better
    for it.

    >>> count = Confusion(np.array([[90, 0], [10, 0]]))
    >>> count.mcc[1:], defined(count, "mcc")
    (array([nan]), array([0.]))
    """
    values = getattr(count, figure)[1:].copy()
    if figure == "mcc":
        tp, fp, fn, tn = (part[1:] for part in count.one_vs_rest())
        values[np.isnan(values) & (tp + fn > 0) & (fp + tn > 0)] = 0.0
    return values


def column(selection: Selection) -> str:
    """Return the name of the figure that decides."""
    level = WHOLE if selection.level == "slides" else selection.level
    return f"{level} {selection.figure} {selection.average}"


def judge(histograms: Sequence[Histogram], selection: Selection, own: float) -> dict[str, float]:
    """Return an epoch's figures on whole slides, at the threshold that suits it best.

    Parameters
    ----------
    histograms : sequence of Histogram
        One of each slide.
    selection : Selection
        Which thresholds, and by which figure.
    own : float
        The recipe's own threshold. It wins where others are no better, as what lies nearest does.

    Returns
    -------
    dict
        "whole slides ..." figures, THRESHOLD, LEFT_OUT, and the figure that decides at each
        threshold, the recipe's own included.
    """
    decisive = f"{selection.figure} {selection.average}"
    at: dict[float, list[Confusion]] = {
        threshold: [histogram.confusion_at(threshold) for histogram in histograms]
        for threshold in sorted({*selection.thresholds, own})
    }
    figures = {threshold: figures_of(counts) for threshold, counts in at.items()}
    ways = nearest_first(selection.thresholds, own)
    best = max(ways, key=lambda threshold: figures[threshold][decisive])  # the first of equals
    left_out = sum(bool(np.isnan(defined(count, selection.figure)).all()) for count in at[best])
    return {
        **{f"{WHOLE} {name}": value for name, value in figures[best].items()},
        THRESHOLD: best,
        LEFT_OUT: left_out,
        **{at_threshold(selection, t): figures[t][decisive] for t in figures},
    }


def at_threshold(selection: Selection, threshold: float) -> str:
    """Return the name of the figure that decides, at one threshold."""
    return f"{WHOLE} {selection.figure} {selection.average} at {threshold:g}"


@dataclass(frozen=True)
class Choice:
    """What was chosen, and what the other way would have been.

    Parameters
    ----------
    level, figure, average : str
        By which the epoch was chosen.
    epoch : int
    value : float
        The figure there, before cleaning.
    threshold : float
    tiles : str, optional
        The level of tiles that was looked at beside whole slides.
    tiles_epoch : int, optional
        The epoch that it would have chosen, of those after which whole slides were segmented.
    tiles_threshold : float, optional
        The recipe's own, which tiles leave as it is.
    tiles_value : float, optional
        The figure on whole slides there.
    """

    level: str
    figure: str
    average: str
    epoch: int
    value: float
    threshold: float
    tiles: str | None = None
    tiles_epoch: int | None = None
    tiles_threshold: float | None = None
    tiles_value: float | None = None

    def __str__(self) -> str:
        mean = "mean of slides" if self.average == "slides" else "pooled"
        text = (
            f"By {self.level}: epoch {self.epoch}, threshold {self.threshold:g}, "
            f"{self.figure} {self.value:.4f} ({mean})."
        )
        if self.tiles is None:
            return text
        return (
            f"{text} {self.tiles[:1].upper()}{self.tiles[1:]} would have chosen epoch "
            f"{self.tiles_epoch} at threshold {self.tiles_threshold:g}: {self.figure} "
            f"{self.tiles_value:.4f} on the same whole slides (both before cleaning)."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; without the other way where there is none."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def choice_of(history: Sequence[Row], selection: Selection, own: float) -> Choice | None:
    """Return what a history's figures decide; None before the first epoch that can be judged.

    Parameters
    ----------
    history : sequence of mapping
        A row an epoch.
    selection : Selection
        How to choose.
    own : float
        The recipe's own threshold.
    """
    name = column(selection)
    rows = [row for row in history if name in row]
    if not rows:
        return None
    best = max(rows, key=lambda row: row[name])  # the first of equals
    choice = Choice(
        name.removesuffix(f" {selection.figure} {selection.average}"),
        selection.figure,
        selection.average,
        int(best["epoch"]),
        best[name],
        best.get(THRESHOLD, own),
    )
    level = next((level for level in (POSITIVES, TILES) if name_on(level, selection) in best), None)
    if selection.level != "slides" or level is None:
        return choice
    other = max(rows, key=lambda row: row[name_on(level, selection)])
    return replace(
        choice,
        tiles=level,
        tiles_epoch=int(other["epoch"]),
        tiles_threshold=own,
        tiles_value=other[at_threshold(selection, own)],
    )


def name_on(level: str, selection: Selection) -> str:
    """Return the name of the figure of `selection` on another level."""
    return f"{level} {selection.figure} {selection.average}"


def candidates(selection: Selection, own: Post) -> list[Post]:
    """Return every threshold with every cleaning that may be chosen, the recipe's likes first.

    Of equals the first is chosen: the threshold nearest to the recipe's own, then the one that
    changes the least.
    """
    return [
        own.model_copy(
            update={"threshold": threshold, "min_area_um2": area, "fill_holes_um2": holes}
        )
        for threshold in nearest_first(selection.thresholds, own.threshold)
        for area in sorted(set(selection.min_areas_um2 or (own.min_area_um2,)))
        for holes in sorted(set(selection.fill_holes_um2 or (own.fill_holes_um2,)))
    ]


def nearest_first(thresholds: Iterable[float], own: float) -> list[float]:
    """Return thresholds by their distance from `own`, the lower of equals first.

    >>> nearest_first((0.2, 0.6, 0.5), 0.4)
    [0.5, 0.2, 0.6]
    """
    return sorted(set(thresholds), key=lambda t: (round(abs(t - own), 9), t))


def best_of(table: Iterable[tuple[Post, float]]) -> tuple[Post, float]:
    """Return the first of those with the highest figure; one that is no number never wins."""
    return max(table, key=lambda row: -math.inf if math.isnan(row[1]) else row[1])


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0
