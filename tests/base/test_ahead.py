"""Items made ahead are the same items, and nothing is left running."""

import threading
from collections.abc import Iterator

import pytest

from slidemask.base.ahead import ahead


def test_the_next_item_is_made_while_this_one_is_used():
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    for number in ahead(items()):
        assert number == 2 or made[number + 1].wait(20)


def test_what_an_item_raises_comes_in_its_place():
    def items() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(KeyboardInterrupt):
        next(found)


def test_stopping_early_closes_the_source_and_leaves_no_thread():
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.set()

    found = ahead(items())
    assert next(found) == 0
    found.close()
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_any_iterable_will_do_and_none_at_all():
    assert list(ahead([])) == []
    assert list(ahead("ab")) == ["a", "b"]
