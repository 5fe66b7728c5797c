"""The files of a sweep: study.csv, study.json, heat maps, report.html."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slidemask.base.files import write_json, write_text
from slidemask.base.record import machine, versions
from slidemask.evaluate.evaluation import none_if_nan
from slidemask.evaluate.figures import LABELS
from slidemask.evaluate.histogram import Histogram
from slidemask.recipes.study.choice import (
    METRICS,
    CellTable,
    Choice,
    Rule,
    choose,
    mean_of_classes,
    tables_of,
)
from slidemask.recipes.study.heat import draw_heat_maps, draw_learning, draw_stability
from slidemask.recipes.study.page import write_page
from slidemask.recipes.study.sweep import Tried
from slidemask.recipes.study.tables import as_csv

STABILITY, LEARNING = "stability.png", "learning.png"


def write_sweep(
    out: Path,
    done: Sequence[Tried],
    rule: Rule,
    *,
    failures: Mapping[str, str],
    about: Mapping[str, str],
) -> tuple[Path, Choice | None]:
    """Write everything of a sweep into `out`; return its report and what the rule chose.

    study.csv has a row for each cell, repeat, part and threshold.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    tables, choice = tables_of(done, rule), choose(done, rule)
    write_text(out / "study.csv", as_csv(lines_of(done, rule)))
    plain = {
        "about": dict(about),
        "rule": {**asdict(rule), "thresholds": list(rule.thresholds)},
        "cells": [_cell(table) for table in tables],
        "choice": choice and _choice(choice),
        "failures": dict(failures),
        "machine": machine(),
        "versions": versions(),
    }
    write_json(out / "study.json", plain)
    heats: list[str] = []
    if tables:
        heats = draw_heat_maps(tables, rule, out)
        draw_stability(tables, rule, out / STABILITY)
        draw_learning(tables, out / LEARNING)
    values = {
        "about": about, "tables": tables, "rule": rule, "choice": choice, "failures": failures,
        "metric": LABELS[rule.metric], "heats": heats,
        "charts": {"stability": STABILITY, "learning": LEARNING},
    }  # fmt: skip
    return write_page(out / "report.html", "sweep.html", values), choice


def lines_of(done: Sequence[Tried], rule: Rule) -> list[dict[str, Any]]:
    """Return one line for each trial, part and threshold: figures, pooled and mean of slides."""
    return [
        {
            **dict(tried.trial.cell.values),
            "repeat": tried.trial.repeat,
            "part": part,
            "threshold": threshold,
            **{f"{m}, pooled": none_if_nan(v) for m, v in _pooled(tried, part, threshold).items()},
            f"{rule.metric}, mean of slides": none_if_nan(_slides(tried, part, threshold, rule)),
            "seconds_per_slide": tried.parts[part].seconds_per_slide,
            "training_seconds": tried.training.seconds,
            "training_memory_mb": tried.training.peak_memory_mb,
            "segmenting_memory_mb": tried.parts[part].peak_memory_mb,
            "best_epoch": tried.training.best_epoch,
        }
        for tried in done
        for part in tried.parts
        for threshold in rule.thresholds
    ]


def _pooled(tried: Tried, part: str, threshold: float) -> dict[str, float]:
    confusion = tried.parts[part].pooled.confusion_at(threshold)
    return {metric: mean_of_classes(confusion, metric) for metric in METRICS}


def _slides(tried: Tried, part: str, threshold: float, rule: Rule) -> float:
    """Return the mean over slides in which the metric is defined."""
    each = [
        mean_of_classes(Histogram(counts).confusion_at(threshold), rule.metric)
        for counts in tried.parts[part].counts
    ]
    defined = [value for value in each if value == value]  # noqa: PLR0124 - NaN is not itself
    return sum(defined) / len(defined) if defined else float("nan")


def _cell(table: CellTable) -> dict[str, Any]:
    training, segmenting = table.peak_memory_mb
    return {
        "values": dict(table.cell.values),
        "repeats": [trial.trial.repeat for trial in table.trials],
        "mean": [none_if_nan(value) for value in table.mean],
        "std": [none_if_nan(value) for value in table.std],
        "max": [none_if_nan(value) for value in table.highest],
        "seconds_per_slide": table.seconds_per_slide,
        "training_seconds": none_if_nan(table.training_seconds),
        "training_memory_mb": training,
        "segmenting_memory_mb": segmenting,
    }


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "cell": dict(choice.cell.values),
        "threshold": choice.threshold,
        "mean": choice.mean,
        "std": none_if_nan(choice.std),
        "tied": list(choice.tied),
        "kept": [
            {"repeat": one.trial.repeat, "bundle": str(one.trial.row.run / "bundle")}
            for one in choice.kept
        ],
        "test": None if choice.test is None else [none_if_nan(value) for value in choice.test],
        "reason": choice.reason,
    }
