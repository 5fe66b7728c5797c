"""Tables and the report over all slides of an output folder."""

from collections.abc import Sequence
from pathlib import Path

from slidemask.evaluate.report import write_segmentation_report
from slidemask.recipes.asked import Outcome
from slidemask.recipes.results import results
from slidemask.recipes.table import write_table


def report(out: Path, outcomes: Sequence[Outcome]) -> list[Path]:
    """Write `summary.csv` and `report.html`; return them."""
    table = write_table(out, outcomes)
    rows = [summary | {"folder": folder.name} for folder, summary in results(out)]
    failures = [
        {"slide": str(outcome.slide), "error": outcome.message}
        for outcome in outcomes
        if outcome.state == "failed"
    ]
    return [write_segmentation_report(out, rows, failures), table]
