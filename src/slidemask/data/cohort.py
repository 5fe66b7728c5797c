"""Cohort manifests: which slides, whose annotations, which patients, in one CSV file."""

import csv
import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import TypeVar

from slidemask.base.errors import CohortError
from slidemask.base.files import write_text
from slidemask.data.case import PARTS, Case, one_slide_one_patient, require_patients
from slidemask.data.pairs import PatientTable, pair_folders
from slidemask.data.table import Row, listed, read_table

__all__ = [
    "COLUMNS",
    "Case",
    "PatientTable",
    "one_slide_one_patient",
    "pair_folders",
    "read_cohort",
    "require_patients",
    "write_cohort",
]

T = TypeVar("T")

COLUMNS = tuple(field.name for field in fields(Case))
_SPLIT_WORDS = dict(zip(PARTS, PARTS, strict=True)) | {
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
}
_YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def read_cohort(path: Path) -> tuple[Case, ...]:
    """Read a cohort CSV: comma, semicolon or tab; UTF-8 with or without byte order mark.

    Paths are relative to the file. A decimal comma is understood.

    Raises
    ------
    CohortError
        Naming line and column, if a column is unknown, a value cannot be understood, a slide
        stands twice, files are missing, or there is no row.
    """
    columns, rows = read_table(path)
    _check_columns(path, columns)
    if not rows:
        raise CohortError(f"Cohort {path} is empty: a header and no row. Write a line per slide.")
    cases = [_case(path, row) for row in rows]
    lines = [row.line for row in rows]
    _refuse_twice(path, lines, cases)
    _refuse_missing(path, lines, cases)
    return tuple(cases)


def write_cohort(path: Path, cases: Iterable[Case]) -> None:
    """Write a cohort CSV with paths relative to it; columns that no case fills are left out."""
    cases = tuple(cases)
    used = [name for name in COLUMNS if any(getattr(case, name) is not None for case in cases)]
    folder = path.absolute().parent
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(used or ["slide"])
    writer.writerows([_cell(getattr(case, name), folder) for name in used] for case in cases)
    write_text(path, text.getvalue())


def _check_columns(path: Path, columns: tuple[str, ...]) -> None:
    for number, name in enumerate(columns, start=1):
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]!r}? " if near else ""
            raise CohortError(
                f"Cohort {path}, line 1: column {number} is called {name!r}; {advice}"
                f"Columns are {', '.join(COLUMNS)}."
            )
        if columns.index(name) != number - 1:
            raise CohortError(f"Cohort {path}, line 1: column {name!r} stands twice.")
    if "slide" not in columns:
        raise CohortError(f"Cohort {path}, line 1: no column is called 'slide'.")


def _case(path: Path, row: Row) -> Case:
    cells = row.cells
    if not cells.get("slide"):
        raise CohortError(f"Cohort {path}, line {row.line}, column slide: no file is named.")
    return Case(
        slide=path.parent / cells["slide"],
        annotations=path.parent / cells["annotations"] if cells.get("annotations") else None,
        patient=cells.get("patient") or None,
        split=_word(path, row, "split", _SPLIT_WORDS),
        mpp=_mpp(path, row),
        group=cells.get("group") or None,
        complete=_word(path, row, "complete", _YES_NO),
    )


def _word(path: Path, row: Row, column: str, meanings: dict[str, T]) -> T | None:
    word = row.cells.get(column, "")
    if word and word.casefold() not in meanings:
        raise CohortError(
            f"Cohort {path}, line {row.line}, column {column}: {word!r} is none of "
            f"{', '.join(meanings)}."
        )
    return meanings.get(word.casefold())


def _mpp(path: Path, row: Row) -> float | None:
    text = row.cells.get("mpp", "")
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise CohortError(
            f"Cohort {path}, line {row.line}, column mpp: {text!r} is no positive number; "
            "give µm per level-0 pixel, such as 0.25."
        )
    return value


def _refuse_twice(path: Path, lines: Sequence[int], cases: Sequence[Case]) -> None:
    first: dict[Path, int] = {}
    for line, case in zip(lines, cases, strict=True):
        before = first.setdefault(case.slide.resolve(), line)
        if before != line:
            raise CohortError(
                f"Cohort {path}, line {line}, column slide: {case.slide.name} stands in line "
                f"{before} already; keep one of them."
            )


def _refuse_missing(path: Path, lines: Sequence[int], cases: Sequence[Case]) -> None:
    missing = [
        f"line {line}, column {column}: {file}"
        for line, case in zip(lines, cases, strict=True)
        for column, file in (("slide", case.slide), ("annotations", case.annotations))
        if file is not None and not file.exists()
    ]
    if missing:
        raise CohortError(
            f"Cohort {path}: {len(missing)} files do not exist ({listed(missing)}). "
            "Paths are relative to the cohort's folder."
        )


def _cell(value: object, folder: Path) -> str:
    if value is None:
        return ""
    if isinstance(value, Path):
        return _relative(value.absolute(), folder).as_posix()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _relative(path: Path, folder: Path) -> Path:
    """Go up from `folder` as far as needed; `relative_to(walk_up=True)` needs Python 3.12."""
    for steps, parent in enumerate((folder, *folder.parents)):
        if path.is_relative_to(parent):
            return Path(*[".."] * steps, path.relative_to(parent))
    return path
