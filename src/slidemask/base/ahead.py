"""Work done beside the caller's: the next item is made, or looked at, while this one is used."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Queue
from threading import Event
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(items: Iterable[T]) -> Generator[T]:
    """Yield the same items; each but the first is made in a thread while the one before is used.

    At most one item waits. What making one raises is raised when it is asked for; when the caller
    stops early, `items` is closed if it is a generator.

    >>> list(ahead(number * number for number in range(4)))
    [0, 1, 4, 9]
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        coming = pool.submit(next, source, end)
        try:
            while (item := coming.result()) is not end:
                coming = pool.submit(next, source, end)
                yield item  # type: ignore[misc]  # not the end, so one of the items
        finally:
            coming.cancel()
            if isinstance(source, Generator):
                pool.submit(source.close).result()


@contextmanager
def looking_on(
    items: Iterable[T], work: Callable[[Iterator[T]], R], waiting: int = 1
) -> Generator[tuple[Iterator[T], Future[R]]]:
    """Give the same items, and what `work` makes of them in a thread while they are used.

    At most `waiting` items wait for it. If it raises, the items go on, and the future raises. Left
    early, `work` sees the items end.

    >>> with looking_on(range(4), sum) as (same, total):
    ...     print(list(same), total.result())
    [0, 1, 2, 3] 6
    """
    queue, end, ended = Queue[Any](waiting), object(), Event()

    def seen() -> Iterator[T]:
        while not ended.is_set():
            if (item := queue.get()) is end:
                ended.set()
            else:
                yield item

    def looked_at() -> R:
        try:
            return work(seen())
        finally:
            for _ in seen():  # nobody is to wait for a place in the queue
                pass

    def same() -> Generator[T]:
        try:
            for item in items:
                queue.put(item)
                yield item
        finally:
            queue.put(end)

    passing = same()
    with ThreadPoolExecutor(1, thread_name_prefix="looking on") as pool:
        future = pool.submit(looked_at)
        try:
            yield passing, future
        finally:
            passing.close()
            queue.put(end)  # if it was never begun
