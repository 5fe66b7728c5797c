"""One case of a cohort, and what it must say of its patient."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slidemask.base.errors import CohortError
from slidemask.data.table import listed

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Case:
    """A slide, its annotations and what is known of it; only the slide is needed to segment.

    Parameters
    ----------
    slide : Path
        Slide file or picture.
    annotations : Path, optional
        Polygons (GeoJSON), or a label image of the slide's size.
    patient : str, optional
        Whose tissue it is; needed to train or split.
    split : str, optional
        'train', 'validation' or 'test'.
    mpp : float, optional
        Micrometres per level-0 pixel; overrides the file's own.
    group : str, optional
        Subtype, site or scanner by which a split is balanced.
    complete : bool, optional
        Whether what is not annotated is background (True) or unknown (False); None leaves it to
        the class map.
    """

    slide: Path
    annotations: Path | None = None
    patient: str | None = None
    split: str | None = None
    mpp: float | None = None
    group: str | None = None
    complete: bool | None = None


def require_patients(cases: Sequence[Case]) -> None:
    """Make sure that every case names its patient.

    Raises
    ------
    CohortError
        With the cases that do not, and the two ways to say it.
    """
    nameless = [case.slide.name for case in cases if not case.patient]
    if nameless:
        raise CohortError(
            f"{len(nameless)} of {len(cases)} cases name no patient: {listed(nameless)}. "
            "Training and splitting keep patients apart: fill the cohort's `patient` column, or, "
            "if every slide is another patient, say so with "
            "`slidemask cohort --one-slide-one-patient`."
        )


def one_slide_one_patient(cases: Iterable[Case]) -> tuple[Case, ...]:
    """State that every slide which names no patient is a patient of its own, called by its path."""
    return tuple(
        case if case.patient else replace(case, patient=case.slide.as_posix()) for case in cases
    )
