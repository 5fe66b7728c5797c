"""Write phantoms: slide, ground truth, and a note that says synthetic."""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from slidemask.base.errors import SettingsError
from slidemask.base.files import output_folder, write_json
from slidemask.base.process import end_with_parent
from slidemask.base.progress import track
from slidemask.base.types import Rgb
from slidemask.data.case import Case
from slidemask.data.cohort import write_cohort
from slidemask.data.phantom.render import BLOCK
from slidemask.data.phantom.settings import PHANTOM_CLASSES, PhantomSettings
from slidemask.data.phantom.slide import PhantomSlide
from slidemask.data.phantom.truth import truth_of
from slidemask.io.geojson import write_geojson
from slidemask.io.pyramid import write_rgb_pyramid

NOTE = (
    "SYNTHETIC: procedural picture, no patient's tissue. It shows that software works, "
    "not how good a model is."
)


@dataclass(frozen=True)
class Phantom:
    """Files of one phantom."""

    slide: Path
    annotations: Path
    note: Path
    patient: str


def write_phantom(
    folder: Path,
    settings: PhantomSettings | None = None,
    seed: int = 0,
    *,
    patient: int | None = None,
) -> Phantom:
    """Write `phantom-SEED.tif`, `.geojson` and `.json` in bounded memory.

    Parameters
    ----------
    folder : Path
        Made if need be.
    settings : PhantomSettings, optional
    seed : int
        Equal settings, seed and patient give equal files.
    patient : int, optional
        Draws the stain; the seed where not given.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """
    slide = PhantomSlide(settings or PhantomSettings(), seed, seed if patient is None else patient)
    files = _files(output_folder(folder), slide)
    write_rgb_pyramid(
        files.slide, bands(slide), slide.size, mpp=slide.mpp, description=f"{slide.id}. {NOTE}"
    )
    write_geojson(files.annotations, truth_of(slide), PHANTOM_CLASSES)
    write_json(files.note, _note(slide, files))
    return files


def write_phantom_cohort(
    folder: Path,
    patients: int = 3,
    slides_per_patient: int = 1,
    settings: PhantomSettings | None = None,
    *,
    seed: int = 0,
    workers: int = 1,
) -> Path:
    """Write the slides of several patients and a `cohort.csv`; return the latter's path.

    The last fifth of the patients, at least one, is for the test, the fifth before it for
    validation, all others for training. The stain is a patient's own. A slide whose note is there
    already was written before, by a run that was stopped, and is left as it is.

    Parameters
    ----------
    folder : Path
        Made if need be.
    patients, slides_per_patient : int
    settings : PhantomSettings, optional
    seed : int
        Equal settings and seed give equal files.
    workers : int
        Processes that paint; the files do not depend on it.

    Raises
    ------
    SettingsError
        If there are fewer than three patients, or no slides.
    """
    if patients < 3 or slides_per_patient < 1:
        raise SettingsError(
            f"A cohort needs 3 patients (train, validation, test) with a slide each, got "
            f"{patients} with {slides_per_patient}. Ask for more."
        )
    settings = settings or PhantomSettings()
    first = seed * patients
    slides = [
        PhantomSlide(settings, patient * slides_per_patient + number, patient)
        for patient in range(first, first + patients)
        for number in range(slides_per_patient)
    ]
    output_folder(folder)
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
        written = pool.map(_written, [folder] * len(slides), slides)
        done = list(track(written, "phantoms", len(slides), "slides"))
    cases = [
        Case(
            files.slide,
            files.annotations,
            files.patient,
            _part(slide.patient - first, patients),
            settings.mpp,
            "phantom",
        )
        for files, slide in zip(done, slides, strict=True)
    ]
    write_cohort(folder / "cohort.csv", cases)
    return folder / "cohort.csv"


def _written(folder: Path, slide: PhantomSlide) -> Phantom:
    """Write one slide unless a run before this one did; its note is written last."""
    files = _files(folder, slide)
    if files.note.exists() and json.loads(files.note.read_text()) == _note(slide, files):
        return files
    return write_phantom(folder, slide.settings, slide.seed, patient=slide.patient)


def _files(folder: Path, slide: PhantomSlide) -> Phantom:
    stem = folder / slide.id
    return Phantom(
        stem.with_suffix(".tif"),
        stem.with_suffix(".geojson"),
        stem.with_suffix(".json"),
        f"phantom-patient-{slide.patient}",
    )


def bands(slide: PhantomSlide) -> Iterator[tuple[int, Rgb]]:
    """Paint a slide from top to bottom, `BLOCK` rows at a time."""
    width, height = slide.size
    columns = -(-width // BLOCK)
    for top in range(0, height, BLOCK):
        band = np.empty((BLOCK, columns * BLOCK, 3), np.uint8)
        for column in range(columns):
            left = column * BLOCK
            band[:, left : left + BLOCK] = slide.painter.block(top // BLOCK, column)
        yield top, band[: height - top, :width]
        del band  # before the next is made: a band of 150,000 px is 230 MB


def _part(patient: int, patients: int) -> str:
    fifth = max(1, round(patients / 5))
    if patient >= patients - fifth:
        return "test"
    return "validation" if patient >= patients - 2 * fifth else "train"


def _note(slide: PhantomSlide, files: Phantom) -> dict[str, object]:
    layout = slide.layout
    area = sum(piece.outline.area for piece in layout.pieces)
    return {
        "synthetic": True,
        "note": NOTE,
        "slide": files.slide.name,
        "annotations": files.annotations.name,
        "seed": slide.seed,
        "patient": files.patient,
        "settings": slide.settings.model_dump(mode="json"),
        "holds": {
            "tissue_mm2": round(area * layout.mpp**2 / 1e6, 4),
            "pieces": len(layout.pieces),
            "glands": len(layout.glands),
            "lymphoid_clusters": int(np.sum([each.true for each in layout.clusters])),
            "decoys": int(np.sum([not each.true for each in layout.clusters])),
            "pens": [pen.ink for pen in layout.pens],
        },
    }
