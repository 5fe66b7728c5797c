"""The files of a study of maps: study.csv, study.json, charts, report.html."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from slidemask.base.files import write_json, write_text
from slidemask.base.record import machine, versions
from slidemask.evaluate.evaluation import none_if_nan
from slidemask.evaluate.figures import LABELS, POOLED
from slidemask.recipes.study.charts import INK, SOFT, new_figure, save
from slidemask.recipes.study.foldfigures import AVERAGES, FIGURES, figures_of, in_scope, scopes_of
from slidemask.recipes.study.heat import draw_grid
from slidemask.recipes.study.maps import MapRow
from slidemask.recipes.study.page import write_page
from slidemask.recipes.study.scores import lead
from slidemask.recipes.study.tables import as_csv, labels_told
from slidemask.recipes.study.verdict import Gap

DECIDES: Final = "iou"
CHART: Final = "maps.png"


@dataclass(frozen=True)
class MapLine:
    """One row of a table.

    Parameters
    ----------
    row : MapRow
    figures : dict
        By average, by name of `FIGURES`.
    gap : Gap
        By how much the best row leads it, pooled, paired by patient; NaN for the best itself.
    best : bool
    """

    row: MapRow
    figures: dict[str, dict[str, float]]
    gap: Gap
    best: bool


@dataclass(frozen=True)
class MapTable:
    """All rows in one way of counting classes."""

    scope: str
    lines: tuple[MapLine, ...]

    @property
    def best(self) -> MapLine | None:
        """The row of the highest pooled IoU, the first of equals; None where none has one."""
        return next((line for line in self.lines if line.best), None)


def tables_of_maps(rows: Sequence[MapRow]) -> list[MapTable]:
    """Return a table for each way of counting classes; none without rows."""
    return [_table(rows, scope) for scope in (scopes_of(rows[0].evaluation.names) if rows else ())]


def write_maps(
    out: Path, rows: Sequence[MapRow], failures: Mapping[str, str], about: Mapping[str, str]
) -> MapLine | None:
    """Write everything of a study of maps into `out`; return the best row.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    tables = tables_of_maps(rows)
    lines = [_flat(table.scope, line) for table in tables for line in table.lines]
    best = tables[0].best if tables else None
    write_text(out / "study.csv", as_csv(lines))
    plain = {
        "about": dict(about),
        "rows": lines,
        "best": best and best.row.label,
        "failures": dict(failures),
        "machine": machine(),
        "versions": versions(),
    }
    write_json(out / "study.json", plain)
    if tables:
        draw_maps(tables[0], out / CHART)
    values = {
        "about": about,
        "tables": tables,
        "best": best,
        "failures": failures,
        "averages": AVERAGES,
        "names": FIGURES,
        "labels": [LABELS.get(name, name) for name in FIGURES],
        "chart": CHART,
    }
    write_page(out / "report.html", "maps.html", values)
    return best


def draw_maps(table: MapTable, path: Path) -> None:
    """Draw the pooled IoU of each setting: smoothing by shrinking."""
    settings = list(dict.fromkeys(line.row.setting for line in table.lines))
    edges = list(dict.fromkeys(line.row.edge for line in table.lines))
    radii = list(dict.fromkeys(edge.smooth for edge in edges))
    shares = list(dict.fromkeys(edge.shrink for edge in edges))
    across = min(3, len(settings))
    down = math.ceil(len(settings) / across)
    size = max(3.0, 0.7 * len(shares) + 1.4), max(2.4, 0.5 * len(radii) + 1.5)
    figure = new_figure(size[0] * across, size[1] * down)
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat[len(settings) :]:
        axis.set_axis_off()
    known = [v for line in table.lines if not math.isnan(v := line.figures[POOLED][DECIDES])]
    limits = (min(known, default=0.0), max(known, default=1.0))  # one scale for all panels
    for axis, setting in zip(axes.flat, settings, strict=False):
        grid = np.full((len(radii), len(shares)), np.nan)
        for line in (line for line in table.lines if line.row.setting == setting):
            place = radii.index(line.row.edge.smooth), shares.index(line.row.edge.shrink)
            grid[place] = line.figures[POOLED][DECIDES]
        draw_grid(axis, grid, limits=limits)
        axis.set_title(setting.label, fontsize=10, color=INK)
        axis.set_xticks(range(len(shares)), [f"{share:g}" for share in shares])
        axis.set_yticks(range(len(radii)), [f"{radius:g}" for radius in radii])
        axis.set_xlabel("shrink", color=SOFT)
        axis.set_ylabel(f"smooth, {edges[0].unit_text}", color=SOFT)
    save(figure, path)


def _table(rows: Sequence[MapRow], scope: str) -> MapTable:
    counted = [in_scope(row.evaluation, scope) for row in rows]
    figures = [{average: figures_of(one, average) for average in AVERAGES} for one in counted]
    values = [found[POOLED][DECIDES] for found in figures]
    best = None if np.isnan(values).all() else int(np.nanargmax(values))
    nothing = Gap(math.nan, math.nan, math.nan)
    gaps = [
        nothing if best is None or place == best else lead(counted[best], one, DECIDES)
        for place, one in enumerate(counted)
    ]
    lines = zip(rows, figures, gaps, strict=True)
    return MapTable(
        scope,
        tuple(
            MapLine(row, found, gap, place == best) for place, (row, found, gap) in enumerate(lines)
        ),
    )


def _flat(scope: str, line: MapLine) -> dict[str, Any]:
    row = line.row
    return {
        "setting": row.setting.label,
        "smooth": row.edge.smooth,
        "unit": row.edge.unit,
        "shrink": row.edge.shrink,
        "of": scope,
        **{
            f"{average}, {name}": none_if_nan(value)
            for average, found in line.figures.items()
            for name, value in found.items()
        },
        **labels_told(row.labels),
        "best": line.best,
        **{
            f"lead of the best {key}": none_if_nan(value) for key, value in asdict(line.gap).items()
        },
        "cleaning and scoring seconds_per_slide": row.seconds_per_slide,
    }
