"""Photos whose slides are known: polygons of the cohort, and what `compose` told of each photo."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry import Polygon

from slidemask.base.errors import CohortError
from slidemask.data.case import Case
from slidemask.data.cohort import read_cohort
from slidemask.evaluate.outlines import Corners, Shape
from slidemask.io.geojson import read_geojson

NOTES: Final = "photos.json"
"""Beside the cohort where its photos were composed."""
SLIDE: Final = "slide"
PER_SLIDE: Final = ("stain", "touching", "curved", "cut")
"""What `photos.json` says of each slide and a table is made of."""


@dataclass(frozen=True, eq=False)
class PhotoCase:
    """One photo and the slides in it.

    Parameters
    ----------
    photo : Path
    patient : str
        Photos of one source of slides are one; without a name in the cohort each is its own.
    true : tuple of Shape
        The slides.
    kind : str
        Of scene; "" where nothing is told.
    traits : tuple of dict
        What is told of each slide, by `PER_SLIDE`.
    """

    photo: Path
    patient: str
    true: tuple[Shape, ...]
    kind: str = ""
    traits: tuple[Mapping[str, str], ...] = ()


def read_photo_cases(cohort: Path, split: str = "all") -> tuple[tuple[PhotoCase, ...], str]:
    """Read photos with their slides, and what the cohort's `photos.json` says of them altogether.

    Parameters
    ----------
    cohort : Path
        CSV with GeoJSON outlines called "slide"; a photo that has none must say that it is
        complete. Other polygons are passed over.
    split : str
        Only photos of this part; "all" takes every one.

    Raises
    ------
    CohortError
        If there is no photo of that part, one has no outlines, or `photos.json` is not `compose`'s.
    AnnotationError
        If outlines cannot be read.
    """
    cases = [case for case in read_cohort(cohort) if split in ("all", case.split)]
    if not cases:
        raise CohortError(
            f"{cohort} has no photo of the {split} part. Fill its `split` column, or take all "
            "photos with --split all."
        )
    notes, about = _notes(cohort.with_name(NOTES))
    return tuple(_case(case, notes.get(case.slide.name, {})) for case in cases), about


def _case(case: Case, note: Mapping[str, Any]) -> PhotoCase:
    told = note.get("slides", [])
    slides = _polygons(case)
    if len(told) == len(slides):
        corners = [_within(each["corners"], note) for each in told]
        traits = tuple(_traits(each) for each in told)
    else:
        corners, traits = [_four(polygon) for polygon in slides], tuple({} for _ in slides)
    true = tuple(Shape(polygon, four) for polygon, four in zip(slides, corners, strict=True))
    patient = case.patient or case.slide.as_posix()
    return PhotoCase(case.slide, patient, true, str(note.get("kind", "")), traits)


def _polygons(case: Case) -> list[Polygon]:
    if case.annotations is None:
        if case.complete:
            return []
        raise CohortError(
            f"{case.slide} has no outlines. Name their GeoJSON in the cohort's `annotations` "
            "column, or, if the photo shows no slide, write yes under `complete`."
        )
    found = read_geojson(case.annotations)
    labelled = zip(found.polygons.tolist(), found.labels, strict=True)
    return [polygon for polygon, label in labelled if label.casefold() == SLIDE]


def _traits(told: Mapping[str, Any]) -> dict[str, str]:
    values = {name: told[name] for name in PER_SLIDE if told.get(name) is not None}
    words = {True: "yes", False: "no"}
    return {
        name: words[value] if isinstance(value, bool) else str(value)
        for name, value in values.items()
    }


def _within(corners: Sequence[Sequence[float]], note: Mapping[str, Any]) -> Corners | None:
    """Return the corners, unless one lies outside the photo, where none can be found."""
    four = np.asarray(corners, np.float64)
    inside = (four >= -1).all() and (four <= np.array([note["width"], note["height"]]) + 1).all()
    return four if inside else None


def _four(polygon: Polygon) -> Corners | None:
    """Return the corners of a quadrilateral, None of any other polygon."""
    ring = shapely.get_coordinates(polygon.exterior)[:-1]
    return ring if len(ring) == 4 else None


def _notes(path: Path) -> tuple[dict[str, Any], str]:
    """Return what is told of each photo, by file name, and of all together."""
    if not path.is_file():
        return {}, ""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {note["photo"]: note for note in told["photos"]}, str(told.get("note", ""))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CohortError(
            f"{path} is not what `slidemask compose` writes ({type(error).__name__}: {error}). "
            "Move it away, or compose the photos again."
        ) from error
