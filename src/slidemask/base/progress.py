"""Progress with rate and remaining time: a live line in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias, TypeVar

T = TypeVar("T")
FIRST_S, EVERY_S = 2.0, 10.0

Listener: TypeAlias = Callable[[str, float, float], None]
"""Hears label, amount done and total (0 = unknown)."""

_LISTENER: ContextVar[Listener | None] = ContextVar("progress", default=None)


@contextmanager
def heard_by(listener: Listener) -> Generator[None]:
    """Let `listener` hear of progress in this thread, instead of standard error.

    >>> with heard_by(print):
    ...     Meter("read", 4, "tiles").advance(2)
    read 2.0 4
    """
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


class Meter:
    """Counts what is done and says so on standard error.

    Nothing is said before two seconds have passed; short work stays silent. A terminal gets one
    line that is rewritten, a log file a line every ten seconds.

    Parameters
    ----------
    label : str
        What is being done.
    total : float
        How much there is; 0 = unknown.
    unit : str
        Of what.
    one_line : bool
        Whether a terminal's line may be rewritten; not where several meters speak at once.
    """

    def __init__(self, label: str, total: float, unit: str, *, one_line: bool = True) -> None:
        self.label, self._total, self._unit = label, total, unit
        self._done = self._said = 0.0
        self._began = time.monotonic()
        self._live = one_line and sys.stderr.isatty()
        self._due = self._began + FIRST_S
        self._shown = False
        self._listener = _LISTENER.get()

    def advance(self, amount: float = 1) -> None:
        """Count `amount` as done, and say so when it is time."""
        self._done += amount
        if self._listener is not None:
            self._listener(self.label, self._done, self._total)
            return
        now = time.monotonic()
        if now >= self._due:
            self._due = now + (0.2 if self._live else EVERY_S)
            self._say(now)

    def close(self) -> None:
        """Say the last state, if anything was said at all."""
        if self._shown and self._said < self._done:
            self._say(time.monotonic())
        if self._shown and self._live:
            sys.stderr.write("\n")

    def line(self, elapsed_s: float) -> str:
        """Return what is shown after so many seconds.

        >>> meter = Meter("read", 100, "tiles")
        >>> meter.advance(25)
        >>> meter.line(5.0)
        'read: 25/100 tiles, 5/s, 15 s left'
        """
        rate = self._done / elapsed_s if elapsed_s > 0 else 0.0
        text = f"{self.label}: {self._done:g}"
        if self._total:
            text += f"/{self._total:g}"
        text += f" {self._unit}, {rate:.3g}/s"
        if self._total and rate:
            text += f", {duration((self._total - self._done) / rate)} left"
        return text

    def _say(self, now: float) -> None:
        self._shown, self._said = True, self._done
        text = self.line(now - self._began)
        sys.stderr.write(f"\r{text:<78}" if self._live else f"{text}\n")
        sys.stderr.flush()


def track(items: Iterable[T], label: str, total: float, unit: str) -> Iterator[T]:
    """Yield `items` and show how far it is."""
    meter = Meter(label, total, unit)
    try:
        for item in items:
            yield item
            meter.advance()
    finally:  # what is said of a failure begins on a line of its own
        meter.close()


def duration(seconds: float) -> str:
    """Say a time as people do.

    >>> duration(9.2), duration(75), duration(7300)
    ('9 s', '1 min 15 s', '2 h 1 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
