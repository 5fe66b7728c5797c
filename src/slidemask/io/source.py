"""What a file format has to offer to become a slide, and what formats share."""

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from slidemask.base.errors import SlideError
from slidemask.base.types import Rgb
from slidemask.geometry.box import Size
from slidemask.io.mpp import PixelSize
from slidemask.io.resample import Window


class Closable(Protocol):
    """An open file of any kind."""

    def close(self) -> None:
        """Free what it holds."""
        ...


class Source(Protocol):
    """Stored pixels of one slide file; `fetch` may be called from several threads at once."""

    @property
    def reader(self) -> str:
        """Name of the format as `slidemask info` shows it."""
        ...

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Sizes of the levels, finest first."""
        ...

    @property
    def pixel_size(self) -> PixelSize:
        """What the file says of its resolution."""
        ...

    def fetch(self, level: int, window: Window) -> Rgb:
        """Give the stored pixels of a window that lies inside the level."""
        ...

    def forget(self) -> None:
        """Drop decoded pixels, where it costs little to decode them again."""
        ...

    def close(self) -> None:
        """Close every file handle."""
        ...


Handle = TypeVar("Handle", bound=Closable)


class PerThread(Generic[Handle]):
    """One handle for each thread, opened when it first asks, all closed together.

    A forked process opens its own, since a handle's position in the file would be shared.
    """

    def __init__(self, opener: Callable[[], Handle]) -> None:
        self._opener = opener
        self._handles: dict[tuple[int, threading.Thread], Handle] = {}
        self._closed = False
        weakref.finalize(self, _close_all, self._handles)

    def get(self) -> Handle:
        """Return this thread's handle."""
        key = os.getpid(), threading.current_thread()
        handle = self._handles.get(key)
        if handle is None:
            if self._closed:
                raise SlideError("this slide was closed; open it again")
            self._drop_dead()
            handle = self._handles[key] = self._opener()
        return handle

    def drop(self) -> None:
        """Close this thread's handle, so that the next read opens a fresh one."""
        handle = self._handles.pop((os.getpid(), threading.current_thread()), None)
        if handle is not None:
            handle.close()

    def close(self) -> None:
        """Close the handles of all threads for good."""
        self._closed = True
        _close_all(self._handles)

    def _drop_dead(self) -> None:
        for key in [key for key in tuple(self._handles) if not key[1].is_alive()]:
            handle = self._handles.pop(key, None)
            if handle is not None:
                handle.close()


def _close_all(handles: dict[tuple[int, threading.Thread], Handle]) -> None:
    while handles:
        handles.popitem()[1].close()


def flattened(rgba: np.ndarray, background: tuple[int, int, int] = (255, 255, 255)) -> Rgb:
    """Lay (H, W, 4) straight-alpha pixels on a background colour.

    >>> flattened(np.array([[[0, 0, 0, 0], [9, 8, 7, 255]]], np.uint8))
    array([[[255, 255, 255],
            [  9,   8,   7]]], dtype=uint8)
    """
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    share = alpha.astype(np.float32) / 255
    mixed = rgba[..., :3] * share + np.array(background, np.float32) * (1 - share)
    return (mixed + 0.5).astype(np.uint8)


class OpenFile:
    """A file that any thread reads at any place, until it is closed.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = PerThread(lambda: path.open("rb", buffering=0))

    def close(self) -> None:
        """Close the file."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, offset: int, count: int) -> bytes:
        file = self._files.get()
        file.seek(offset)
        return file.read(count)
