"""A cohort on several devices of one machine: a process each, which asks for the next slide.

The slides are dealt by the process that was started: one at a time, so that no slide is tried
twice and none waits behind a slow one. Slides of a process that died are dealt again, once.
Locks keep others away as ever: another machine that shares the folder takes its own share.
"""

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

import torch

from slidemask.base.errors import SlidemaskError
from slidemask.base.process import cores, end_with_parent
from slidemask.base.progress import Meter, heard_by
from slidemask.data.case import Case
from slidemask.models.bundle import Bundle
from slidemask.recipes.asked import FINAL, Asked, Options, Outcome, Watch
from slidemask.recipes.oneslide import attempting, drop, finish, predict, prepare
from slidemask.recipes.overlap import overlapped
from slidemask.recipes.segment import output_of, result_folders
from slidemask.recipes.use import Model, common_post

TRIES = 2
"""How often a slide is begun whose process dies."""
EVERY_S = 0.5
"""How often progress is told."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Work:
    """What a process is told when it starts."""

    cases: tuple[Case, ...]
    folders: tuple[Path, ...]
    models: tuple[str, ...]
    options: Options
    cores: int
    level: int
    """Of log lines."""


@dataclass
class _Worker:
    """A process, seen from the one that deals."""

    device: str
    process: SpawnProcess
    slides: set[int] = field(default_factory=set)
    parked: bool = False
    """Whether it has asked for a slide and waits for an answer."""
    at: int | None = None
    """The slide that it predicts."""
    meter: Meter | None = None
    done: float = 0.0


def segment_on(
    devices: Sequence[str],
    cases: Sequence[Case],
    models: Sequence[str],
    out: Path,
    *,
    options: Options,
) -> Callable[[Watch], Iterator[Outcome]]:
    """Return what segments slides on several devices, as `recipes.segment.segment` does on one.

    Outcomes come as slides end, in no order.

    Parameters
    ----------
    devices : sequence of str
        One for each process; processes on the "cpu" share its cores.
    cases : sequence of Case
    models : sequence of str
        Names or paths of bundles, as `Bundle.load` takes them.
    out : Path
        A folder for each slide is made in it.
    options : Options

    Raises
    ------
    SlidemaskError
        If nothing can begin, as `segment` raises it.
    """
    loaded = [Model.of(Bundle.load(name, "cpu"), options.changes) for name in models]
    common_post([model.use.post for model in loaded])  # what is wrong is told before all starts
    folders = result_folders([case.slide for case in cases], output_of(out))
    on_cpu = sum(device == "cpu" for device in devices)
    work = _Work(
        tuple(cases), tuple(folders), tuple(models), options,
        cores=max(1, cores() // on_cpu) if on_cpu else 0,
        level=logging.getLogger().getEffectiveLevel(),
    )  # fmt: skip
    return lambda watch: _Dealer(work, watch).run(devices)


class _Dealer:
    """Hands out slides and hears what becomes of them."""

    def __init__(self, work: _Work, watch: Watch) -> None:
        self._work, self._watch = work, watch
        self._waiting = deque(range(len(work.cases)))
        self._begun = Counter[int]()
        self._workers: dict[Any, _Worker] = {}

    def run(self, devices: Sequence[str]) -> Iterator[Outcome]:
        context = get_context("spawn")
        try:
            for device in devices:
                self._start(context, device)
            while self._workers:
                for connection in wait(list(self._workers)):
                    assert isinstance(connection, Connection)  # noqa: S101 - nothing else was given
                    yield from self._heard(connection)
                self._answer_parked()
            for number in self._waiting:
                yield self._failed(number, "no process was left that could begin it")
        finally:
            for worker in self._workers.values():
                worker.process.terminate()
            for worker in self._workers.values():
                worker.process.join()

    def _start(self, context: SpawnContext, device: str) -> None:
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(self._work, device, theirs), name=device, daemon=True
        )
        process.start()
        theirs.close()
        self._workers[ours] = _Worker(device, process)

    def _heard(self, connection: Connection) -> Iterator[Outcome]:
        """Take up one message, or a process' end."""
        worker = self._workers[connection]
        try:
            what, told = connection.recv()
        except (EOFError, OSError):
            yield from self._ended(connection)
            return
        if what == "next":
            self._deal(connection, ahead=told)
        elif what == "progress":
            self._show(worker, *told)
        elif what == "cannot":
            raise SlidemaskError(told)
        else:
            number, outcome = told
            if outcome.state == "predicting":
                worker.at = number
            if outcome.state not in FINAL:
                outcome = replace(outcome, message=f"on {worker.device}")
            self._watch(outcome)
            if outcome.state in FINAL:
                worker.slides.discard(number)
                yield outcome

    def _deal(self, connection: Connection, *, ahead: bool) -> None:
        """Answer with the next slide.

        One that is only prepared ahead is given while enough are left for all others.
        """
        worker = self._workers[connection]
        if ahead and len(self._waiting) < len(self._workers):
            _send(connection, None)
        elif self._waiting:
            number = self._waiting.popleft()
            self._begun[number] += 1
            worker.slides.add(number)
            _send(connection, number)
        else:
            worker.parked = True

    def _answer_parked(self) -> None:
        """Let those who wait have what came back, or go when nothing can come back any more."""
        busy = any(worker.slides for worker in self._workers.values())
        for connection, worker in self._workers.items():
            if worker.parked and (self._waiting or not busy):
                worker.parked = False
                if self._waiting:
                    self._deal(connection, ahead=False)
                else:
                    _send(connection, None)

    def _ended(self, connection: Connection) -> Iterator[Outcome]:
        worker = self._workers.pop(connection)
        connection.close()
        worker.process.join()
        if worker.meter is not None:
            worker.meter.close()
        code = worker.process.exitcode
        for number in sorted(worker.slides):
            if self._begun[number] < TRIES:
                log.warning(
                    "the process on %s ended (exit code %s); %s is begun by another",
                    worker.device, code, self._work.cases[number].slide,
                )  # fmt: skip
                self._waiting.appendleft(number)
            else:
                why = f"{TRIES} processes that were at it ended, the last with exit code {code}"
                yield self._failed(number, why)

    def _show(self, worker: _Worker, label: str, done: float, total: float) -> None:
        """Show a worker's progress as if it were ours, by the name of the slide's folder."""
        name = label if worker.at is None else self._work.folders[worker.at].name
        if worker.meter is None or worker.meter.label != name or done < worker.done:
            if worker.meter is not None:
                worker.meter.close()
            alone = len(self._workers) == 1
            worker.meter, worker.done = Meter(name, total, "tiles", one_line=alone), 0.0
        worker.meter.advance(done - worker.done)
        worker.done = done

    def _failed(self, number: int, why: str) -> Outcome:
        outcome = Outcome(self._work.cases[number].slide, self._work.folders[number], "failed", why)
        self._watch(outcome)
        return outcome


def _send(connection: Connection, number: int | None) -> None:
    try:
        connection.send(number)
    except OSError:
        log.debug("a process ended before it heard", exc_info=True)  # its end will be heard


def _serve(work: _Work, device: str, connection: Connection) -> None:
    """Segment slides on one device until none is left: a process' whole life."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=work.level)
    end_with_parent()
    if device == "cpu":
        os.environ["OMP_NUM_THREADS"] = str(work.cores)
        torch.set_num_threads(work.cores)
    line = _Line(connection)
    try:
        bundles = [Bundle.load(name, device) for name in work.models]
        models = [Model.of(bundle, work.options.changes) for bundle in bundles]
        with heard_by(line.progress):
            _take_slides(work, models, line)
    except SlidemaskError as error:
        line.say("cannot", str(error))
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)  # stopped; readers and writers that are under way end with the process


def _take_slides(work: _Work, models: list[Model], line: "_Line") -> None:
    stop = threading.Event()

    def asked(number: int) -> Asked:
        def watch(outcome: Outcome) -> None:
            line.say("outcome", (number, outcome))

        case, folder = work.cases[number], work.folders[number]
        return Asked(case, models, folder, work.options, stop, watch)

    while (first := line.next(ahead=False)) is not None:
        numbers = chain([first], iter(partial(line.next, ahead=True), None))
        for _ in overlapped(
            map(asked, numbers),
            attempting(prepare),
            attempting(predict),
            attempting(finish),
            drop=drop,
            stop=stop.set,
        ):
            pass  # who deals has heard


class _Line:
    """The connection to who deals, for all threads of a process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._said = 0.0

    def say(self, what: str, told: object) -> None:
        with self._lock:
            self._connection.send((what, told))

    def next(self, *, ahead: bool) -> int | None:
        """Ask for a slide; only one thread does."""
        self.say("next", ahead)
        return self._connection.recv()

    def progress(self, label: str, done: float, total: float) -> None:
        if done >= total or time.monotonic() - self._said > EVERY_S:
            self._said = time.monotonic()
            self.say("progress", (label, done, total))
