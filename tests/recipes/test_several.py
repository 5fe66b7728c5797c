"""Slides dealt to processes: each once, also when one dies; the answers are those of one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from journey import discs, save_dark_bundle, write_png
from slidemask.apps.board import Board
from slidemask.base.errors import BundleError, SlidemaskError
from slidemask.base.progress import heard_by
from slidemask.data.case import Case
from slidemask.io.maskfile import open_mask
from slidemask.models.bundle import Bundle
from slidemask.recipes import several
from slidemask.recipes.asked import Options, Outcome, Watch
from slidemask.recipes.segment import segment
from slidemask.recipes.several import _Dealer, _Line, _Work, segment_on

Serve = Callable[[_Work, str, Connection], int]


class Thread(threading.Thread):
    """Stands for a process: `serve` returns its exit code, and its end closes the pipe."""

    exitcode = 0

    def __init__(self, serve: Serve, args: tuple[_Work, str, Connection]) -> None:
        super().__init__(daemon=True)
        self._serve, self._told = serve, args
        self._line = args[2]

    def run(self) -> None:
        self.exitcode = self._serve(*self._told)
        self._line.close()

    def terminate(self) -> None:
        pass


def dealt(
    slides: int,
    devices: int,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    watch: Watch = lambda _: None,
) -> list[Outcome]:
    """Let threads that run `serve` stand for processes."""
    work = _Work(
        tuple(Case(Path(f"{n}.svs")) for n in range(slides)),
        tuple(Path(f"{n}") for n in range(slides)), (), Options(), 0, 30,
    )  # fmt: skip
    told: list[Outcome] = []

    def hear(outcome: Outcome) -> None:
        told.append(outcome)
        watch(outcome)

    dealer = _Dealer(work, hear)

    def start(_: object, device: str) -> None:
        ours, theirs = Pipe()
        args: Any = (work, device, theirs)
        thread: Any = Thread(serve, args)
        dealer._workers[ours] = several._Worker(device, thread)
        thread.start()

    monkeypatch.setattr(dealer, "_start", start)
    found = list(dealer.run([f"cuda:{n}" for n in range(devices)]))
    assert sorted(o.slide for o in found) == sorted({c.slide for c in work.cases}), "each once"
    assert all(outcome in told for outcome in found)
    return found


def outcome(work: _Work, number: int, state: str) -> Outcome:
    return Outcome(work.cases[number].slide, work.folders[number], state)


def numbers(line: _Line) -> Iterator[int]:
    while (first := line.next(ahead=False)) is not None:
        yield first
        while (number := line.next(ahead=True)) is not None:
            yield number


def well(work: _Work, _device: str, connection: Connection) -> int:
    line = _Line(connection)
    for number in numbers(line):
        line.say("outcome", (number, outcome(work, number, "predicting")))
        line.say("outcome", (number, outcome(work, number, "done")))
    return 0


@pytest.mark.parametrize(("slides", "devices"), [(0, 2), (1, 3), (2, 2), (7, 2), (9, 4)])
def test_every_slide_is_dealt_once(
    slides: int, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(o.state == "done" for o in dealt(slides, devices, well, monkeypatch))


def test_two_slides_are_shared_by_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is first does not take the second one to prepare it: somebody else is free for it."""
    both, by = threading.Barrier(2), []

    def serve(work: _Work, device: str, connection: Connection) -> int:
        line = _Line(connection)
        number = line.next(ahead=False)
        assert number is not None
        taken = [number, *iter(lambda: line.next(ahead=True), None)]
        with suppress(threading.BrokenBarrierError):
            both.wait(5)
        for number in taken:
            by.append(device)
            line.say("outcome", (number, outcome(work, number, "done")))
        assert line.next(ahead=False) is None
        return 0

    dealt(2, 2, serve, monkeypatch)
    assert sorted(by) == ["cuda:0", "cuda:1"]


def test_slides_of_a_process_that_died_are_dealt_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def serve(work: _Work, device: str, connection: Connection) -> int:
        if device == "cuda:0":
            line = _Line(connection)
            number = line.next(ahead=False)
            assert number is not None
            line.say("outcome", (number, outcome(work, number, "predicting")))
            return -9
        return well(work, device, connection)

    found = dealt(5, 2, serve, monkeypatch)
    assert all(o.state == "done" for o in found)
    assert "the process on cuda:0 ended (exit code -9)" in caplog.text


def test_a_slide_that_kills_is_given_up_and_the_rest_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def serve(work: _Work, _device: str, connection: Connection) -> int:
        line = _Line(connection)
        for number in numbers(line):
            if number == 1:
                return -11
            line.say("outcome", (number, outcome(work, number, "done")))
        return 0

    found = {o.slide.stem: o for o in dealt(4, 3, serve, monkeypatch)}
    assert found["1"].state == "failed"
    assert "2 processes that were at it ended, the last with exit code -11" in found["1"].message
    assert {found[name].state for name in "023"} == {"done"}


def test_when_all_have_died_what_is_left_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dealt(3, 2, lambda *_: 1, monkeypatch)
    assert {o.message for o in found} == {"no process was left that could begin it"}


def test_what_a_process_cannot_do_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(_work: _Work, _device: str, connection: Connection) -> int:
        _Line(connection).say("cannot", "no room for the network")
        return 0

    with pytest.raises(SlidemaskError, match="no room for the network"):
        dealt(2, 2, serve, monkeypatch)


def test_progress_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, float, float]] = []

    def serve(work: _Work, _device: str, connection: Connection) -> int:
        line = _Line(connection)
        for number in numbers(line):
            line.say("outcome", (number, outcome(work, number, "predicting")))
            for done in (5, 10):
                line.say("progress", ("a stem that two slides may share", done, 10))
            line.say("outcome", (number, outcome(work, number, "done")))
        return 0

    with heard_by(lambda *told: heard.append(told)):
        dealt(2, 1, serve, monkeypatch)
    assert heard == [("0", 5, 10), ("0", 10, 10), ("1", 5, 10), ("1", 10, 10)]
    heard.clear()
    with heard_by(lambda *told: heard.append(told)):
        dealt(6, 2, serve, monkeypatch)
    assert sorted(heard) == [(str(n), done, 10) for n in range(6) for done in (5, 10)]


def test_the_table_shows_every_device_s_slide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are under way when both tell how far they are, the one begun first as the last."""
    both, first_said = threading.Barrier(2), threading.Event()
    shown: dict[str, tuple[str, str, float | None]] = {}

    def serve(work: _Work, _device: str, connection: Connection) -> int:
        line = _Line(connection)
        number = line.next(ahead=False)
        assert number is not None
        line.say("outcome", (number, outcome(work, number, "predicting")))
        both.wait(5)
        if number:
            line.say("progress", ("same", 30, 100))
            first_said.set()
        else:
            first_said.wait(5)
            line.say("progress", ("same", 70, 100))
        both.wait(5)
        line.say("outcome", (number, outcome(work, number, "failed")))
        assert line.next(ahead=False) is None
        return 0

    board = Board([Path(f"{n}.svs") for n in range(2)])

    def watch(outcome: Outcome) -> None:
        if outcome.state == "failed":  # each device's own messages come in order
            line = board._lines[int(outcome.slide.stem)]
            shown[outcome.slide.stem] = (line.state, line.note, line.share)
        board.tell(outcome)

    with heard_by(board.progress):
        dealt(2, 2, serve, monkeypatch, watch)
    devices = sorted(note for _, note, _ in shown.values())
    assert devices == ["on cuda:0", "on cuda:1"]
    assert {n: (state, share) for n, (state, _, share) in shown.items()} == {
        "0": ("predicting", 0.7), "1": ("predicting", 0.3),
    }  # fmt: skip


def test_wrong_models_are_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        segment_on(["cpu", "cpu"], [], [str(tmp_path / "none")], tmp_path, options=Options())


@pytest.mark.slow
def test_two_real_processes_write_what_one_does(tmp_path: Path) -> None:
    model = save_dark_bundle(tmp_path / "model")
    cases = [
        Case(write_png(tmp_path / f"{n}.png", discs(150, 200, seed=n)[0]), mpp=0.5)
        for n in range(4)
    ]
    (tmp_path / "3.png").write_bytes(b"no picture")
    run = segment_on(["cpu", "cpu"], cases, [str(model)], tmp_path / "two", options=Options())
    found = {outcome.slide.stem: outcome for outcome in run(lambda _: None)}
    assert [found[name].state for name in "0123"] == ["done", "done", "done", "failed"]
    list(segment(cases[:3], Bundle.load(model, "cpu"), tmp_path / "one", Options()))
    for name in "012":
        with (
            open_mask(tmp_path / "one" / name / "mask.ome.tif") as one,
            open_mask(tmp_path / "two" / name / "mask.ome.tif") as two,
        ):
            np.testing.assert_array_equal(one.rows(0, 150), two.rows(0, 150))
