"""Folders of pictures and label images as a cohort."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slidemask.base.errors import CohortError
from slidemask.data.case import Case
from slidemask.data.table import listed, read_table

PICTURES = frozenset({".png", ".tif", ".tiff", ".webp", ".bmp", ".jpg", ".jpeg"})
_LABEL_FOLDERS = ("labels", "masks")


@dataclass(frozen=True)
class PatientTable:
    """A CSV that says which picture is whose.

    Parameters
    ----------
    path : Path
        The file.
    name, patient : str
        Columns with the picture's name (its suffix may be left out) and its patient.
    group : str, optional
        Column with its subtype.
    """

    path: Path
    name: str = "name"
    patient: str = "patient"
    group: str | None = None


def pair_folders(
    images: Path,
    labels: Path | None = None,
    *,
    patient_pattern: str | None = None,
    table: PatientTable | None = None,
    group: str | None = None,
    mpp: float | None = None,
) -> tuple[Case, ...]:
    """Pair every picture with the label image of the same stem.

    Parameters
    ----------
    images : Path
        A folder of pictures; or, where `labels` is None, a folder with `images` and `labels` (or
        `masks`) in it; or a folder of such folders, whose names become the groups.
    labels : Path, optional
        The folder of label images.
    patient_pattern : str, optional
        Regular expression searched for in the file name; its first group (without one, all of
        the match) is the patient.
    table : PatientTable, optional
        Says the same by a table, and the group on request.
    group : str, optional
        Group of all cases, where neither folders nor table say one.
    mpp : float, optional
        Micrometres per pixel of all pictures.

    Returns
    -------
    tuple of Case
        In order of group and file name.

    Raises
    ------
    CohortError
        If a picture or label image has no counterpart, a stem stands twice, or a picture's
        patient is not found.
    """
    if patient_pattern is not None and table is not None:
        raise CohortError("Patients come from a pattern or from a table; give one of the two.")
    folders = [(images, labels, group)] if labels else _nested(images, group)
    person = _by_table(table) if table else _by_pattern(patient_pattern)
    cases = [
        Case(picture, truth, patient, mpp=mpp, group=kind or name)
        for pictures, truths, name in folders
        for picture, truth in _pairs(pictures, truths)
        for patient, kind in (person(picture),)
    ]
    nameless = [case.slide.name for case in cases if case.patient == ""]
    if nameless:
        source = table.path if table else f"pattern {patient_pattern!r}"
        raise CohortError(f"{source} names no patient for {listed(nameless)}.")
    return tuple(cases)


def _nested(root: Path, group: str | None) -> list[tuple[Path, Path, str | None]]:
    """Find `images` and `labels` or `masks` in `root` itself, or in each of its subfolders."""
    if not root.is_dir():
        raise CohortError(f"{root} is not a folder.")
    if own := _image_and_label_folder(root):
        return [(*own, group)]
    found: list[tuple[Path, Path, str | None]] = [
        (*pair, folder.name)
        for folder in sorted(root.iterdir())
        if folder.is_dir() and (pair := _image_and_label_folder(folder))
    ]
    if not found:
        raise CohortError(
            f"{root} has no folder `images` beside `labels` or `masks`, nor has a folder in it; "
            "name the folder of label images."
        )
    return found


def _image_and_label_folder(folder: Path) -> tuple[Path, Path] | None:
    images = folder / "images"
    labels = next((path for name in _LABEL_FOLDERS if (path := folder / name).is_dir()), None)
    return (images, labels) if images.is_dir() and labels else None


def _pairs(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    pictures, truths = _by_stem(images), _by_stem(labels)
    alone = sorted(pictures.keys() - truths.keys())
    orphans = sorted(truths.keys() - pictures.keys())
    problems = [
        f"{len(names)} {what}: {listed(names)}"
        for names, what in (
            (alone, f"pictures of {images} have no label image in {labels}"),
            (orphans, f"label images of {labels} have no picture in {images}"),
        )
        if names
    ]
    if problems:
        raise CohortError("; ".join(problems) + ". Pairs share the file name before the suffix.")
    return [(pictures[stem], truths[stem]) for stem in sorted(pictures)]


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise CohortError(f"{folder} is not a folder.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PICTURES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise CohortError(f"{found[path.stem].name} and {path.name} in {folder}: which one?")
        found[path.stem] = path
    if not found:
        raise CohortError(f"{folder} holds no picture ({', '.join(sorted(PICTURES))}).")
    return found


def _by_pattern(pattern: str | None) -> Callable[[Path], tuple[str | None, str | None]]:
    """Patient and group of a picture; '' where one should be there and is not."""
    if pattern is None:
        return lambda _: (None, None)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CohortError(
            f"Patient pattern {pattern!r} is no regular expression: {error}."
        ) from error

    def person(picture: Path) -> tuple[str | None, str | None]:
        match = compiled.search(picture.name)
        if match is None:
            return "", None
        return (match[1] if compiled.groups else match[0]) or "", None

    return person


def _by_table(table: PatientTable) -> Callable[[Path], tuple[str | None, str | None]]:
    columns, rows = read_table(table.path)
    wanted = [table.name, table.patient, *([table.group] if table.group else [])]
    absent = [name for name in wanted if name.casefold() not in columns]
    if absent:
        raise CohortError(
            f"{table.path} has no column {listed(absent)}; it has {', '.join(columns)}."
        )
    name, patient, *rest = (column.casefold() for column in wanted)
    people = {
        _stem(row.cells.get(name, "")): (
            row.cells.get(patient, ""),
            (row.cells.get(rest[0]) or None) if rest else None,
        )
        for row in rows
    }
    return lambda picture: people.get(picture.stem, ("", None))


def _stem(name: str) -> str:
    """Take a picture's suffix off; other dots belong to the name."""
    return Path(name).stem if Path(name).suffix.lower() in PICTURES else name
