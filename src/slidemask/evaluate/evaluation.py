"""Scores of many slides in one place, and the files they are written to."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slidemask.base.errors import SettingsError
from slidemask.base.files import write_json, write_text
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.figures import PER_CLASS, Figure, figures_of, pool

COUNTS = ("tp", "fp", "fn", "tn")


@dataclass(frozen=True)
class SlideScore:
    """What was counted on one slide.

    Parameters
    ----------
    slide : str
        The slide's name.
    confusion : Confusion
        Pixels of known truth.
    patient, group : str, optional
        As in the cohort.
    picture : Path, optional
        A picture of the errors, shown in the report.
    """

    slide: str
    confusion: Confusion
    patient: str | None = None
    group: str | None = None
    picture: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on a cohort.

    Parameters
    ----------
    names : tuple of str
        Class names by index, background first.
    slides : tuple of SlideScore
    about : mapping
        What was evaluated, on what, where truth and prediction met: shown as it is.

    Raises
    ------
    SettingsError
        If two slides carry the same name: one would hide the other.
    """

    names: tuple[str, ...]
    slides: tuple[SlideScore, ...]
    about: Mapping[str, str]

    def __post_init__(self) -> None:
        slides = [score.slide for score in self.slides]
        twice = sorted({name for name in slides if slides.count(name) > 1})
        if twice:
            raise SettingsError(f"slides {twice} are scored twice; give each slide its own name")

    @property
    def pooled(self) -> Confusion:
        """Counts of all slides added up."""
        return pool((score.confusion for score in self.slides), len(self.names))

    @property
    def figures(self) -> list[Figure]:
        """Figures over all slides."""
        return figures_of({s.slide: s.confusion for s in self.slides}, self.names)

    def figures_by_group(self) -> dict[str, list[Figure]]:
        """Return the figures of each group of the cohort, by name; empty without groups."""
        groups = sorted({score.group for score in self.slides if score.group})
        return {
            group: figures_of(
                {s.slide: s.confusion for s in self.slides if s.group == group}, self.names
            )
            for group in groups
        }


def rows_of(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return one row per slide and foreground class: figures and pixel counts.

    A figure that is not defined is None.
    """
    return [
        {
            "slide": score.slide,
            "patient": score.patient,
            "group": score.group,
            "class": name,
            **_figures_at(score.confusion, index),
            **_counts_at(score.confusion, index),
        }
        for score in evaluation.slides
        for index, name in enumerate(evaluation.names)
        if index > 0
    ]


def write_tables(out: Path, evaluation: Evaluation) -> tuple[Path, Path]:
    """Write evaluation.json (figures, slides, confusion matrices) and evaluation.csv.

    Returns
    -------
    (Path, Path)
        The two files.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    as_json, as_csv = out / "evaluation.json", out / "evaluation.csv"
    rows = rows_of(evaluation)
    write_json(
        as_json,
        {
            "about": dict(evaluation.about),
            "classes": list(evaluation.names),
            "figures": figure_rows(evaluation.figures),
            "groups": {g: figure_rows(f) for g, f in evaluation.figures_by_group().items()},
            "confusion": {
                "rows": "truth",
                "columns": "prediction",
                "pooled": evaluation.pooled.counts.tolist(),
                "slides": {s.slide: s.confusion.counts.tolist() for s in evaluation.slides},
            },
            "slides": rows,
        },
    )
    write_text(as_csv, _csv(rows))
    return as_json, as_csv


def figure_rows(figures: list[Figure]) -> list[dict[str, Any]]:
    """Return figures as plain rows for JSON or CSV; what is not defined is None.

    >>> figure_rows([Figure("dice", "gland", float("nan"), "pooled", 0)])[0]["value"] is None
    True
    """
    return [{**asdict(figure), "value": none_if_nan(figure.value)} for figure in figures]


def none_if_nan(value: float) -> float | None:
    """Return None for NaN: JSON knows no NaN."""
    return None if math.isnan(value) else float(value)


def _figures_at(confusion: Confusion, index: int) -> dict[str, float | None]:
    return {name: none_if_nan(measure(confusion)[index]) for name, measure in PER_CLASS.items()}


def _counts_at(confusion: Confusion, index: int) -> dict[str, int]:
    parts = confusion.one_vs_rest()
    return {f"{name}_px": int(part[index]) for name, part in zip(COUNTS, parts, strict=True)}


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    columns = ["slide", "patient", "group", "class", *PER_CLASS, *(f"{n}_px" for n in COUNTS)]
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
