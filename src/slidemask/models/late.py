"""A network that is built when it is first asked for.

What computes instead of it (`models.backends`) seldom needs it, and the libraries that build it
take longer to import than all else that a command does before it begins.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slidemask.models.segmenter import Segmenter


class Late:
    """Calls `build` once, whichever thread asks first, and keeps what it gives.

    Parameters
    ----------
    build : callable
        What it raises is raised to whoever asks; the next one tries again.
    """

    def __init__(self, build: "Callable[[], Segmenter]") -> None:
        self._build, self._lock = build, threading.Lock()
        self._built: Segmenter | None = None

    def __call__(self) -> "Segmenter":
        """Return the network."""
        with self._lock:
            if self._built is None:
                self._built = self._build()
            return self._built
