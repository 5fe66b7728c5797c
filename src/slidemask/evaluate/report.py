"""The report of a segmentation: what was found on each slide, how long it took, what failed."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from slidemask.base.files import write_text
from slidemask.evaluate.charts import Segment, stacked
from slidemask.evaluate.embed import embedded, side_for
from slidemask.evaluate.page import render

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
    text = render(
        "segmentation.html",
        models=list(models.values()),
        class_names=list(dict.fromkeys(name for s in summaries for name in s["classes"])),
        slides=[_slide_view(number, s, out, longest) for number, s in enumerate(summaries, 1)],
        budget=_budget(summaries),
        failures=failures,
        finished=max((s.get("finished") or "" for s in summaries), default=""),
    )
    write_text(path, text)
    return path


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
        "stages": _budget([summary]),
        "overlapping": total is not None and sum(v or 0 for v in seconds.values()) > 1.01 * total,
        "links": {kind: quote(os.fsencode(f"{folder}/{name}")) for kind, name in files.items()},
        "picture": embedded(out / folder / preview, longest_px) if preview else None,
    }


def _budget(summaries: Sequence[Summary]) -> list[Segment]:
    """Add up the seconds of each stage: the network's first, then the longest."""
    sums: Counter[str] = Counter()
    for summary in summaries:
        sums.update({name: value or 0 for name, value in (summary.get("seconds") or {}).items()})
    total = sums.pop("total", None)
    return stacked(dict(sorted(sums.items(), key=_network_then_longest)), total)


def _network_then_longest(stage: tuple[str, float]) -> tuple[bool, float]:
    return stage[0] != "network", -stage[1]


def _class_view(summary: Summary, name: str) -> dict[str, Any]:
    found, tissue = summary["classes"][name], summary.get("tissue_mm2")
    area = found.get("area_mm2")
    share = area / tissue if area is not None and tissue else None
    return {**found, "area_mm2": area, "share": share}
