"""Memory that is free again, given back."""

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Give memory that was freed back to the system, where its allocator keeps it (glibc's).

    It keeps what a thread freed for that thread alone: what reading threads held would stay beside
    what the threads that write need.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library, or Windows
        ctypes.CDLL(None).malloc_trim(0)
