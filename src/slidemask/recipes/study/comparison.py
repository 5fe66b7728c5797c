"""Rows of a study side by side: done one after the other, compared, and decided between."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slidemask.base.errors import CohortError, SettingsError, SlidemaskError
from slidemask.base.files import output_folder
from slidemask.data.case import Case
from slidemask.evaluate.figures import LABELS
from slidemask.recipes.study.row import Means, Measured, Row, measure, require_test
from slidemask.recipes.study.scores import contender, lead
from slidemask.recipes.study.verdict import Gap, Verdict, best_of, decide

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compared:
    """A finished comparison of rows.

    Parameters
    ----------
    rows : tuple of Measured
        In the order in which they were asked for.
    failures : mapping of label to message
        Rows that could not be done.
    gaps : mapping of label to Gap
        By how much the best row leads each other one.
    verdict : Verdict, optional
        None where nothing could be compared.
    decides : str
        The figure that rows are compared by.
    """

    rows: tuple[Measured, ...]
    failures: dict[str, str]
    gaps: dict[str, Gap]
    verdict: Verdict | None
    decides: str = "mcc"


def placed(rows: Sequence[Row], cases: Sequence[Case], out: Path, means: Means) -> list[Row]:
    """Give each row its folder below `out` and the cohort.

    Raises
    ------
    CohortError
        If there is no test part, or the rows' splits lead to different ones.
    SettingsError
        If the rows are for different classes.
    """
    _require_one_test(rows, cases)
    _require_one_class_map(rows)
    output_folder(out)
    return [replace(row, folder=out / row.folder, cases=tuple(cases), means=means) for row in rows]


def compare_rows(rows: Sequence[Row], decides: str = "mcc") -> Iterator[tuple[str, Compared]]:
    """Do one row after the other, and compare what is there after each.

    Parameters
    ----------
    rows : sequence of Row
    decides : {"mcc", "iou"}
        The figure of the slide level that they are compared by.

    Yields
    ------
    (str, Compared)
        What became of the row, and the study so far: whoever writes it down each time loses
        nothing to a stop.
    """
    done: list[Measured] = []
    failures: dict[str, str] = {}
    for row in rows:
        try:
            done.append(measure(row))
            said = f"{row.label}: done"
        except SlidemaskError as error:
            failures[row.label] = str(error)
            said = f"{row.label}: FAILED: {error}"
        except Exception as error:  # whatever ails one row, the others go on
            log.debug("%s failed", row.label, exc_info=True)
            failures[row.label] = f"{type(error).__name__}: {error}"
            said = f"{row.label}: FAILED: {failures[row.label]}"
        yield said, compared(done, failures, decides)


def compared(rows: Sequence[Measured], failures: dict[str, str], decides: str = "mcc") -> Compared:
    """Put measured rows side by side and decide between them."""
    contenders = [contender(row, decides) for row in rows]
    best = best_of(contenders)
    leads: dict[str, Gap] = {}
    if best is not None:
        winner = rows[contenders.index(best)]
        leads = {
            row.row.label: lead(winner.evaluation, row.evaluation, decides)
            for row in rows
            if row is not winner
        }
    verdict = decide(contenders, leads, LABELS.get(decides, decides))
    return Compared(tuple(rows), dict(failures), leads, verdict, decides)


def _require_one_test(rows: Sequence[Row], cases: Sequence[Case]) -> None:
    tests = [{case.slide for case in require_test(row.recipe, cases)} for row in rows]
    other = next((row for row, test in zip(rows, tests, strict=True) if test != tests[0]), None)
    if other is not None:
        raise CohortError(
            f"{rows[0].label} and {other.label} split the cohort differently, so that their test "
            "slides are not the same. Fill the cohort's `split` column, or give all one split "
            "with --set split.seed=…, split.test=…"
        )


def _require_one_class_map(rows: Sequence[Row]) -> None:
    if len({row.recipe.classes.names[1:] for row in rows}) > 1:
        said = "; ".join(f"{row.label}: {', '.join(row.recipe.classes.names[1:])}" for row in rows)
        raise SettingsError(
            f"Only recipes of the same classes can be compared; these have {said}. "
            "Change them with --set classes.classes=… or study them apart."
        )
