"""The files of a study of photos: study.csv, slides.csv, study.json, pictures, report.html."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from slidemask.base.files import write_json, write_text
from slidemask.base.record import machine, versions
from slidemask.evaluate.evaluation import none_if_nan
from slidemask.evaluate.outlines import FIGURES, PhotoScore, difference, estimate_of
from slidemask.recipes.photo.cases import PER_SLIDE
from slidemask.recipes.photo.scoring import PhotoRow, PhotoStudy
from slidemask.recipes.study.page import write_page
from slidemask.recipes.study.photopictures import draw_extremes
from slidemask.recipes.study.tables import as_csv

ALL: Final = "all photos"
LABELS: Final = {
    "iou": "IoU",
    "iou of matched": "IoU of matched",
    "corner error": "corner error",
    "false finds": "false finds a photo",
}
DIGITS: Final = {"iou": 3, "iou of matched": 3, "false finds": 3, "corner error": 2}
"""Decimals of figures that are no percentage of slides; the corner error is one of a length."""


@dataclass(frozen=True)
class Cell:
    """One figure with its 95 % interval, as numbers and as written."""

    value: float
    low: float
    high: float
    text: str
    interval: str


@dataclass(frozen=True)
class Line:
    """One model on one group of photos or slides.

    Parameters
    ----------
    group : str
    label : str
        The model's.
    photos, slides, patients : int
    cells : dict of str to Cell
        By `FIGURES`.
    """

    group: str
    label: str
    photos: int
    slides: int
    patients: int
    cells: Mapping[str, Cell]


def write_photo_study(
    out: Path, study: PhotoStudy, about: Mapping[str, str], *, pictures: int = 6
) -> list[Line]:
    """Write everything of a study of photos into `out`; return the lines on all photos.

    Parameters
    ----------
    out : Path
    study : PhotoStudy
    about : mapping
        What was studied, shown as it is.
    pictures : int
        Worst photos shown of each model; half as many of the best.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    lines = [line for row in study.rows for line in lines_of(row)]
    gaps = gaps_of(study.rows)
    write_text(out / "study.csv", as_csv(_flat(line) for line in lines))
    write_text(out / "slides.csv", as_csv(each for row in study.rows for each in _each_slide(row)))
    plain = {
        "about": dict(about),
        "rows": [_flat(line) for line in lines],
        "models": [_told(row) for row in study.rows],
        "differences": [_flat(line) for line in gaps],
        "failures": study.failures,
        "machine": machine(),
        "versions": versions(),
    }
    write_json(out / "study.json", plain)
    shown = {row.job.label: draw_extremes(row, out, pictures) for row in study.rows}
    view = _view(study, lines, gaps) | {"about": about, "shown": shown}
    write_page(out / "report.html", "photos.html", view)
    return [line for line in lines if line.group == ALL]


def lines_of(row: PhotoRow) -> list[Line]:
    """Return a model's lines: all photos, each kind of scene, each trait of slides."""
    everything = list(range(len(row.cases)))
    lines = [_line(row, ALL, everything, row.scores)]
    for kind in sorted({case.kind for case in row.cases} - {""}):
        some = [at for at in everything if row.cases[at].kind == kind]
        lines.append(_line(row, f"scene: {kind}", some, [row.scores[at] for at in some]))
    for trait in PER_SLIDE:
        values = {told[trait] for case in row.cases for told in case.traits if trait in told}
        if len(values) > 1:
            lines += [_of_trait(row, trait, value) for value in sorted(values)]
    return lines


def gaps_of(rows: Sequence[PhotoRow]) -> list[Line]:
    """Return by how much each later model differs from the first, on the photos of both."""
    return [
        _gap(rows[0], row) for row in rows[1:] if row.cases == rows[0].cases
    ]  # a photo that one could not read would make it no comparison


def in_words(lines: Sequence[Line]) -> list[str]:
    """Return each line as a command prints it."""
    return [
        f"{line.label}: {line.photos} photos, {line.slides} slides: "
        + ", ".join(f"{LABELS.get(name, name)} {cell.text}" for name, cell in line.cells.items())
        for line in lines
    ]


def written(value: float, name: str) -> str:
    """Return a figure in words.

    >>> written(0.95123, "iou"), written(0.00213, "corner error"), written(0.0199, "missed")
    ('0.951', '0.21 %', '2.0 %')
    """
    if math.isnan(value):
        return "\N{EN DASH}"
    digits = DIGITS.get(name, 1)
    if name in ("iou", "iou of matched", "false finds"):
        return f"{value:.{digits}f}"
    return f"{100 * value:.{digits}f} %"


def _line(row: PhotoRow, group: str, places: Sequence[int], scores: Sequence[PhotoScore]) -> Line:
    patients = [row.cases[at].patient for at in places]
    estimate = estimate_of(scores, patients)
    low, high = estimate.interval()
    numbers = zip(FIGURES, estimate.value, low, high, strict=True)
    cells = {name: _cell(name, *map(float, values)) for name, *values in numbers}
    slides = sum(len(score.slides) for score in scores)
    return Line(group, row.job.label, len(scores), slides, len(set(patients)), cells)


def _of_trait(row: PhotoRow, trait: str, value: str) -> Line:
    """Score only the slides of a trait; a false find belongs to none of them."""
    places, scores = list[int](), list[PhotoScore]()
    for at, (case, score) in enumerate(zip(row.cases, row.scores, strict=True)):
        pairs = zip(score.slides, case.traits, strict=True)
        some = tuple(slide for slide, told in pairs if told.get(trait) == value)
        if some:
            places.append(at)
            scores.append(PhotoScore(some, ()))
    line = _line(row, f"{trait}: {value}", places, scores)
    nothing = _cell("false finds", *[math.nan] * 3)
    return replace(line, cells={**line.cells, "false finds": nothing})


def _gap(one: PhotoRow, other: PhotoRow) -> Line:
    patients = [case.patient for case in one.cases]
    before, after = (estimate_of(row.scores, patients) for row in (one, other))
    numbers = zip(FIGURES, *difference(before, after), strict=True)
    cells = {name: _cell(name, *map(float, values), signed=True) for name, *values in numbers}
    slides = sum(len(score.slides) for score in one.scores)
    label = f"{other.job.label} less {one.job.label}"
    return Line("difference", label, len(one.cases), slides, len(set(patients)), cells)


def _cell(name: str, value: float, low: float, high: float, *, signed: bool = False) -> Cell:
    def text(number: float) -> str:
        return ("+" if signed and number > 0 else "") + written(number, name)

    interval = "" if math.isnan(low) else f"{text(low).removesuffix(' %')} to {text(high)}"
    return Cell(value, low, high, text(value), interval)


def _flat(line: Line) -> dict[str, Any]:
    """Return one line of study.csv; shares stay shares, corner errors shares of the diagonal."""
    flat: dict[str, Any] = {
        "group": line.group, "model": line.label, "photos": line.photos, "slides": line.slides,
        "patients": line.patients,
    }  # fmt: skip
    for name, cell in line.cells.items():
        bounds = {"": cell.value, " low": cell.low, " high": cell.high}
        flat |= {f"{name}{end}": none_if_nan(value) for end, value in bounds.items()}
    return flat


def _each_slide(row: PhotoRow) -> list[dict[str, Any]]:
    """Return one line for each true slide and each false find."""
    lines: list[dict[str, Any]] = []
    for case, score in zip(row.cases, row.scores, strict=True):
        start = {"model": row.job.label, "photo": case.photo.name, "scene": case.kind}
        for at, (slide, told) in enumerate(zip(score.slides, case.traits, strict=True)):
            error = none_if_nan(slide.corner_error)
            lines.append(
                {**start, "slide": at + 1, "state": slide.state, "iou": slide.iou,
                 "corner error": error, **told}
            )  # fmt: skip
        lines += [{**start, "slide": None, "state": "false find"} for _ in score.false_finds]
    return lines


def _told(row: PhotoRow) -> dict[str, Any]:
    times = np.array([found.seconds for found in row.found])
    return {
        "label": row.job.label, "model": row.job.model, "megabytes": none_if_nan(row.megabytes),
        "device": row.device, "milliseconds a photo": row.milliseconds,
        "slowest milliseconds": 1000 * float(times.max()),
        "refused outlines": sum(found.refused for found in row.found),
    }  # fmt: skip


def _view(study: PhotoStudy, lines: Sequence[Line], gaps: Sequence[Line]) -> dict[str, Any]:
    groups = list(dict.fromkeys(line.group for line in lines))
    return {
        "models": [_told(row) for row in study.rows],
        "groups": [(name, [line for line in lines if line.group == name]) for name in groups],
        "gaps": gaps,
        "names": FIGURES,
        "labels": [LABELS.get(name, name) for name in FIGURES],
        "failures": study.failures,
    }
