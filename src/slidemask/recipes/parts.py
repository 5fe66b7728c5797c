"""One slide on several machines: what is done once, parts of its rows, and the rest."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from slidemask.base.files import output_folder
from slidemask.base.lock import in_its_folder, locked
from slidemask.infer.cascade import narrow
from slidemask.infer.job import Job
from slidemask.infer.predict import part_lock, predict_part
from slidemask.recipes.asked import Asked, Outcome
from slidemask.recipes.oneslide import (
    PARTS,
    WORK,
    Predicted,
    Ready,
    attempting,
    coarse_folder,
    finish,
    jobs_of,
    predict,
    prepare,
    remove_results,
    tiles_of,
)

log = logging.getLogger(__name__)


def cleared(asked: Asked) -> Asked:
    """Remove what --overwrite is to replace, once for all tasks of a slide that follow.

    Returns
    -------
    Asked
        That goes on with what the first of them makes; the same where another process is at it.
    """
    if not asked.options.overwrite:
        return asked
    with locked(asked.lock) as holder:
        if holder is not None:
            return asked
        remove_results(asked.folder)
    return replace(asked, options=replace(asked.options, overwrite=False))


def tiles_of_rows(asked: Asked) -> NDArray[np.int64] | None:
    """Return how many tiles each row of the grid has that a network is to see.

    Of a cascade, those that its coarse network leaves; it is asked here, for all that follow.
    None where the slide cannot be cut into parts, is finished, or another process is at it.
    """
    ready = prepare(asked)
    if not isinstance(ready, Ready):
        return None
    with ready.resources:
        model = asked.models[0]
        if ready.tiles is None or len(asked.models) > 1 or model.bundle.info.model.votes:
            return None
        job = Job(ready.slide, ready.tiles[0], model.bundle, model.use.blend, ready.source)
        if model.bundle.coarse is not None:
            if ready.resources.enter_context(locked(asked.lock)) is not None:
                return None
            to = coarse_folder(ready, 0)
            asked_for = asked.options
            job = narrow(
                job, model.use.cascade, to, ready.stages,
                backend=asked_for.backend, threads=asked_for.threads,
            )  # fmt: skip
        return job.tiles.kept.sum(axis=1)


def alone(asked: Asked, parts: Sequence[range] = ()) -> Outcome:
    """Do all of a slide; take up what `predict_rows` has done of these rows."""

    def predict_rest(ready: Ready) -> Predicted | Outcome:
        return predict(ready, parts)

    return attempting(finish)(attempting(predict_rest)(attempting(prepare)(asked)))


def predict_rows(asked: Asked, rows: range) -> bool:
    """Predict some rows of a slide's tiles, as one machine of several; say whether it went well.

    What goes wrong is left to the slide's own task, which meets it again.
    """
    try:
        return _predict_rows(asked, rows)
    except Exception:  # else the slide's own task would not be begun
        log.debug("%s, rows %s", asked.case.slide, rows, exc_info=True)
        return False


def _predict_rows(asked: Asked, rows: range) -> bool:
    ready = prepare(asked)
    if not isinstance(ready, Ready):
        return False
    with ready.resources:
        in_its_folder(asked.lock)  # else a share that went away is made anew on the disk beneath
        work = output_folder(output_folder(asked.folder) / WORK / PARTS)
        name = f"{rows.start}-{rows.stop}"
        if ready.resources.enter_context(locked(part_lock(work / name))) is not None:
            return False
        tiles = ready.tiles or tiles_of(ready)
        (job,) = jobs_of(ready, [ready.slide], tiles, coarse=work / f"{name}-coarse")
        predict_part(job, work / name, ready.stages, rows=rows, threads=asked.options.threads)
    return True
