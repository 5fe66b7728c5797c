"""Items through three steps, the middle one here, the others of their neighbours beside it."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
W = TypeVar("W")


def overlapped(
    items: Iterable[T],
    prepare: Callable[[T], A],
    work: Callable[[A], B],
    finish: Callable[[B], W],
    *,
    drop: Callable[[A], None],
    stop: Callable[[], None],
) -> Generator[W]:
    """Yield `finish(work(prepare(item)))` of each item, in order.

    While `work` is at one item, in the thread that asks for results, another thread finishes the
    last item and then prepares the next: beside the one that is worked on there is never more
    than one under way. A result is yielded when the next item has been worked on.

    Parameters
    ----------
    items : iterable
    prepare, work, finish : callable
        The steps; they turn failures into results themselves. What one raises ends it all.
    drop : callable
        Frees what was prepared, where it ends early.
    stop : callable
        Is called when it ends early; a `finish` that is under way had better end then.

    Examples
    --------
    >>> list(overlapped("ab", str.upper, ord, chr, drop=print, stop=print))
    ['A', 'B']
    """
    coming = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="beside") as beside:

        def next_one() -> Future[A] | None:
            for item in coming:
                return beside.submit(prepare, item)
            return None

        last: Future[W] | None = None
        ahead = next_one()
        try:
            while ahead is not None:
                ready = ahead.result()
                ahead = next_one()
                worked = work(ready)
                if last is not None:
                    yield last.result()
                last = beside.submit(finish, worked)
            if last is not None:
                yield last.result()
        except BaseException:
            stop()
            if ahead is not None and not ahead.cancel():
                with suppress(Exception):
                    drop(ahead.result())
            raise
