"""The charts of a sweep: heat maps over thresholds, and how stable the trainings are."""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from slidemask.evaluate.figures import LABELS
from slidemask.recipes.study.charts import INK, SOFT, TONES, new_figure, plain, save
from slidemask.recipes.study.choice import CellTable, Rule
from slidemask.recipes.study.sweep import Tried

STATISTICS: Final = ("mean", "std", "highest")


def draw_heat_maps(tables: Sequence[CellTable], rule: Rule, out: Path) -> list[str]:
    """Draw the first key's values against thresholds, one picture for each rest of the keys.

    Each has three panels: mean, standard deviation and maximum over repeats.

    Returns
    -------
    list of str
        Names of the PNG files in `out`.
    """
    names = []
    for number, (rest, some) in enumerate(_by_rest(tables), start=1):
        name = f"heat_{number}.png"
        _draw_heat(some, rule, rest, out / name)
        names.append(name)
    for stale in out.glob("heat_*.png"):
        if stale.name not in names:
            stale.unlink()
    return names


def draw_stability(tables: Sequence[CellTable], rule: Rule, path: Path) -> None:
    """Draw each repeat of each cell at the cell's best threshold, and its curve over thresholds."""
    figure = new_figure(9.6, max(3.2, 0.42 * len(tables) + 2.0))
    left, right = figure.subplots(1, 2)
    for number, table in enumerate(tables):
        tone = TONES[number % len(TONES)]
        if table.best is not None:
            values = table.values[:, table.best]
            left.plot(values, np.full(len(values), number), "o", color=tone, alpha=0.6, ms=6)
            left.plot([table.mean[table.best]], [number], "|", color=tone, ms=18, mew=2)
        right.plot(rule.thresholds, table.mean, color=tone, lw=1.6)
        if len(table.trials) > 1:
            low, high = table.mean - table.std, table.mean + table.std
            right.fill_between(rule.thresholds, low, high, color=tone, alpha=0.15, lw=0)
    plain(left)
    plain(right)
    left.set_yticks(range(len(tables)), [table.cell.label for table in tables], color=INK)
    left.set_ylim(len(tables) - 0.5, -0.5)
    left.set_xlabel(f"{LABELS[rule.metric]}: each repeat, and their mean", color=SOFT)
    right.set_xlabel("threshold", color=SOFT)
    right.set_ylabel(f"{LABELS[rule.metric]}, mean ± standard deviation", color=SOFT)
    save(figure, path)


def draw_learning(tables: Sequence[CellTable], path: Path) -> None:
    """Draw the training loss of each cell's repeats over the epochs, mean and spread.

    No picture where no run has left a history.
    """
    figure = new_figure(7.4, 3.6)
    axis = figure.subplots()
    plain(axis)
    for number, table in enumerate(tables):
        losses = [loss for trial in table.trials if (loss := _losses(trial))]
        if not losses:
            continue
        shortest = min(map(len, losses))  # an early stop ends some before the others
        stacked = np.array([loss[:shortest] for loss in losses])
        epochs, tone = np.arange(1, shortest + 1), TONES[number % len(TONES)]
        mean, spread = stacked.mean(axis=0), stacked.std(axis=0)
        marker = "o" if shortest == 1 else ""
        axis.plot(epochs, mean, color=tone, lw=1.6, marker=marker, label=table.cell.label)
        axis.fill_between(epochs, mean - spread, mean + spread, color=tone, alpha=0.15, lw=0)
    axis.set_xlabel("epoch", color=SOFT)
    axis.set_ylabel("training loss, mean ± standard deviation", color=SOFT)
    if axis.lines:
        axis.legend(frameon=False, labelcolor=INK, fontsize=8.5)
        save(figure, path)


def _by_rest(tables: Sequence[CellTable]) -> Iterator[tuple[str, list[CellTable]]]:
    """Group cells by the values of all keys but the first."""
    groups: dict[str, list[CellTable]] = {}
    for table in tables:
        rest = ", ".join(f"{key}={value}" for key, value in table.cell.values[1:])
        groups.setdefault(rest, []).append(table)
    yield from groups.items()


def _draw_heat(tables: Sequence[CellTable], rule: Rule, rest: str, path: Path) -> None:
    labels = [table.cell.values[0][1] for table in tables]
    width = 0.55 * len(rule.thresholds) + 1.1
    repeats = max(len(table.trials) for table in tables)
    shown = STATISTICS if repeats > 1 else STATISTICS[:1]  # one repeat has no spread
    figure = new_figure(max(5.0, len(shown) * width), max(2.4, 0.5 * len(tables) + 1.6))
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for axis, statistic in zip(axes, shown, strict=True):
        grid = np.array([getattr(table, statistic) for table in tables])
        draw_grid(axis, grid, light=statistic == "std")
        axis.set_title({"highest": "max"}.get(statistic, statistic), fontsize=10, color=INK)
        axis.set_xticks(range(len(rule.thresholds)), [f"{t:g}" for t in rule.thresholds])
        axis.set_yticks(range(len(labels)), labels)
        axis.set_xlabel("threshold", color=SOFT)
        axis.set_ylabel(tables[0].cell.values[0][0], color=SOFT)
    times = "repeat" if repeats == 1 else "repeats"
    about = f"{LABELS[rule.metric]} on the validation slides, pooled; {repeats} {times}"
    figure.suptitle(f"{about}; {rest}" if rest else about, fontsize=10, color=SOFT)
    save(figure, path)


def draw_grid(
    axis: Axes,
    grid: NDArray[np.float64],
    *,
    light: bool = False,
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw a grid of numbers in colours that leave them readable; `limits` of the scale."""
    defined = grid[~np.isnan(grid)]
    own = (float(defined.min()), float(defined.max())) if defined.size else (0.0, 1.0)
    low, high = limits or own
    axis.imshow(grid, cmap="Oranges" if light else "YlGnBu", vmin=low, vmax=high, aspect="auto")
    middle = low + 0.6 * (high - low)
    for (row, column), value in np.ndenumerate(grid):
        if not math.isnan(value):
            colour = "white" if value > middle else INK
            text = f"{value:.3f}".removeprefix("0")
            axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    axis.tick_params(colors=SOFT, length=0, labelsize=8)
    axis.spines[:].set_visible(False)


def _losses(tried: Tried) -> list[float]:
    """Return a run's training loss of each epoch."""
    history = tried.trial.row.run / "history.csv"
    if not history.exists():
        return []
    with history.open(newline="", encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row.get("loss")]
