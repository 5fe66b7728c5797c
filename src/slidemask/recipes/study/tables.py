"""The tables of a comparison: flat rows for CSV and JSON, nested ones for the page."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from slidemask.evaluate.evaluation import none_if_nan
from slidemask.evaluate.figures import (
    MEAN_OF_SLIDES,
    MEAN_OF_TILES,
    POOLED,
    SLIDE,
    TILES_WITH_OBJECT,
    Figure,
)
from slidemask.evaluate.slidelabels import SlideLabels
from slidemask.recipes.study.charts import Point
from slidemask.recipes.study.row import Measured
from slidemask.recipes.study.scores import COLUMNS, figure_of

AVERAGES: Final = {
    TILES_WITH_OBJECT: (POOLED, MEAN_OF_TILES),
    SLIDE: (POOLED, MEAN_OF_SLIDES),
}
"""Averages at each level: each is named wherever its figures stand."""


def flat(measured: Measured, decides: str = "mcc") -> dict[str, Any]:
    """Return one line of study.csv: what a row is, what it took, how good it is.

    Figures are called "<level>, <average>, <figure>"; pooled ones have their 95 % interval beside
    them; `decides` orders them. What is not known is None.
    """
    row, tiling = measured.row, measured.row.recipe.tiling
    resolution = tiling.resolution
    line: dict[str, Any] = {
        "row": row.label,
        "recipe": row.recipe.name,
        type(resolution).__name__.lower(): next(iter(vars(resolution).values())),
        "context": tiling.context,
        "tile_px": tiling.tile_px,
        **{f"training {key}": value for key, value in asdict(measured.training).items()},
        **{f"segmenting {key}": value for key, value in asdict(measured.segmenting).items()},
        "segmenting slides_per_minute": measured.segmenting.slides_per_minute,
        **labels_told(measured.labels),
    }
    for level, averages in AVERAGES.items():
        for average in averages:
            for name in COLUMNS[decides]:
                line |= _cells(measured, level, average, name)
    return line


def figure_table(
    rows: Sequence[Measured], decides: str = "mcc"
) -> list[tuple[str, str, str, list[Figure | None]]]:
    """Return (row, level, average, figures in the paper's columns)."""
    return [
        (
            measured.row.label,
            level,
            average,
            [figure_of(measured.evaluation, name, level, average) for name in COLUMNS[decides]],
        )
        for level, averages in AVERAGES.items()
        for average in averages
        for measured in rows
    ]


def points_of(rows: Sequence[Measured], name: str, level: str) -> list[Point]:
    """Return a pooled figure of every row with its interval, for charts."""
    points: list[Point] = []
    for measured in rows:
        figure = figure_of(measured.evaluation, name, level, POOLED)
        values = (figure.value, figure.low, figure.high) if figure else (math.nan,) * 3
        points.append(Point(measured.row.label, *values))
    return points


def as_csv(lines: Iterable[Mapping[str, Any]]) -> str:
    """Return lines as CSV; the columns are those of all lines, in their order."""
    lines = list(lines)
    columns = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    return text.getvalue()


def labels_told(labels: SlideLabels | None) -> dict[str, Any]:
    """Return the slides' labels as columns of a table; none where none was counted."""
    if labels is None:
        return {}
    return {
        "slide label accuracy": none_if_nan(labels.accuracy),
        "slides labelled right": labels.right,
        "slides labelled wrong": labels.wrong,
        "slides left empty": labels.empty,
    }


def _cells(measured: Measured, level: str, average: str, name: str) -> dict[str, float | None]:
    figure = figure_of(measured.evaluation, name, level, average)
    key = f"{level}, {average}, {name}"
    cells = {key: none_if_nan(figure.value) if figure else None}
    if average == POOLED:
        cells[f"{key} low"] = none_if_nan(figure.low) if figure else None
        cells[f"{key} high"] = none_if_nan(figure.high) if figure else None
    return cells
