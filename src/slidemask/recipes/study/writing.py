"""The files of a comparison of rows: study.csv, study.json, charts, report.html."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slidemask.base.files import write_json, write_text
from slidemask.base.record import machine, versions
from slidemask.data.spread import Spread
from slidemask.evaluate.evaluation import none_if_nan
from slidemask.evaluate.figures import LABELS, POOLED, SLIDE, Figure
from slidemask.recipes.study.charts import draw_levels, draw_quality_and_time
from slidemask.recipes.study.comparison import Compared
from slidemask.recipes.study.page import write_page
from slidemask.recipes.study.pictures import draw_same_object
from slidemask.recipes.study.rails import draw_rails
from slidemask.recipes.study.row import Measured, require_test
from slidemask.recipes.study.scores import COLUMNS, LEVELS, figure_of
from slidemask.recipes.study.tables import as_csv, figure_table, flat, points_of

QUALITY, BY_LEVEL, SAME_OBJECT = "quality_and_time.png", "levels.png", "same_object.png"
RAILS = "rails.png"


def write_comparison(
    out: Path, study: Compared, about: Mapping[str, str], rails: Sequence[Spread] = ()
) -> Path:
    """Write everything of a study into `out`; return its report.

    Parameters
    ----------
    out : Path
    study : Compared
    about : mapping
        Title under "title", then what was studied, shown as it is.
    rails : sequence of Spread
        Of a study of tile sizes.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    lines = [flat(row, study.decides) for row in study.rows]
    write_text(out / "study.csv", as_csv(lines))
    write_json(out / "study.json", _plain(study, about, lines) | _told(rails))
    if study.rows:
        _draw(out, study)
    if rails:
        draw_rails(rails, out / RAILS)
        write_text(out / "rails.csv", as_csv(_told(rails)["rails"]))
    return write_page(
        out / "report.html", "comparison.html", _view(study, about) | {"rails": rails}
    )


def _told(rails: Sequence[Spread]) -> dict[str, list[dict[str, Any]]]:
    return (
        {"rails": [asdict(one) | {"spread": one.spread, "inner": one.inner} for one in rails]}
        if rails
        else {}
    )


def _draw(out: Path, study: Compared) -> None:
    rows = study.rows
    quality = LABELS.get(study.decides, study.decides)
    chosen = study.verdict.chosen if study.verdict else None
    seconds = [row.segmenting.seconds_per_slide for row in rows]
    points = points_of(rows, study.decides, SLIDE)
    draw_quality_and_time(
        list(zip(seconds, points, strict=True)), out / QUALITY,
        quality=f"slide-level {quality}, pooled", chosen=chosen,
    )  # fmt: skip
    lines = {f"{level}, pooled": points_of(rows, study.decides, level) for level in LEVELS}
    draw_levels(lines, out / BY_LEVEL, quality=quality)
    test = require_test(rows[0].row.recipe, rows[0].row.cases)
    draw_same_object([row.row for row in rows], test, out / SAME_OBJECT)


def _plain(
    study: Compared, about: Mapping[str, str], lines: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "about": dict(about),
        "rows": lines,
        "failures": study.failures,
        "verdict": asdict(study.verdict) if study.verdict else None,
        "lead of the best": {
            label: {key: none_if_nan(value) for key, value in asdict(gap).items()}
            for label, gap in study.gaps.items()
        },
        "machine": machine(),
        "versions": versions(),
    }


def _side_by_side(study: Compared) -> list[tuple[Measured, list[Figure | None]]]:
    """Return each row with its pooled figures of the slide level."""
    return [
        (row, [figure_of(row.evaluation, name, SLIDE, POOLED) for name in COLUMNS[study.decides]])
        for row in study.rows
    ]


def _view(study: Compared, about: Mapping[str, str]) -> dict[str, Any]:
    seen = dict(about)
    return {
        "title": seen.pop("title"),
        "about": seen,
        "rows": study.rows,
        "failures": study.failures,
        "verdict": study.verdict,
        "gaps": study.gaps,
        "figures": figure_table(study.rows, study.decides),
        "short": _side_by_side(study) if study.decides == "iou" else [],
        "labels": [LABELS.get(name, name) for name in COLUMNS[study.decides]],
        "quality": LABELS.get(study.decides, study.decides),
        "charts": {"quality": QUALITY, "levels": BY_LEVEL, "object": SAME_OBJECT, "rails": RAILS},
    }
