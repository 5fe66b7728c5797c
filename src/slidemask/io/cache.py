"""Decoded tiles and pictures of all open slides, in one bounded store per process."""

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from slidemask.base.types import Rgb


class TileCache:
    """The most recently used arrays, up to a number of bytes; the last one always stays.

    One store for all slides, so that a cohort of a thousand open slides takes no more than one.

    >>> import numpy as np
    >>> cache = TileCache(bytes_held=20)
    >>> for key in "abac":
    ...     _ = cache.get(key, lambda: np.zeros((1, 3, 3), np.uint8))
    >>> cache.keys()
    ('a', 'c')
    """

    def __init__(self, bytes_held: int) -> None:
        self._limit, self._held = bytes_held, 0
        self._lock = threading.Lock()
        self._arrays: OrderedDict[Hashable, Rgb] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Rgb]) -> Rgb:
        """Return the array under `key`, made now if it is not held; never write to it."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        made = make()  # outside the lock, so that threads decode side by side
        with self._lock:
            if key not in self._arrays:
                self._arrays[key] = made
                self._held += made.nbytes
            while self._held > self._limit and len(self._arrays) > 1:
                self._held -= self._arrays.popitem(last=False)[1].nbytes
        return made

    def forget(self, owner: int) -> None:
        """Drop all arrays whose key is a tuple that begins with `owner`."""
        with self._lock:
            for key in [k for k in self._arrays if isinstance(k, tuple) and k[0] == owner]:
                self._held -= self._arrays.pop(key).nbytes

    def renew_lock(self) -> None:
        """Forget who holds the lock: a forked process lacks the thread that would free it."""
        self._lock = threading.Lock()

    def keys(self) -> tuple[Hashable, ...]:
        """Return what is held, the longest unused first."""
        return tuple(self._arrays)


HELD_BYTES = 96 << 20
"""On a slide of 150,000 px a side as good as 128 MB; 64 MB would have a fifth decoded twice."""
TILES = TileCache(HELD_BYTES)
"""The process's store."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TILES.renew_lock)

new_owner = itertools.count().__next__
"""Give each open file a number to begin its keys with."""
