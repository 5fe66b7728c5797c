"""Where the time goes: seconds by stage."""

import time
from collections.abc import Generator
from contextlib import contextmanager


class Stages:
    """Seconds spent in each named stage; stages may be entered again and do not nest.

    >>> stages = Stages()
    >>> with stages.stage("read"):
    ...     pass
    >>> list(stages.seconds)
    ['read']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Add the time of the block to `name`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
