"""The files of a study of folds: study.csv, study.json, chart, report.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from slidemask.base.files import write_json, write_text
from slidemask.base.record import machine, versions
from slidemask.evaluate.evaluation import none_if_nan
from slidemask.evaluate.figures import LABELS
from slidemask.evaluate.wording import figure
from slidemask.recipes.study.charts import INK, SOFT, TONES, new_figure, plain, save
from slidemask.recipes.study.crossfold import PARTS, POOLED_MODELS, FoldDone
from slidemask.recipes.study.foldfigures import (
    COLUMNS,
    MEAN,
    SPREAD,
    Table,
    lines_of,
    tables_of,
)
from slidemask.recipes.study.page import write_page
from slidemask.recipes.study.tables import as_csv

CHART: Final = "folds.png"


def write_folds(
    out: Path, done: Sequence[FoldDone], failures: Mapping[str, str], about: Mapping[str, str]
) -> Path:
    """Write everything of a study of folds into `out`; return its report.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    tables = tables_of(done)
    write_text(out / "study.csv", as_csv(lines_of(done)))
    plain_study = {
        "about": dict(about),
        "tables": [_plain(table) for table in tables],
        "folds": [_fold(one) for one in done],
        "failures": dict(failures),
        "machine": machine(),
        "versions": versions(),
    }
    write_json(out / "study.json", plain_study)
    if tables:
        draw_folds(tables[0], out / CHART)
    values = {
        "about": about,
        "tables": tables,
        "done": done,
        "failures": failures,
        "parts": _parts(done),
        "columns": COLUMNS,
        "labels": [LABELS.get(name, name) for name in COLUMNS],
        "summed": (MEAN, SPREAD, POOLED_MODELS),
        "chart": CHART,
    }
    return write_page(out / "report.html", "folds.html", values)


def in_words(done: Sequence[FoldDone]) -> list[str]:
    """Return the first table's mean, spread and pooled line, as the command says them."""
    tables = tables_of(done)
    if not tables:
        return []
    table = tables[0]
    by_label = {line.label: line.values for line in table.lines}
    said = []
    for part, means in by_label[MEAN].items():
        spread = by_label[SPREAD][part]
        figures = ", ".join(f"{LABELS.get(n, n)} {_pair(means[n], spread[n])}" for n in COLUMNS)
        said.append(f"{part}: {figures} ({table.scope}, {table.average})")
    for part, values in by_label.get(POOLED_MODELS, {}).items():
        figures = ", ".join(f"{LABELS.get(n, n)} {figure(values[n])}" for n in COLUMNS)
        said.append(f"{part}, {POOLED_MODELS}: {figures}")
    return said


def draw_folds(table: Table, path: Path) -> None:
    """Draw every fold's figures, part beside part, with their means."""
    parts = [part for part in PARTS if any(part in line.values for line in table.lines)]
    picture = new_figure(7.4, 3.8)
    axis = picture.subplots()
    plain(axis)
    for number, part in enumerate(parts):
        shift, tone = 0.2 * (number - (len(parts) - 1) / 2), TONES[number]
        for place, name in enumerate(COLUMNS):
            for line in (line for line in table.lines if part in line.values):
                value, x = line.values[part][name], place + shift
                if line.label == MEAN:
                    axis.plot([x - 0.08, x + 0.08], [value, value], color=tone, lw=2.2)
                elif line.label == POOLED_MODELS:
                    axis.plot([x + 0.1], [value], "D", color=INK, ms=6)
                elif line.label != SPREAD:
                    axis.plot([x], [value], "o", color=tone, ms=6, alpha=0.65)
        axis.plot([], [], "o", color=tone, label=part)
    if any(line.label == POOLED_MODELS for line in table.lines):
        axis.plot([], [], "D", color=INK, label=f"test, {POOLED_MODELS}")
    axis.set_xticks(range(len(COLUMNS)), [LABELS.get(name, name) for name in COLUMNS])
    axis.set_ylim(-0.02, 1.02)
    axis.set_ylabel(f"{table.scope}, {table.average}", color=SOFT)
    axis.legend(frameon=False, labelcolor=INK, fontsize=9)
    save(picture, path)


def _pair(mean: float, spread: float) -> str:
    return f"{figure(mean)} ± {figure(spread)}"


def _parts(done: Sequence[FoldDone]) -> list[str]:
    return [part for part in PARTS if any(part in one.parts for one in done)]


def _plain(table: Table) -> dict[str, Any]:
    return {
        "of": table.scope,
        "average": table.average,
        "rows": [
            {
                "row": line.label,
                **{
                    part: {name: none_if_nan(value) for name, value in values.items()}
                    for part, values in line.values.items()
                },
            }
            for line in table.lines
        ],
    }


def _fold(one: FoldDone) -> dict[str, Any]:
    """Return a fold's slides: who was in which part, and each slide's name."""
    return {
        "row": one.label,
        **{
            part: {
                "slides": [score.slide for score in found.evaluation.slides],
                "patients": sorted({score.patient or "" for score in found.evaluation.slides}),
                "right": found.labels.right,
                "wrong": found.labels.wrong,
                "empty": found.labels.empty,
            }
            for part, found in one.parts.items()
        },
    }
