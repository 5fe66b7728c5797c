"""The report of an evaluation: what was scored, how well, how sure that is, and where it failed."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mode
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from slidemask.base.files import write_text
from slidemask.evaluate.charts import shares_of_rows, swarm
from slidemask.evaluate.compare import Difference
from slidemask.evaluate.embed import embedded
from slidemask.evaluate.evaluation import Evaluation, SlideScore
from slidemask.evaluate.figures import (
    ALL_TILES,
    LABELS,
    MEAN_OF_CLASSES,
    MEAN_OF_SLIDES,
    OBJECT,
    PER_CLASS,
    SLIDE,
    TILES_WITH_OBJECT,
    TOTAL,
    Figure,
    find,
    written,
)
from slidemask.evaluate.headline import headline
from slidemask.evaluate.histogram import Histogram
from slidemask.evaluate.page import render
from slidemask.evaluate.plots import history_charts
from slidemask.evaluate.probabilities import ProbabilityView, view_probabilities
from slidemask.evaluate.sizes import ObjectSizes, recall_by_size
from slidemask.evaluate.wording import MISSING

LEVELS: Final = {
    SLIDE: "Every pixel of known truth on the whole slides.",
    TILES_WITH_OBJECT: (
        "Only tiles that hold the object, as many papers score. What was found elsewhere by "
        "mistake is not in it, so it flatters: compare with the slide level before you believe it."
    ),
    ALL_TILES: "Every tile in which something is known.",
    OBJECT: "Outlines, not pixels: how many objects were found, missed and made up.",
}
CASES: Final = 3
"""How many of the best, the median and the worst are shown."""

MINUS: Final = "\N{MINUS SIGN}"

_LONGEST_PX = 1800


@dataclass(frozen=True)
class Surroundings:
    """What the report shows beside the scores; all of it may be missing.

    Parameters
    ----------
    threshold : float, optional
        By which the masks were made, marked in the curves.
    sizes : mapping of class name to ObjectSizes
        The annotated objects of all slides.
    history : sequence of mapping
        A row for each epoch of the training that made the model.
    differences : sequence of Difference
        Against another evaluation.
    other : str
        What that was.
    """

    threshold: float | None = None
    sizes: Mapping[str, ObjectSizes] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    differences: Sequence[Difference] = ()
    other: str = ""


def write_evaluation_report(
    out: Path, evaluation: Evaluation, around: Surroundings | None = None
) -> Path:
    """Write OUT/report.html.

    Parameters
    ----------
    out : Path
        Folder. Pictures of slides that lie in it are linked; the best, median and worst are shown.
    evaluation : Evaluation
    around : Surroundings, optional

    Returns
    -------
    Path
        The report.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    around = around or Surroundings()
    slides = sorted(evaluation.slides, key=_worst_first)
    figures, pooled = evaluation.figures, evaluation.pooled.counts.tolist()
    text = render(
        "evaluation.html",
        about=evaluation.about,
        intervals=len(evaluation.patients),
        resampled=evaluation.resampled,
        names=evaluation.names,
        labels={name: LABELS.get(name, name) for name in PER_CLASS},
        with_unit=with_unit,
        headline=headline(figures),
        levels=_levels(figures),
        groups={g: headline(f) for g, f in evaluation.figures_by_group().items()},
        differences=[_difference_view(d) for d in headline(around.differences)],
        strips=_strips(slides, evaluation.names, figures),
        matrix=pooled,
        shares=shares_of_rows(pooled),
        slides=[_score_view(score, evaluation.names, out) for score in slides],
        cases=_cases(slides),
        probabilities=_probabilities(slides, evaluation.names, around.threshold),
        sizes={name: recall_by_size(sizes) for name, sizes in around.sizes.items() if len(sizes)},
        history=history_charts(around.history),
        around=around,
    )
    write_text(out / "report.html", text)
    return out / "report.html"


@dataclass(frozen=True)
class FigureTable:
    """Figures by (class, name) down and average across.

    Parameters
    ----------
    averages : mapping of str to int
        Each average, and of how many slides (patients, tiles) most of its figures are.
    rows : list of (class, label, figure by average)
    """

    averages: dict[str, int]
    rows: list[tuple[str, str, dict[str, Figure]]]


def figure_tables(figures: Iterable[Figure]) -> list[FigureTable]:
    """Put figures of one level into tables: shares and distances, then numbers and areas.

    The mean of classes stands below the classes, in the column of what it is a mean of.
    """
    tables: dict[bool, dict[tuple[str, str], dict[str, Figure]]] = {False: {}, True: {}}
    every = list(figures)
    amounts = {figure.name for figure in every if figure.average == TOTAL}
    for figure in every:
        rows = tables[figure.name in amounts]
        place = figure.average.removeprefix(f"{MEAN_OF_CLASSES} (").removesuffix(")")
        key = figure.class_name, with_unit(figure.name, figure.unit)
        rows.setdefault(key, {})[place] = figure
    return [
        FigureTable(_most(rows.values()), [(*key, row) for key, row in rows.items()])
        for rows in tables.values()
        if rows
    ]


def with_unit(name: str, unit: str) -> str:
    """Return a figure's name as tables write it.

    >>> with_unit("object hausdorff", "µm"), with_unit("mm2 in truth", "mm²")
    ('object Hausdorff, µm', 'mm² in truth')
    """
    label = LABELS.get(name, name)
    return label if not unit or unit in label else f"{label}, {unit}"


def _most(rows: Iterable[Mapping[str, Figure]]) -> dict[str, int]:
    """Return the averages and the number that most figures under each are of."""
    numbers: dict[str, list[int]] = {}
    for row in rows:
        for average, figure in row.items():
            numbers.setdefault(average, []).append(figure.n)
    return {average: mode(some) for average, some in numbers.items()}


def _levels(figures: Sequence[Figure]) -> dict[str, tuple[str, list[FigureTable]]]:
    """Return what each level is, and its tables."""
    return {
        level: (meaning, figure_tables(some))
        for level, meaning in LEVELS.items()
        if (some := [figure for figure in figures if figure.level == level])
    }


def _difference_view(difference: Difference) -> dict[str, Any]:
    """Return what the page shows of one difference, already written."""
    d = difference
    known = not math.isnan(d.low)
    return {
        "class_name": d.class_name,
        "label": with_unit(d.name, d.unit),
        "level": d.level,
        "average": d.average,
        "one": written(d.one, d.name, d.unit),
        "other": written(d.other, d.name, d.unit),
        "value": _signed(d, d.value),
        "interval": f"{_signed(d, d.low)} to {_signed(d, d.high)}" if known else MISSING,
        "better": d.better,
        "p": d.p,
    }


def _signed(difference: Difference, value: float) -> str:
    text = written(abs(value), difference.name, difference.unit)
    return text if math.isnan(value) else f"{MINUS if value < 0 else '+'}{text}"


def _strips(
    slides: Sequence[SlideScore], names: Sequence[str], figures: Sequence[Figure]
) -> list[tuple[Any, Figure]]:
    return [
        (
            swarm([(s.slide, float(s.confusion.dice[index])) for s in slides]),
            find(figures, "dice", MEAN_OF_SLIDES, name),
        )
        for index, name in enumerate(names)
        if index > 0
    ]


def _score_view(score: SlideScore, names: Sequence[str], out: Path) -> dict[str, Any]:
    """Return one slide's figures per foreground class."""
    figures = {name: measure(score.confusion) for name, measure in PER_CLASS.items()}
    return {
        "score": score,
        "pixels": score.confusion.total,
        "link": _link(score.picture, out),
        "classes": {
            class_name: {name: float(values[index]) for name, values in figures.items()}
            for index, class_name in enumerate(names)
            if index > 0
        },
    }


def _link(picture: Path | None, out: Path) -> str | None:
    """Return the picture's address from the report, where it lies below it."""
    if picture is None or not picture.is_relative_to(out) or not picture.is_file():
        return None
    return quote(os.fsencode(picture.relative_to(out).as_posix()))


def _cases(slides: Sequence[SlideScore]) -> dict[str, list[tuple[SlideScore, float, str]]]:
    """Return (score, mean Dice, data URL) of the best, median and worst slides with a Dice.

    `slides` come worst first. No slide is shown twice: of few slides fewer are shown.
    """
    known = [s for s in slides if not math.isnan(_mean_dice(s)) and s.picture is not None]
    each = min(CASES, len(known) // 3)
    middle = (len(known) - each) // 2
    parts = {
        "Best": known[len(known) - each :][::-1],
        "Median": known[middle : middle + each],
        "Worst": known[:each],
    }
    if not each:
        parts = {"All": known}
    shown = {
        title: [
            (score, _mean_dice(score), url)
            for score in some
            if score.picture is not None and (url := embedded(score.picture, _LONGEST_PX))
        ]
        for title, some in parts.items()
    }
    return {title: some for title, some in shown.items() if some}


def _probabilities(
    slides: Sequence[SlideScore], names: tuple[str, ...], threshold: float | None
) -> ProbabilityView | None:
    """Pool the histograms there are; None where there is none."""
    found = [score.histogram for score in slides if score.histogram is not None]
    if not found:
        return None
    pooled = sum(found, start=Histogram.zero(len(names)))
    return view_probabilities(pooled, names, len(found), threshold)


def _worst_first(score: SlideScore) -> tuple[bool, float, str]:
    """Order by Dice, slides without any at the end."""
    dice = _mean_dice(score)
    return math.isnan(dice), 0.0 if math.isnan(dice) else dice, score.slide


def _mean_dice(score: SlideScore) -> float:
    """Mean over the foreground classes that are there; NaN if none is."""
    dice = score.confusion.dice[1:]
    defined = dice[~np.isnan(dice)]
    return float(defined.mean()) if defined.size else float("nan")
