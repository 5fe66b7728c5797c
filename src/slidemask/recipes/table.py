"""`summary.csv`: what became of every slide of an output folder, a line each."""

import csv
import io
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from slidemask.base.errors import OutputError
from slidemask.base.files import write_text
from slidemask.recipes.asked import FINAL, Outcome
from slidemask.recipes.results import SUMMARY, read_summary, results

TABLE = "summary.csv"
Row = dict[str, Any]

_FIRST = ("slide", "folder", "state", "message", "mpp", "tissue_mm2", "tiles")
_LAST = ("seconds", "peak_memory_mb", "files")
log = logging.getLogger(__name__)


def note_outcome(out: Path, outcome: Outcome) -> None:
    """Bring one slide's line up to date, and leave all others as they are; the file stays whole.

    Where several processes do so at the same moment, a line may be lost until `write_table` makes
    them all again. A table that cannot be written does not stop the slides: that is only logged.
    """
    if outcome.state not in FINAL:
        return
    rows = _read(out / TABLE)
    folder = outcome.folder.name
    if outcome.state == "elsewhere" and folder in rows:  # whoever is at it writes the line
        return
    try:
        rows[folder] = _line(outcome)
        _write(out / TABLE, rows.values())
    except OutputError as error:
        log.warning("%s", error)


def write_table(out: Path, outcomes: Sequence[Outcome]) -> Path:
    """Write the lines of all finished slides, of these outcomes, and of earlier failures."""
    rows = {key: row for key, row in _read(out / TABLE).items() if row["state"] != "done"}
    rows |= {outcome.folder.name: _line(outcome) for outcome in outcomes}
    finished = {folder.name: summary for folder, summary in results(out)}
    for name, summary in finished.items():
        if rows.get(name, {}).get("state") not in {"there", "failed"}:
            rows[name] = _finished(name, "done", "", summary)
    _write(out / TABLE, rows.values())
    return out / TABLE


def _line(outcome: Outcome) -> Row:
    name = outcome.folder.name
    if outcome.state in {"done", "there"}:
        return _finished(name, outcome.state, outcome.message, read_summary(outcome.folder))
    row = {"slide": outcome.slide.stem, "folder": name}
    return row | {"state": outcome.state, "message": outcome.message}


def _finished(name: str, state: str, message: str, summary: dict[str, Any]) -> Row:
    row = {"slide": summary["slide"]["id"], "folder": name, "state": state, "message": message}
    row |= {"mpp": summary["slide"]["mpp"], "tissue_mm2": summary["tissue_mm2"]}
    row |= {"tiles": summary["tiles"]["kept"]}
    if "label" in summary:
        row |= {"label": summary["label"]["class"]}
    for kind, found in summary["classes"].items():
        row |= {f"{kind} mm2": found["area_mm2"], f"{kind} objects": found["objects"]}
    row |= {"seconds": summary["seconds"]["total"], "peak_memory_mb": summary["peak_memory_mb"]}
    return row | {"files": " ".join([*summary["files"].values(), SUMMARY])}


def _read(path: Path) -> dict[str, Row]:
    """Return the lines that are there, by folder; what is no such table counts as none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("folder") and row.get("state")]
    except (OSError, ValueError, csv.Error):
        return {}
    return {row["folder"]: {k: v for k, v in row.items() if v and k} for row in rows}


def _write(path: Path, rows: Iterable[Row]) -> None:
    table = sorted(rows, key=lambda row: str(row["folder"]))
    found = dict.fromkeys(name for row in table for name in row)
    columns = [*_FIRST, *(name for name in found if name not in {*_FIRST, *_LAST}), *_LAST]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_text(path, text.getvalue())
