"""Memory that threads freed."""

import platform
import threading
from pathlib import Path

import pytest

from slidemask.base.memory import give_back

MB = 1 << 20


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4096 / MB


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives it back")
def test_what_a_thread_freed_goes_back_to_the_system() -> None:
    held: list[bytes] = []

    def fill() -> None:
        pieces = [b"\1" * 60_000 for _ in range(1000)]
        held.append(pieces[-1])  # the last stays, and keeps the allocator from trimming by itself

    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()
    before = resident_mb()
    give_back()
    assert before - resident_mb() > 30
    assert held[0][:1] == b"\1"


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoTrim:
        """A C library without it."""

    monkeypatch.setattr("slidemask.base.memory.ctypes.CDLL", lambda _: NoTrim())
    give_back()
