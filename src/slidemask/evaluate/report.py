"""Reports: one HTML file each, with all that it shows inside it, no scripts, no network."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from slidemask.base.files import write_text
from slidemask.evaluate import wording
from slidemask.evaluate.charts import shares_of_rows, stacked, swarm
from slidemask.evaluate.embed import embedded, side_for
from slidemask.evaluate.evaluation import Evaluation, SlideScore
from slidemask.evaluate.figures import LABELS, MEAN_OF_SLIDES, PER_CLASS, Figure, find

CAUTION: Final = "Research use only. Not for diagnosis."

Summary = Mapping[str, Any]
"""A slide's summary.json."""


def write_segmentation_report(
    out: Path, summaries: Sequence[Summary], failures: Sequence[Mapping[str, Any]] = ()
) -> Path:
    """Write OUT/report.html over all segmented slides.

    Parameters
    ----------
    out : Path
        Folder of the slides' result folders.
    summaries : sequence of mapping
        Each slide's summary.json. Its results are looked for in OUT/`folder` (relative to OUT)
        where the summary has this key, else in OUT/`slide.id`. A `slide.note` is shown beside
        the slide's name, e.g. that it is synthetic.
    failures : sequence of mapping
        Slides that could not be segmented: `slide` and `error`.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    longest = side_for(len(summaries))
    models = {s["model"]["digest"]: s["model"] for s in summaries}
    path = out / "report.html"
    page = _environment().get_template("segmentation.html")
    text = page.render(
        caution=CAUTION,
        models=list(models.values()),
        class_names=list(dict.fromkeys(name for s in summaries for name in s["classes"])),
        slides=[_slide_view(number, s, out, longest) for number, s in enumerate(summaries, 1)],
        failures=failures,
        finished=max((s.get("finished") or "" for s in summaries), default=""),
    )
    write_text(path, text)
    return path


def write_evaluation_report(out: Path, evaluation: Evaluation) -> Path:
    """Write OUT/evaluation.html: figures with their average named, and the slides, worst first.

    Parameters
    ----------
    out : Path
        Folder.
    evaluation : Evaluation
        Slides with a `picture` are shown with it.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    slides = sorted(evaluation.slides, key=_worst_first)
    figures, pooled = evaluation.figures, evaluation.pooled.counts.tolist()
    path = out / "evaluation.html"
    page = _environment().get_template("evaluation.html")
    text = page.render(
        caution=CAUTION,
        about=evaluation.about,
        names=evaluation.names,
        labels={name: LABELS.get(name, name) for name in PER_CLASS},
        all_slides=_figure_table(figures),
        groups={g: _figure_table(f) for g, f in evaluation.figures_by_group().items()},
        overall=[f for f in figures if f.name not in PER_CLASS],
        strips=[
            (swarm([(s.slide, float(s.confusion.dice[index])) for s in slides]), mean)
            for index, name in enumerate(evaluation.names)
            if index > 0
            for mean in [find(figures, "dice", MEAN_OF_SLIDES, name)]
        ],
        matrix=pooled,
        shares=shares_of_rows(pooled),
        slides=[_score_view(score, evaluation.names) for score in slides],
        pictures=_pictures(slides),
    )
    write_text(path, text)
    return path


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("slidemask.evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("figure", "number", "percent", "duration"):
        environment.filters[name] = getattr(wording, name)
    environment.filters["pretty"] = _pretty
    return environment


def _slide_view(number: int, summary: Summary, out: Path, longest_px: int) -> dict[str, Any]:
    """Return what the page shows of one slide."""
    folder = str(summary.get("folder") or summary["slide"]["id"])
    files = summary.get("files") or {}
    seconds = dict(summary.get("seconds") or {})
    total = seconds.pop("total", None)
    preview = files.get("preview")
    return {
        "number": number,
        "summary": summary,
        "classes": {n: _class_view(summary, n) for n in summary["classes"]},
        "total_s": total,
        "stages": stacked(seconds, total),
        "overlapping": total is not None and sum(v or 0 for v in seconds.values()) > 1.01 * total,
        "links": {kind: quote(os.fsencode(f"{folder}/{name}")) for kind, name in files.items()},
        "picture": embedded(out / folder / preview, longest_px) if preview else None,
    }


def _class_view(summary: Summary, name: str) -> dict[str, Any]:
    found, tissue = summary["classes"][name], summary.get("tissue_mm2")
    area = found.get("area_mm2")
    share = area / tissue if area is not None and tissue else None
    return {**found, "area_mm2": area, "share": share}


def _figure_table(figures: Sequence[Figure]) -> list[tuple[str, str, dict[str, Figure]]]:
    """Return rows (class, average, figure by name)."""
    rows: dict[tuple[str, str], dict[str, Figure]] = {}
    for figure in figures:
        if figure.name in PER_CLASS:
            rows.setdefault((figure.class_name, figure.average), {})[figure.name] = figure
    return [(*key, row) for key, row in rows.items()]


def _score_view(score: SlideScore, names: Sequence[str]) -> dict[str, Any]:
    """Return one slide's figures per foreground class."""
    figures = {name: measure(score.confusion) for name, measure in PER_CLASS.items()}
    return {
        "score": score,
        "pixels": score.confusion.total,
        "classes": {
            class_name: {name: float(values[index]) for name, values in figures.items()}
            for index, class_name in enumerate(names)
            if index > 0
        },
    }


def _pictures(slides: Sequence[SlideScore]) -> list[tuple[SlideScore, float, str]]:
    """Return (score, mean Dice, data URL) of the slides that have a picture."""
    shown = [(score, score.picture) for score in slides if score.picture is not None]
    longest = side_for(len(shown))
    urls = [(score, embedded(path, longest)) for score, path in shown]
    return [(score, _mean_dice(score), url) for score, url in urls if url]


def _worst_first(score: SlideScore) -> tuple[bool, float, str]:
    """Order by Dice, slides without any at the end."""
    dice = _mean_dice(score)
    return math.isnan(dice), 0.0 if math.isnan(dice) else dice, score.slide


def _mean_dice(score: SlideScore) -> float:
    """Mean over the foreground classes that are there; NaN if none is."""
    dice = score.confusion.dice[1:]
    defined = dice[~np.isnan(dice)]
    return float(defined.mean()) if defined.size else float("nan")


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
