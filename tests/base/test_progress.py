"""Progress lines: none for short work, one rewritten line in a terminal, plain lines elsewhere."""

import io
import sys

import pytest

from slidemask.base import progress
from slidemask.base.progress import Meter, duration, track


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock.monotonic)
    return clock


def run(clock: Clock, seconds_each: float, count: int, total: float = 100) -> None:
    meter = Meter("read", total, "tiles")
    for _ in range(count):
        clock.now += seconds_each
        meter.advance()
    meter.close()


def said(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> io.StringIO:
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_short_work_is_silent(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (io.StringIO(), Terminal()):
        said(monkeypatch, stream)
        run(clock, 0.019, 100)
        assert stream.getvalue() == ""


def test_a_log_file_gets_whole_lines_ten_seconds_apart(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = said(monkeypatch, io.StringIO())
    run(clock, 0.5, 100)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "read: 4/100 tiles, 2/s, 48 s left"
    assert lines[1] == "read: 24/100 tiles, 2/s, 38 s left"
    assert lines[-1] == "read: 100/100 tiles, 2/s, 0 s left"
    assert len(lines) == 6  # at 2, 12, 22, 32, 42 s and at the end
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_one_line_that_is_rewritten(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = said(monkeypatch, Terminal())
    run(clock, 0.5, 100)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    frames = text.rstrip("\n").split("\r")[1:]
    assert len(frames) == 97  # from the fourth tile on, each
    assert frames[-1].strip() == "read: 100/100 tiles, 2/s, 0 s left"
    assert {len(frame) for frame in frames} == {78}  # so that a shorter one hides a longer one


def test_an_unknown_total_names_no_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = said(monkeypatch, io.StringIO())
    run(clock, 1.0, 3, total=0)
    assert stream.getvalue().splitlines() == ["read: 2 tiles, 1/s", "read: 3 tiles, 1/s"]


def test_track_yields_everything_and_ends_its_line_when_work_fails(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = said(monkeypatch, Terminal())
    assert list(track("abc", "letters", 3, "letters")) == ["a", "b", "c"]

    def fails() -> None:
        for number in track(range(10), "work", 10, "parts"):
            clock.now += 3
            if number == 4:
                raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert stream.getvalue().endswith("\n")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_durations_round_over_the_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words
