"""Which epoch, threshold and cleaning: figures for the history, and the choice among them.

Every figure's name says its level first ("tiles", "positive tiles", "whole slides"), then what it
is, then of what it is the average. All are means over the foreground classes but those that say
"any class" before what they are: there all classes are one.

Where `selection.min_recall` is given, what misses too much is never chosen, however good its
figure, as long as there is anything else.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from slidemask.evaluate.anyclass import ANY_CLASS, merged
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


def figures_of(counts: Sequence[Confusion], scope: str = "") -> dict[str, float]:
    """Return every figure in both averages, from each slide's counts.

    Those of any class stand beside the means of classes where `scope` is "any class".

    A figure that is not defined is left out of its mean: Dice of a class that is in neither truth
    nor prediction, precision of what was never predicted. Where nothing is defined the mean is 0,
    so that an empty epoch is never better than another.

    Returns
    -------
    dict
        "<figure> pooled" from the counts of all slides, "<figure> slides" as the mean of each
        slide's own figure; both by class, then as the mean of the foreground classes.
    """
    if scope == ANY_CLASS:
        whole = figures_of([merged(count) for count in counts])
        return figures_of(counts) | {f"{ANY_CLASS} {name}": whole[name] for name in whole}
    pooled = sum(counts[1:], start=counts[0])
    result: dict[str, float] = {}
    for figure in FIGURES:
        of_slides = np.array([getattr(count, figure)[1:] for count in counts])
        by_class = [_mean(values) for values in of_slides.T if not np.isnan(values).all()]
        result[f"{figure} pooled"] = _mean(getattr(pooled, figure)[1:])
        result[f"{figure} slides"] = _mean(np.array(by_class))
    return result


def column(selection: Selection) -> str:
    """Return the name of the figure that decides."""
    return name_on(level_of(selection), selection)


def level_of(selection: Selection) -> str:
    """Return the level that decides, as figures' names say it."""
    return WHOLE if selection.level == "slides" else selection.level


def rank(value: float, recall: float, selection: Selection) -> tuple[bool, float, float]:
    """Return what is compared: the figure of what finds enough, above recall of what does not.

    A value that is no number never wins.

    >>> strict = Selection(min_recall=0.9)
    >>> rank(0.5, 0.9, strict) > rank(0.8, 0.89, strict) > rank(0.9, 0.4, strict)
    True
    >>> rank(0.5, 0.9, Selection()) > rank(0.8, 0.89, Selection())
    False
    """
    value, recall = (-math.inf if math.isnan(one) else one for one in (value, recall))
    if selection.min_recall is None:
        return True, value, 0.0
    if recall >= selection.min_recall:
        return True, value, recall
    return False, recall, value


def rank_of(row: Row, selection: Selection, level: str | None = None) -> tuple[bool, float, float]:
    """Return what is compared of an epoch: at the level that decides, unless said otherwise."""
    level = level or level_of(selection)
    recall = row.get(f"{level} {_name('recall', selection)}", math.nan)
    return rank(row.get(name_on(level, selection), math.nan), recall, selection)


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
        "whole slides ..." figures, THRESHOLD, LEFT_OUT, and the figures that decide at each
        threshold, the recipe's own included.
    """
    at: dict[float, list[Confusion]] = {
        threshold: [histogram.confusion_at(threshold) for histogram in histograms]
        for threshold in sorted({*selection.thresholds, own})
    }
    figures = {threshold: figures_of(counts, selection.scope) for threshold, counts in at.items()}
    ways = nearest_first(selection.thresholds, own)
    best = ways[best_of([figures[threshold] for threshold in ways], selection)]
    left_out = sum(_is_undefined(count, selection) for count in at[best])
    return {
        **{f"{WHOLE} {name}": value for name, value in figures[best].items()},
        THRESHOLD: best,
        LEFT_OUT: left_out,
        **{
            f"{WHOLE} {name} at {threshold:g}": figures[threshold][name]
            for name in deciding(selection)
            for threshold in figures
        },
    }


def deciding(selection: Selection) -> tuple[str, ...]:
    """Return the names, without their level, of the figures that decide.

    >>> deciding(Selection(figure="iou")), deciding(Selection(figure="iou", min_recall=0.9))
    (('iou slides',), ('iou slides', 'recall slides'))
    """
    recall = () if selection.min_recall is None else (_name("recall", selection),)
    return (_name(selection.figure, selection), *recall)


def at_threshold(selection: Selection, threshold: float) -> str:
    """Return the name of the figure that is compared, at one threshold."""
    return f"{name_on(WHOLE, selection)} at {threshold:g}"


def figures_at(row: Row, selection: Selection, threshold: float) -> dict[str, float]:
    """Return the figures that decide, of whole slides at one threshold, without their level."""
    names = deciding(selection)
    return {name: row[f"{WHOLE} {name} at {threshold:g}"] for name in names}


@dataclass(frozen=True)
class Choice:
    """What was chosen, and what the other way would have been.

    Parameters
    ----------
    level, figure, average : str
        By which the epoch was chosen; the figure as "any class iou" where all classes are one.
    epoch : int
    value : float
        The figure there, before cleaning.
    threshold : float
    recall, min_recall : float, optional
        Recall there, and what was asked for, where it was.
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
    recall: float | None = None
    min_recall: float | None = None
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
        if self.min_recall is not None and self.recall is not None:
            text = f"{text} {_on_recall(self.recall, self.min_recall)}"
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
    best = max(rows, key=lambda row: rank_of(row, selection))  # the first of equals
    asked = selection.min_recall
    choice = Choice(
        level_of(selection),
        _scoped(selection.figure, selection),
        selection.average,
        int(best["epoch"]),
        best[name],
        best.get(THRESHOLD, own),
        None if asked is None else best[f"{level_of(selection)} {_name('recall', selection)}"],
        asked,
    )
    level = next((level for level in (POSITIVES, TILES) if name_on(level, selection) in best), None)
    if selection.level != "slides" or level is None:
        return choice
    other = max(rows, key=lambda row: rank_of(row, selection, level))
    return replace(
        choice,
        tiles=level,
        tiles_epoch=int(other["epoch"]),
        tiles_threshold=own,
        tiles_value=other[at_threshold(selection, own)],
    )


def name_on(level: str, selection: Selection) -> str:
    """Return the name of the figure of `selection` on another level."""
    return f"{level} {_name(selection.figure, selection)}"


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


def best_of(ways: Sequence[Row], selection: Selection) -> int:
    """Return the place of the first of the best ways.

    Parameters
    ----------
    ways : sequence of mapping
        The figures of each, as `figures_of` names them.
    selection : Selection
        How they are compared.
    """
    figure, recall = (_name(what, selection) for what in (selection.figure, "recall"))
    ranks = [rank(way[figure], way.get(recall, math.nan), selection) for way in ways]
    return ranks.index(max(ranks))


def _name(figure: str, selection: Selection) -> str:
    """Return the name of a figure in the scope and the average that decide, without its level."""
    return f"{_scoped(figure, selection)} {selection.average}"


def _scoped(figure: str, selection: Selection) -> str:
    return f"{ANY_CLASS} {figure}" if selection.scope == ANY_CLASS else figure


def _is_undefined(count: Confusion, selection: Selection) -> bool:
    """Whether a slide has no figure of its own."""
    count = merged(count) if selection.scope == ANY_CLASS else count
    return bool(np.isnan(getattr(count, selection.figure)[1:]).all())


def _on_recall(recall: float, asked: float) -> str:
    if recall >= asked:
        return f"Its recall is {recall:.4f}, and at least {asked:g} was asked for."
    return f"None reaches the recall of {asked:g} asked for, so the highest, {recall:.4f}, decides."


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0
