"""Work done beside the caller's: the next item is made while this one is used."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


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
