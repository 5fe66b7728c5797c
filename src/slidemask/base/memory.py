"""Memory that is free again: given back to the system, or kept."""

import ctypes
import os
from collections.abc import Generator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8  # of malloc.h
_KEEPING = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")
_KEEP_ALL = {_TRIM_THRESHOLD: -1, _MMAP_MAX: 0}
_AS_LEARNT = {_TRIM_THRESHOLD: 64 << 20, _MMAP_THRESHOLD: 32 << 20, _MMAP_MAX: 65536}
"""What glibc arrives at by itself in a program with large arrays; once told, it learns no more."""


def give_back() -> None:
    """Give memory that was freed back to the system, where its allocator keeps it (glibc's).

    It keeps what a thread freed for that thread alone: what reading threads held would stay beside
    what the threads that write need.
    """
    if library := _library():
        library.malloc_trim(0)


def share_freed() -> None:
    """Have glibc's allocator keep what is freed for all threads alike, to the process's end.

    By default each thread keeps its own, up to 32 MB at a time: what several threads have read,
    cut out and packed in turn is then held by each of them. It is for a program's beginning:
    threads that have memory of their own keep it, and after eight such glibc listens no more.
    """
    library = None if _is_told("MALLOC_ARENA_MAX") else _library()
    if library is not None:
        library.mallopt(_ARENA_MAX, 1)


@contextmanager
def freed_kept() -> Generator[None]:
    """Within this, have glibc's allocator keep what is freed for the next who asks.

    By default it maps each large array anew and unmaps it after, and the kernel clears every page:
    where PyTorch computes on the processor, every layer of every batch waits for that. What is
    kept goes back at the end. All threads are concerned, and whoever has told the allocator
    something by the environment has the last word.
    """
    library = None if _is_told(*_KEEPING) else _library()
    if library is None:
        yield
        return
    for option, value in _KEEP_ALL.items():
        library.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in _AS_LEARNT.items():
            library.mallopt(option, value)
        library.malloc_trim(0)


def _is_told(*names: str) -> bool:
    """Whether the environment tells the allocator any of this, or anything by its tunables."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc" in tunables or any(name in os.environ for name in names)


def _library() -> ctypes.CDLL | None:
    """Return the C library if it is glibc, which alone has both of these."""
    try:
        library = ctypes.CDLL(None)
        _ = library.malloc_trim, library.mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or Windows
        return None
    return library
