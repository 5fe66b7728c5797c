"""Memory that threads freed."""

import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from slidemask.base.memory import freed_kept, give_back, share_freed

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


def untold() -> dict[str, str]:
    """The environment, without what it may tell the allocator."""
    told = ("MALLOC_", "GLIBC_TUNABLES")
    return {name: value for name, value in os.environ.items() if not name.startswith(told)}


def faults(of: int, megabytes: int = 50) -> int:
    """Pages that the kernel hands to this thread while large arrays come and go."""
    import resource

    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(of):
        np.ones(megabytes * MB, np.uint8)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_within_freed_memory_is_kept_and_after_it_no_more() -> None:
    script = "import test_memory; test_memory.kept_within_and_after_it_no_more()"
    command = [sys.executable, "-c", script]  # of its own: what other tests freed lies elsewhere
    done = subprocess.run(
        command,
        cwd=Path(__file__).parent,
        env=untold(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def kept_within_and_after_it_no_more() -> None:
    with freed_kept():
        faults(1)  # the first is handed out in any case
        within, held = faults(4), resident_mb()
    assert held - resident_mb() > 40
    assert faults(4) > 10 * within
    first, again = faults(4, megabytes=20), faults(4, megabytes=20)
    assert first > 10 * again  # what is no larger is kept, as glibc does when it has learnt
    at_rest, many = resident_mb(), [np.ones(30 * MB, np.uint8) for _ in range(5)]
    del many
    assert resident_mb() < at_rest + 70


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize(
    ("told", "kept", "shared"),
    [
        ("MALLOC_MMAP_MAX_=0", True, False),
        ("MALLOC_ARENA_MAX=2", False, True),
        ("GLIBC_TUNABLES=glibc.malloc.mmap_max=0", True, True),
        ("OTHER=1", False, False),
    ],
)
def test_what_the_environment_says_stays(told: str, kept: bool, shared: bool) -> None:
    script = (
        "from slidemask.base import memory\nmemory._library = lambda: print('told the allocator')\n"
    )
    name, _, value = told.partition("=")
    for call, stays in (("with memory.freed_kept(): pass", kept), ("memory.share_freed()", shared)):
        command = [sys.executable, "-c", script + call]
        done = subprocess.run(
            command, env=untold() | {name: value}, capture_output=True, text=True, check=True
        )
        assert bool(done.stdout) != stays


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("shared", [False, True])
def test_threads_take_memory_from_one_place_if_told(shared: bool) -> None:
    script = (
        "import ctypes, threading\n"
        "from slidemask.base.memory import share_freed\n"
        f"{'share_freed()' if shared else 'pass'}\n"
        "both = threading.Barrier(2)\n"
        "def take():\n"
        "    both.wait(); held = [b'1' * 60_000 for _ in range(100)]; both.wait(); return held\n"
        "threads = [threading.Thread(target=take) for _ in range(2)]\n"
        "[one.start() for one in threads]; [one.join() for one in threads]\n"
        "library = ctypes.CDLL(None)\n"
        "library.fdopen.restype = ctypes.c_void_p\n"
        "library.malloc_info(0, ctypes.c_void_p(library.fdopen(1, b'w'))); library.fflush(None)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=untold(), capture_output=True, text=True, check=True)
    assert (done.stdout.count("<heap") == 1) == shared


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoTrim:
        """A C library without it."""

    monkeypatch.setattr("slidemask.base.memory.ctypes.CDLL", lambda _: NoTrim())
    give_back()
    share_freed()
    with freed_kept():
        pass
