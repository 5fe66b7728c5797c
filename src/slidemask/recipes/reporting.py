"""Tables and the report over all slides of an output folder."""

from collections.abc import Sequence
from pathlib import Path

from slidemask.evaluate.report import write_segmentation_report
from slidemask.recipes.results import results, write_summary_table
from slidemask.recipes.segment import Outcome


def report(out: Path, outcomes: Sequence[Outcome]) -> list[Path]:
    """Write `summary.csv` and `report.html`; return them."""
    found = results(out)
    write_summary_table(out, [summary for _, summary in found])
    rows = [summary | {"folder": folder.name} for folder, summary in found]
    failures = [
        {"slide": str(outcome.slide), "error": outcome.message}
        for outcome in outcomes
        if outcome.state == "failed"
    ]
    return [write_segmentation_report(out, rows, failures), out / "summary.csv"]
