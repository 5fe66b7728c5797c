"""States of a cohort's slides while they are segmented: a live table, or plain lines."""

import heapq
import logging
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from slidemask.base.errors import OutputError
from slidemask.base.progress import duration, heard_by

if TYPE_CHECKING:  # importing it loads torch
    from slidemask.recipes.asked import Outcome

NOTES = {
    "done": "done",
    "there": "was done before",
    "elsewhere": "is being done elsewhere",
    "failed": "FAILED",
}
_COLOURS = {"done": "green", "there": "green", "failed": "red", "elsewhere": "yellow"}
_AROUND = 10
"""Lines of the terminal that are left to head, foot and what is printed above."""


@dataclass
class _Line:
    """What is shown of one slide."""

    name: str
    state: str = "waiting"
    note: str = ""
    share: float | None = None
    since: float = 0.0
    seconds: str = ""
    area: str = ""
    objects: str = ""


class Board:
    """What is known of every slide; it may be told from several threads.

    Parameters
    ----------
    slides : sequence of Path
        In the order in which they are segmented.
    """

    def __init__(self, slides: Sequence[Path]) -> None:
        self._lines = [_Line(path.name) for path in slides]
        self._place = {path: number for number, path in enumerate(slides)}
        self._predicting: dict[str, _Line] = {}  # by result folder; the last was begun last

    def tell(self, outcome: "Outcome") -> None:
        """Take up a change of a slide's state."""
        line = self._lines[self._place[outcome.slide]]
        if line.state == "waiting" or outcome.state == "predicting":
            line.since = time.monotonic()
        line.state, line.note, line.share = outcome.state, outcome.message, None
        told = {name: one for name, one in self._predicting.items() if one is not line}
        self._predicting = told | (
            {outcome.folder.name: line} if outcome.state == "predicting" else {}
        )
        if outcome.state in {"done", "there"}:
            line.seconds, line.area, line.objects = _figures(outcome.folder)

    def progress(self, label: str, done: float, total: float) -> None:
        """Take up how far a slide is: the one of that result folder, else the one begun last."""
        at_work = self._predicting
        line = at_work.get(label) or next(reversed(at_work.values()), None)
        if line is not None and total:
            line.share = done / total

    def table(self, rows: int) -> Table:
        """Return at most `rows` lines around the slides that are under way, and the counts."""
        counts = Counter(self._group(line) for line in self._lines)
        foot = ", ".join(f"{number} {state}" for state, number in counts.items())
        table = Table(caption=foot, caption_justify="left", box=None, pad_edge=False)
        table.add_column("slide", overflow="fold")
        table.add_column("state")
        for name in ("time", "mm²", "objects"):
            table.add_column(name, justify="right")
        for line in self._window(max(1, rows)):
            style = _COLOURS.get(line.state, "" if line.state == "waiting" else "bold")
            table.add_row(
                line.name, _state(line), _time(line), line.area, line.objects, style=style
            )
        return table

    def _group(self, line: _Line) -> str:
        return line.state if line.state == "waiting" or line.state in NOTES else "under way"

    def _window(self, rows: int) -> list[_Line]:
        """Return the lines nearest to one that is under way, all of these first."""
        lines = self._lines
        middles = [n for n, line in enumerate(lines) if self._group(line) == "under way"]
        if not middles:
            waiting = (n for n, line in enumerate(lines) if line.state == "waiting")
            middles = [next(waiting, len(lines))]

        def away(number: int) -> int:
            after = bisect_left(middles, number)
            return min(abs(number - middle) for middle in middles[max(0, after - 1) : after + 1])

        return [lines[n] for n in sorted(heapq.nsmallest(rows, range(len(lines)), key=away))]


@contextmanager
def board_for(slides: Sequence[Path]) -> Generator["Board | None"]:
    """Show a live table while the block runs, where a terminal shows it; else give None."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield None
        return
    board, console = Board(slides), Console(stderr=True)
    with ExitStack() as stack:
        stack.enter_context(
            Live(
                get_renderable=lambda: board.table(console.height - _AROUND),
                console=console,
                refresh_per_second=4,
            )
        )
        stack.enter_context(_logging_above(console))
        stack.enter_context(heard_by(board.progress))
        yield board


@contextmanager
def _logging_above(console: Console) -> Generator[None]:
    """Let log lines appear above the table instead of in it."""
    original = console.file
    changed = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is original
    ]
    for handler in changed:
        handler.setStream(sys.stderr)  # which the table has redirected
    try:
        yield
    finally:
        for handler in changed:
            handler.setStream(original)


def say(outcome: "Outcome", board: Board | None) -> None:
    """Print what became of a slide where there is no table; failures are told at the end."""
    if board is not None:
        return
    line = f"{outcome.slide.name}: {NOTES[outcome.state]}  {outcome.folder}"
    told = outcome.message and outcome.state != "failed"
    typer.echo(f"{line}: {outcome.message}" if told else line)


def _figures(folder: Path) -> tuple[str, str, str]:
    """Return seconds, area and objects of a finished slide."""
    from slidemask.recipes.results import read_summary

    try:
        summary = read_summary(folder)
    except OutputError:  # the table only shows
        return "", "", ""
    classes = summary["classes"].values()
    areas = [found["area_mm2"] for found in classes]
    area = "" if None in areas else f"{sum(areas):.2f}"
    objects = sum(found["objects"] for found in classes)
    return duration(summary["seconds"]["total"]), area, f"{objects:,}"


def _state(line: _Line) -> str:
    if line.state in NOTES:
        return NOTES[line.state]
    share = "" if line.share is None else f"{100 * line.share:.0f} %"
    return " ".join(word for word in (line.state, line.note, share) if word)


def _time(line: _Line) -> str:
    if line.state == "waiting" or line.state in NOTES:
        return line.seconds
    return duration(time.monotonic() - line.since)
