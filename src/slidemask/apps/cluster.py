"""The main job on several machines: Ray hands out slides, and parts of huge ones.

Every task runs the code of a single machine against the same folders on shared storage: bands,
journal and locks decide what is done, so a task whose worker died is simply given to another one,
which goes on where it stopped. Nothing but names and settings travels.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slidemask.base.errors import SettingsError, SlidemaskError
from slidemask.base.lock import seems_locked

if TYPE_CHECKING:
    from slidemask.data.case import Case
    from slidemask.recipes.asked import Asked
    from slidemask.recipes.segment import Model, Options, Outcome, Watch

HUGE = 4000
"""A slide of more tiles than this is cut into parts of about so many."""
AT_ONCE = 1000
"""Slides that Ray knows of at a time: a large cohort is not handed to it as a whole."""
LOOK_S = 2.0
"""How often it is looked which slides have been begun."""
RETRIES = 3
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where tasks run.

    Parameters
    ----------
    address : str
        "local" starts Ray on this machine's cores; "auto" or host:port joins a running cluster.
    cpus : int
        Cores of a task.
    device : str
        With "cuda" each task has a GPU of its own.
    huge : int
        Tiles above which a slide is cut into parts.
    """

    address: str = "local"
    cpus: int = 1
    device: str = "auto"
    huge: int = HUGE


@dataclass(frozen=True)
class _Task:
    """What travels to a worker."""

    case: "Case"
    models: tuple[str, ...]
    folder: Path
    options: "Options"
    device: str


def on_cluster(
    cases: "Sequence[Case]",
    models: Sequence[str],
    out: Path,
    *,
    options: "Options",
    place: Place,
) -> "Callable[[Watch], Iterator[Outcome]]":
    """Return what segments slides on a cluster, as `recipes.segment.segment` does here.

    Slides, models and `out` must lie where every machine finds them under the same path.
    Outcomes come as slides end, in no order. A slide whose workers all died is a failure.

    Raises
    ------
    SettingsError
        If Ray is not installed, or no cluster answers.
    SlidemaskError
        If nothing can begin.
    """
    from slidemask.recipes.segment import output_of, result_folders

    folders = result_folders([case.slide for case in cases], output_of(out))
    absolute = tuple(str(Path(name).resolve()) if Path(name).exists() else name for name in models)
    _models(absolute, place.device, options.changes)  # wrong settings are told before any task
    tasks = [
        _Task(_absolute(case), absolute, folder.resolve(), options, place.device)
        for case, folder in zip(cases, folders, strict=True)
    ]

    given = {task.folder: case.slide for task, case in zip(tasks, cases, strict=True)}

    def run(watch: "Watch") -> "Iterator[Outcome]":
        def tell(outcome: "Outcome") -> "Outcome":
            told = replace(outcome, slide=given[outcome.folder])  # as the caller names it
            watch(told)
            return told

        for outcome in _run(tasks, place, tell):
            yield tell(outcome)

    return run


def _run(
    tasks: Sequence[_Task], place: Place, tell: "Callable[[Outcome], object]"
) -> "Iterator[Outcome]":
    ray = _started(place)
    try:
        needs: dict[str, Any] = {"num_cpus": place.cpus, "max_retries": RETRIES}
        if place.device.startswith("cuda"):
            needs["num_gpus"] = 1
        plan, part, whole = (ray.remote(**needs)(task) for task in (_plan, _part, _whole))
        coming = iter(tasks)
        plans = {plan.remote(task, place.huge): task for task in islice(coming, AT_ONCE)}
        slides: dict[Any, _Task] = {}
        begun, looked = set[Path](), time.monotonic()
        while plans or slides:
            done, _ = ray.wait([*plans, *slides], timeout=LOOK_S)
            if time.monotonic() - looked >= LOOK_S:
                looked = time.monotonic()
                for outcome in _beginning(slides.values(), begun):
                    tell(outcome)
            for one in done:
                if one in plans:
                    unplanned = plans.pop(one)
                    task, ranges = _answer(ray, one, (unplanned, []))
                    parts = [part.remote(task, first, last) for first, last in ranges]
                    slides[whole.remote(task, ranges, *parts)] = task
                    continue
                yield _answer(ray, one, slides.pop(one))
                plans |= {plan.remote(task, place.huge): task for task in islice(coming, 1)}
    finally:
        if place.address == "local":
            ray.shutdown()


def _beginning(tasks: "Iterable[_Task]", begun: set[Path]) -> "Iterator[Outcome]":
    """Yield the state of slides that a worker has begun with since this was asked last."""
    from slidemask.recipes.asked import Outcome, lock_of

    for task in tasks:
        if task.folder not in begun and (
            seems_locked(lock_of(task.folder)) or any(task.folder.glob(".work/parts/*.json"))
        ):
            begun.add(task.folder)
            yield Outcome(task.case.slide, task.folder, "predicting")


def _answer(ray: Any, done: Any, otherwise: Any) -> Any:  # noqa: ANN401 - Ray has no types
    """Return a task's answer; of a slide whose task failed or whose workers died, the failure."""
    try:
        return ray.get(done)
    except ray.exceptions.RayError as error:
        if not isinstance(otherwise, _Task):
            return otherwise
        from slidemask.recipes.segment import Outcome

        if isinstance(error, ray.exceptions.RayTaskError):
            cause = error.cause
            known = isinstance(cause, SlidemaskError)
            note = str(cause) if known else f"{type(cause).__name__}: {cause}"
        else:
            first = str(error).strip().splitlines()[0]
            note = f"its workers died {RETRIES + 1} times ({type(error).__name__}: {first})"
        return Outcome(otherwise.case.slide, otherwise.folder, "failed", note)


def _started(place: Place) -> Any:  # noqa: ANN401 - Ray has no types
    """Return Ray, connected."""
    # No reports of use over the network. Below `uv run`, Ray would have every worker pack this
    # folder and build an environment of its own, for minutes; slidemask is where workers run.
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_UV_RUN_RUNTIME_ENV"):
        os.environ.setdefault(name, "0")
    try:
        import ray
    except ImportError as error:
        raise SettingsError(
            "--cluster needs Ray: pip install 'slidemask[cluster]', on every machine."
        ) from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if place.address == "local":
            ray.init(include_dashboard=False, **quiet)
        else:
            ray.init(address=place.address, **quiet)
    except Exception as error:  # Ray raises bare ones, too
        ray.shutdown()  # what it has started of itself
        raise SettingsError(
            f"Ray cannot be reached at {place.address!r} ({error}). Start a cluster with "
            "`ray start --head`, or use --cluster local; on a busy machine try again."
        ) from error
    return ray


def _plan(task: _Task, huge: int) -> tuple[_Task, list[tuple[int, int]]]:
    """Return a slide's task as it is to be gone on with, and ranges of tile rows.

    Each range has about `huge` tiles; there are none where one task is enough.
    """
    from slidemask.recipes.parts import cleared, tiles_of_rows

    try:
        asked = cleared(_asked(task))
        task = replace(task, options=asked.options)
        if task.options.keep_going:  # what is left out is noted once a slide
            return task, []
        tiles = tiles_of_rows(asked)
    except Exception:  # the slide's own task will say it
        log.debug("%s cannot be planned", task.case.slide, exc_info=True)
        return task, []
    return task, [] if tiles is None else ranges_of(tiles, huge)


def ranges_of(tiles_of_rows: "np.ndarray", huge: int) -> list[tuple[int, int]]:
    """Cut rows into ranges of about equally many tiles, at most about `huge` each.

    >>> ranges_of(np.array([4, 4, 4, 4, 0, 8]), 8)
    [(0, 2), (2, 4), (4, 6)]
    >>> ranges_of(np.array([4, 4]), 8)
    []
    """
    total = int(tiles_of_rows.sum())
    count = -(-total // huge)
    if count < 2:
        return []
    before = np.cumsum(tiles_of_rows)
    cuts = [int(np.searchsorted(before, total * k / count)) + 1 for k in range(1, count)]
    return list(pairwise(sorted({0, *cuts, len(tiles_of_rows)})))


def _part(task: _Task, first: int, last: int) -> bool:
    """Predict some rows of a slide; whether it went well is for the slide's own task to see."""
    from slidemask.recipes.parts import predict_rows

    return predict_rows(_asked(task), range(first, last))


def _whole(task: _Task, ranges: list[tuple[int, int]], *_parts: bool) -> "Outcome":
    """Do a slide: what its parts have done is taken up."""
    from slidemask.recipes.parts import alone

    return alone(_asked(task), [range(first, last) for first, last in ranges])


def _asked(task: _Task) -> "Asked":
    from slidemask.recipes.asked import Asked

    models = _models(task.models, task.device, task.options.changes)
    return Asked(
        task.case, models, task.folder, task.options, threading.Event(), lambda _outcome: None
    )


@cache
def _models(names: tuple[str, ...], device: str, changes: tuple[str, ...]) -> "tuple[Model, ...]":
    """Load the models once a process."""
    from slidemask.models.bundle import Bundle
    from slidemask.recipes.segment import Model

    return tuple(Model.of(Bundle.load(name, device), changes) for name in names)


def _absolute(case: "Case") -> "Case":
    return replace(case, slide=case.slide.resolve())
