"""Find the slides in photos by several models and score what was found; resumable."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from slidemask.base.errors import SettingsError, SlidemaskError
from slidemask.base.files import output_folder
from slidemask.base.progress import track
from slidemask.evaluate.outlines import PhotoScore, score_photo
from slidemask.models.backends import Name, load
from slidemask.recipes.photo.cases import PhotoCase
from slidemask.recipes.photo.crops import changed_settings
from slidemask.recipes.photo.store import FoundIn, Store, digest_of

FOUND: Final = "found.json"


@dataclass(frozen=True)
class PhotoJob:
    """One model that is to be scored.

    Parameters
    ----------
    label : str
        As tables write it.
    model : str
        As `Bundle.load` takes it.
    folder : Path
        Of what it finds.
    device : str
    changes : tuple of str
        "photo.key=value" on the bundle's photo settings.
    overwrite : bool
        Search all photos anew.
    backend : str
        What computes the network (`models.backends`).
    """

    label: str
    model: str
    folder: Path
    device: str = "auto"
    changes: tuple[str, ...] = ()
    overwrite: bool = False
    backend: Name = "torch"


@dataclass(frozen=True, eq=False)
class PhotoRow:
    """One model's results on all photos.

    Parameters
    ----------
    job : PhotoJob
    cases : tuple of PhotoCase
        Photos that could be read.
    found : tuple of FoundIn
    scores : tuple of PhotoScore
    megabytes : float
        Of the weights' file.
    device : str
    """

    job: PhotoJob
    cases: tuple[PhotoCase, ...]
    found: tuple[FoundIn, ...]
    scores: tuple[PhotoScore, ...]
    megabytes: float
    device: str

    @property
    def milliseconds(self) -> float:
        """Median time from a photo's pixels to its outlines."""
        return 1000 * statistics.median(found.seconds for found in self.found)


@dataclass(frozen=True, eq=False)
class PhotoStudy:
    """All models so far.

    Parameters
    ----------
    rows : tuple of PhotoRow
    failures : dict
        Messages, by model or "model: photo".
    """

    rows: tuple[PhotoRow, ...] = ()
    failures: dict[str, str] = field(default_factory=dict)


def jobs_of(
    models: Sequence[str],
    out: Path,
    *,
    device: str,
    changes: Sequence[str],
    overwrite: bool,
    backend: Name = "torch",
) -> list[PhotoJob]:
    """Return a job for each model, labelled by the last part of its path where that will do.

    Raises
    ------
    SettingsError
        If a model is named twice.

    Examples
    --------
    >>> jobs = jobs_of(["runs/a/bundle", "photo"], Path("out"), device="cpu", changes=(),
    ...                overwrite=False)
    >>> [job.label for job in jobs]
    ['a', 'photo']
    """
    if twice := sorted({model for model in models if list(models).count(model) > 1}):
        raise SettingsError(f"--model {', '.join(twice)} was given twice; name each model once.")
    paths = [Path(model) for model in models]
    shorter = [path.parent if path.name == "bundle" else path for path in paths]
    short = [path.stem if path.suffix == ".zip" else path.name for path in shorter]
    labels = [
        name if name and short.count(name) == 1 else model
        for name, model in zip(short, models, strict=True)
    ]
    folders = [out / label.strip("/").replace("/", "-") for label in labels]
    return [
        PhotoJob(label, model, folder, device, tuple(changes), overwrite, backend)
        for label, model, folder in zip(labels, models, folders, strict=True)
    ]


def study_photos(
    jobs: Sequence[PhotoJob], cases: Sequence[PhotoCase]
) -> Iterator[tuple[str, PhotoStudy]]:
    """Search all photos by one model after the other.

    Yields
    ------
    (str, PhotoStudy)
        What became of the model, and everything so far.
    """
    study = PhotoStudy()
    for job in jobs:
        failures = dict(study.failures)
        try:
            row, faults = score_model(job, cases)
        except SlidemaskError as error:
            failures[job.label] = str(error)
            said, study = f"{job.label}: FAILED: {error}", PhotoStudy(study.rows, failures)
        else:
            failures |= {f"{job.label}: {photo}": message for photo, message in faults.items()}
            study = PhotoStudy((*study.rows, row), failures)
            said = f"{job.label}: {len(row.scores)} photos, {row.milliseconds:.0f} ms each"
        yield said, study


def score_model(job: PhotoJob, cases: Sequence[PhotoCase]) -> tuple[PhotoRow, dict[str, str]]:
    """Find the slides of all photos, but for those found before, and score them.

    Returns
    -------
    PhotoRow
    dict
        Messages of photos that could not be read, by file name.

    Raises
    ------
    BundleError
        If the model is not for photos.
    OutputError
        If its folder holds what another model, or other settings, have found.
    SlidemaskError
        If no photo could be read.
    """
    bundle = load(job.model, job.device, job.backend)
    settings = changed_settings(bundle, job.changes)
    store = Store(
        output_folder(job.folder) / FOUND, digest_of(bundle, settings), overwrite=job.overwrite
    )
    faults: dict[str, str] = {}
    read, found = list[PhotoCase](), list[FoundIn]()
    try:
        for case in track(cases, job.label, len(cases), "photos"):
            try:
                found.append(
                    store.get(case.photo) or store.put(case.photo, bundle, settings, job.backend)
                )
                read.append(case)
            except (SlidemaskError, OSError) as error:
                faults[case.photo.name] = str(error)
    finally:
        store.save()
    if not found:
        raise SlidemaskError(f"no photo could be read; the first: {next(iter(faults.values()))}")
    scores = [
        score_photo(case.true, each.shapes, each.size)
        for case, each in zip(read, found, strict=True)
    ]
    weights = bundle.source and (
        bundle.source / "weights.safetensors" if bundle.source.is_dir() else bundle.source
    )
    megabytes = weights.stat().st_size / 1e6 if weights else float("nan")
    row = PhotoRow(job, tuple(read), tuple(found), tuple(scores), megabytes, str(bundle.device))
    return row, faults
