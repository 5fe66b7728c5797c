"""Items made ahead are the same items, and nothing is left running."""

import itertools
import threading
from collections.abc import Iterator

import pytest

from slidemask.base.ahead import ahead, looking_on


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


def test_both_see_all_items_and_one_waits_for_the_other():
    ahead_by: list[int] = []

    def slow(items: Iterator[int]) -> int:
        total = 0
        for item in items:
            ahead_by.append(taken[-1] - item)
            total += item
        return total

    taken = [0]
    with looking_on(range(200), slow, waiting=3) as (same, total):
        taken.extend(same)
        assert total.result() == sum(range(200))
    assert taken[1:] == list(range(200))
    assert max(ahead_by) <= 4


@pytest.mark.parametrize("closing", [False, True])
def test_who_looks_on_and_fails_stops_nobody(closing: bool):
    def fails(items: Iterator[int]) -> None:
        for _ in ahead(items) if closing else items:  # the former closes what it is given
            raise KeyError("outline")

    with looking_on(range(50), fails, waiting=1) as (same, result):
        assert list(same) == list(range(50))
        with pytest.raises(KeyError, match="outline"):
            result.result()


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_left_early_it_sees_the_end_and_leaves_no_thread(taken: int):
    seen: list[int] = []
    with looking_on(range(50), seen.extend) as (same, _):
        assert list(itertools.islice(same, taken)) == list(range(taken))
    assert seen == list(range(taken))
    assert not [one for one in threading.enumerate() if one.name.startswith("looking on")]


def test_what_an_item_raises_reaches_the_caller():
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"), looking_on(items(), list) as (same, _):
        list(same)
