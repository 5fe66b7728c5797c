"""What computes a job: as a half-done result of it was begun, else as it is asked for."""

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from slidemask.base.errors import OutputError, SlidemaskError
from slidemask.infer.fitting import batch_that_fits
from slidemask.infer.job import Job
from slidemask.infer.reading import probe_tiles
from slidemask.infer.store import JOB
from slidemask.models.backends import Name, with_backend

log = logging.getLogger(__name__)


class Begun(NamedTuple):
    """How a half-done prediction is computed."""

    folder: Path
    backend: Name
    batch: int


def equip(job: Job, name: Name, folders: Iterable[Path] = ()) -> Job:
    """Return the job with its backend and its batch.

    Parameters
    ----------
    job : Job
        With its bundle as loaded.
    name : str
        Backend that is asked for.
    folders : iterable of Path
        Of predictions of this very job, or of parts of it. What the first of them that was begun
        says is kept to, whatever `name` says: so its bands stay those of one computation.

    Raises
    ------
    OutputError
        If what it was begun with is not here any more.
    SettingsError, BundleError
        As `with_backend` raises them.
    """
    begun = next((found for folder in folders if (found := _begun(folder, job))), None)
    if begun is None:
        job = replace(job, bundle=_with(job, name).bundle)
        return replace(job, batch_chosen=batch_that_fits(job))
    if name not in ("auto", begun.backend):
        log.warning(
            "%s was begun with --backend %s and goes on with it, not with %s; --overwrite starts "
            "it again.", job.slide.id, begun.backend, name,
        )  # fmt: skip
    else:
        log.info("%s goes on with %s, as it was begun", job.slide.id, begun.backend)
    try:
        job = _with(job, begun.backend)
    except SlidemaskError as error:
        raise OutputError(
            f"{begun.folder} holds a half-done result of --backend {begun.backend}, which cannot "
            f"go on here. {error} Or pass --overwrite to start this slide again."
        ) from error
    return replace(job, batch_chosen=begun.batch)


def _with(job: Job, name: Name) -> Job:
    bundle = with_backend(
        job.bundle, name, lambda: probe_tiles(job.slide, job.tiles),
        tiles=len(job.tiles), precision=job.blend.precision,
    )  # fmt: skip
    return replace(job, bundle=bundle)


def _begun(folder: Path, job: Job) -> Begun | None:
    """Return how a prediction of this job was begun; None where there is none, or another's."""
    try:
        told: dict[str, Any] = json.loads((folder / JOB).read_text(encoding="utf-8"))
        begun = Begun(folder, told["backend"], int(told["blend"]["batch"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # whoever opens it will say so
    ours = job.identity
    same = all(told.get(key) == ours[key] for key in ("slide", "source", "model", "tile"))
    same &= told.get("device") == ours.get("device")
    asked = job.blend.batch
    if not same or begun.backend not in get_args(Name) or (asked and asked != begun.batch):
        return None
    return begun
