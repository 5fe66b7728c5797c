"""Which result belongs to which case, and what a result says of its model."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from slidemask.base.classes import ClassMap
from slidemask.base.errors import CohortError
from slidemask.data.case import PARTS, Case
from slidemask.data.cohort import read_cohort
from slidemask.recipes.results import results


@dataclass(frozen=True)
class Found:
    """A case and its result."""

    case: Case
    folder: Path
    summary: dict[str, Any]


def find_results(out: Path, cases: Sequence[Case]) -> list[Found]:
    """Return each case's result: that of the same path, else of the only slide of that name.

    Raises
    ------
    CohortError
        If a case has none, or by its name more than one.
    """
    there = results(out)
    by_path = {Path(summary["slide"]["path"]): (folder, summary) for folder, summary in there}
    by_name: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for folder, summary in there:
        by_name.setdefault(Path(summary["slide"]["path"]).name, []).append((folder, summary))
    names = [case.slide.name for case in cases]
    found, missing = [], []
    for case in cases:
        path = case.slide.resolve()
        moved = by_name.get(path.name, [])
        if path in by_path:
            found.append(Found(case, *by_path[path]))
        elif len(moved) == 1 and names.count(case.slide.name) == 1:
            found.append(Found(case, *moved[0]))
        else:
            missing.append((path, [summary["slide"]["path"] for _, summary in moved]))
    if missing:
        raise CohortError(_say_missing(out, missing, len(cases)))
    return found


def class_map(summaries: Sequence[dict[str, Any]]) -> ClassMap:
    """Return the one class map by which all results were made.

    Raises
    ------
    CohortError
        If they were made by more than one.
    """
    maps = [ClassMap.model_validate(summary["class_map"]) for summary in summaries]
    if any(other != maps[0] for other in maps):
        raise CohortError("The results were made by models of different classes; score them apart.")
    return maps[0]


def read_history(summary: dict[str, Any]) -> list[dict[str, float]]:
    """Return the epochs of the training that made a result's model; empty where it has gone.

    A bundle that lies in its run's folder has `history.csv` beside it.
    """
    path = summary["model"].get("path")
    file = Path(path).parent / "history.csv" if path else None
    if file is None or not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return [
            {name: float(value) for name, value in row.items() if name and value}
            for row in csv.DictReader(lines)
        ]


def seen_in_training(found: Sequence[Found]) -> dict[str, list[str]]:
    """Return the cases that took part in their model's training, by part: slides or patients.

    Known only of a bundle that lies in its run's folder, where the run's `cohort.csv` is.

    Returns
    -------
    dict
        File names of slides by "train" and "validation"; parts without any are not there.
    """
    seen: dict[str, list[str]] = {}
    for one in found:
        path = one.summary["model"].get("path")
        for part, slides, patients in _parts_of(Path(path).parent) if path else ():
            if one.case.slide.resolve() in slides or one.case.patient in patients:
                seen.setdefault(part, []).append(one.case.slide.name)
    return seen


@lru_cache(maxsize=4)
def _parts_of(run: Path) -> list[tuple[str, frozenset[Path], frozenset[str | None]]]:
    """Return slides and patients of the parts that a run learnt or chose from."""
    if not ((run / "recipe.toml").is_file() and (run / "cohort.csv").is_file()):
        return []
    cases = read_cohort(run / "cohort.csv")
    return [
        (
            part,
            frozenset(case.slide.resolve() for case in cases if case.split == part),
            frozenset(case.patient for case in cases if case.split == part and case.patient),
        )
        for part in PARTS[:2]
    ]


def _say_missing(out: Path, missing: Sequence[tuple[Path, list[str]]], cases: int) -> str:
    named = [
        f"{path}" + (f" (of that name there are {', '.join(moved)})" if moved else "")
        for path, moved in missing[:5]
    ]
    return (
        f"{len(missing)} of {cases} annotated slides have no result in {out}: {'; '.join(named)}. "
        "Results are found by the slide's path, or else by its file name if only one has it. "
        "Segment them first, or choose a part with --split."
    )
