"""The charts of a study, as PNG: house colours, nothing global."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from slidemask.base.files import written_whole
from slidemask.recipes.study.verdict import PATHOLOGIST_S

INK, SOFT, LINE = "#23272e", "#68707b", "#e4e6ea"
TONES: Final = ("#17778a", "#d9822b", "#7a5ea8", "#4b9b57", "#c1464f", "#5b6b7f", "#b59a2a")


class Point(NamedTuple):
    """A value with its 95 % interval, NaN where there is none."""

    label: str
    value: float
    low: float
    high: float


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of our own (no pyplot: nothing global is left behind)."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", dpi=140)


def plain(axis: Axes) -> None:
    """Give an axis the house's look: a grid, no frame."""
    axis.grid(color=LINE, lw=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", colors=SOFT, length=0)
    axis.spines[:].set_visible(False)


def draw_quality_and_time(
    points: Sequence[tuple[float, Point]], path: Path, *, quality: str, chosen: str | None = None
) -> None:
    """Draw quality against seconds a slide, with the pathologist's time as a band.

    Parameters
    ----------
    points : sequence of (seconds, Point)
    path : Path
        A .png file.
    quality : str
        What the vertical axis shows.
    chosen : str, optional
        Label of the recommended row, which is marked.
    """
    figure = new_figure(7.4, 4.2)
    axis = figure.subplots()
    plain(axis)
    axis.set_xscale("log")
    axis.axvspan(*PATHOLOGIST_S, color="#f3ead9", lw=0)
    for number, (seconds, point) in enumerate(points):
        tone = TONES[number % len(TONES)]
        _mark(axis, seconds, point, tone)
        name = f"{point.label}  ✓" if point.label == chosen else point.label
        axis.annotate(
            name, (seconds, point.value), xytext=(8, -14 if number % 2 else 5),
            textcoords="offset points",
            fontsize=9.5, color=tone, weight="bold" if point.label == chosen else "normal",
        )  # fmt: skip
    times = [seconds for seconds, _ in points]
    axis.set_xlim(min(times, default=1) / 2, max([*times, PATHOLOGIST_S[1]]) * 2)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_xlabel("seconds a slide", color=SOFT)
    axis.set_ylabel(quality, color=SOFT)
    axis.annotate(
        "a pathologist,\n5 to 10 min", (np.sqrt(np.prod(PATHOLOGIST_S)), 0.02),
        xycoords=("data", "axes fraction"), ha="center", fontsize=8.5, color=SOFT,
    )  # fmt: skip
    save(figure, path)


def draw_levels(lines: Mapping[str, Sequence[Point]], path: Path, *, quality: str) -> None:
    """Draw one figure of every row at each level: what tiles say, and what slides say.

    Parameters
    ----------
    lines : mapping of level to points
        The same labels in each.
    path : Path
        A .png file.
    quality : str
        What the vertical axis shows.
    """
    labels = [point.label for point in next(iter(lines.values()), [])]
    figure = new_figure(max(5.4, 1.3 * len(labels) + 3.2), 4.0)
    axis = figure.subplots()
    plain(axis)
    for number, (level, points) in enumerate(lines.items()):
        tone, shift = TONES[number % len(TONES)], 0.05 * (number - (len(lines) - 1) / 2)
        places = np.arange(len(points)) + shift
        axis.plot([], [], "o", color=tone, label=level)  # rows are no scale: nothing joins them
        for place, point in zip(places, points, strict=True):
            _mark(axis, float(place), point, tone)
    axis.set_xticks(range(len(labels)), labels)
    axis.set_ylabel(quality, color=SOFT)
    axis.legend(frameon=False, labelcolor=INK, fontsize=9)
    save(figure, path)


def _mark(axis: Axes, x: float, point: Point, tone: str) -> None:
    """Draw a point and, where it is known, its interval."""
    if np.isfinite([point.low, point.high]).all():
        axis.plot([x, x], [point.low, point.high], color=tone, lw=1.4, alpha=0.6)
    axis.plot([x], [point.value], "o", ms=7, color=tone)
