"""The files of a study of a cascade: study.csv, study.json, chart, report.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from slidemask.base.files import write_json, write_text
from slidemask.base.record import machine, versions
from slidemask.evaluate.evaluation import none_if_nan
from slidemask.evaluate.figures import MEAN_OF_SLIDES, OBJECT, POOLED, SLIDE
from slidemask.evaluate.wording import figure, percent
from slidemask.recipes.cascade import Survey
from slidemask.recipes.study.cascade import CascadeRow
from slidemask.recipes.study.charts import INK, SOFT, TONES, new_figure, plain, save
from slidemask.recipes.study.page import write_page
from slidemask.recipes.study.scores import figure_of
from slidemask.recipes.study.tables import as_csv

CHART: Final = "cascade.png"
SCORES: Final = {
    "dice": ("dice", SLIDE, POOLED),
    "dice, mean of slides": ("dice", SLIDE, MEAN_OF_SLIDES),
    "recall": ("recall", SLIDE, POOLED),
    "precision": ("precision", SLIDE, POOLED),
    "object recall": ("object recall", OBJECT, POOLED),
}
"""Of the masks against the annotations, by what the files call them."""


def write_cascade(out: Path, rows: Sequence[CascadeRow], about: Mapping[str, str]) -> Path:
    """Write everything of a study of a cascade into `out`; return its report.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    lines = [line_of(row) for row in rows]
    write_text(out / "study.csv", as_csv(lines))
    told = {"about": dict(about), "rows": lines, "machine": machine(), "versions": versions()}
    write_json(out / "study.json", told)
    if rows:
        draw_cascade(rows, out / CHART)
    values = {"about": about, "rows": rows, "lines": lines, "chart": CHART}
    return write_page(out / "report.html", "cascade.html", values)


def line_of(row: CascadeRow) -> dict[str, Any]:
    """Return one line of study.csv; what is not known is None."""
    everywhere = row.asked is None
    validation = row.validation
    settled = row.settled
    left, total, _ = row.test.kept(row.threshold, row.confidence)
    found = {name: figure_of(row.evaluation, *asked) for name, asked in SCORES.items()}
    return {
        "row": row.label,
        "recall asked": row.asked,
        "threshold": row.threshold,
        "validation recall": none_if_nan(validation.recall(row.threshold)),
        "validation tiles": validation.left(row.threshold) / max(1, int(validation.tiles.sum())),
        "validation objects": settled and settled.objects,
        "validation objects left": settled and settled.found,
        "recall promised": (settled and row.confidence and round(settled.promised, 4)) or None,
        "note": (settled and settled.short) or "",
        "test objects": total,
        "test objects left": left,
        "test recall": none_if_nan(row.test.recall(row.threshold)),
        "lowest test recall": none_if_nan(row.lowest),
        "fine tiles with tissue": int(row.test.tiles.sum()),
        "fine tiles": row.test.left(row.threshold),
        "coarse tiles": 0 if everywhere else row.test.coarse,
        "share of fine tiles": row.tiles_share,
        "share of operations": row.operations_share,
        **{name: none_if_nan(one.value) if one else None for name, one in found.items()},
        "dice with everywhere": none_if_nan(row.agreement),
        "network seconds": round(row.network_seconds, 3),
        "seconds": round(row.seconds, 3),
    }


def in_words(rows: Sequence[CascadeRow]) -> list[str]:
    """Return a line for each row, as the command says them."""
    said = []
    for line in map(line_of, rows):
        of_all = f"{percent(line['share of fine tiles'])} of the tiles"
        cost = f"{percent(line['share of operations'])} of the operations"
        kept = f"{figure(line['test recall'])} of the object in them"
        said.append(f"{line['row']}: Dice {figure(line['dice'])}; {of_all}, {cost}; {kept}")
        said.extend([f"  {line['note']}"] if line["note"] else [])
    return said


def draw_cascade(rows: Sequence[CascadeRow], path: Path) -> None:
    """Draw what share of the object each share of the tiles keeps, on both parts."""
    chart = new_figure(6.4, 4.2)
    axis = chart.subplots()
    plain(axis)
    parts = {"validation": rows[0].validation, "test": rows[0].test}
    for tone, (part, survey) in zip(TONES, parts.items(), strict=False):
        shares, recalls = _curve(survey)
        axis.plot(100 * shares, 100 * recalls, color=tone, label=part)
    for row in rows[1:]:
        kept = 100 * row.test.recall(row.threshold)
        axis.plot([100 * row.tiles_share], [kept], "o", color=TONES[1])
        axis.annotate(
            row.label, (100 * row.tiles_share, kept), xytext=(8, -12),
            textcoords="offset points", fontsize=9, color=INK,
        )  # fmt: skip
    axis.set_xlabel("tiles that the fine network looks at, %", color=SOFT)
    axis.set_ylabel("object in them, %", color=SOFT)
    axis.legend(frameon=False, labelcolor=INK, fontsize=9, loc="lower right")
    save(chart, path)


def _curve(survey: Survey) -> tuple[np.ndarray, np.ndarray]:
    """Return share of tiles and share of the object left, at each of 255 thresholds."""
    levels = [level / 255 for level in range(256)]
    total = max(1, int(survey.tiles.sum()))
    shares = np.array([survey.left(level) / total for level in levels])
    return shares, np.array([survey.recall(level) for level in levels])
