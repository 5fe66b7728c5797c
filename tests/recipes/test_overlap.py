"""Three steps, neighbours beside each other: order, bounds, ends."""

import threading
from collections.abc import Iterator

import pytest

from slidemask.recipes.overlap import overlapped


class Log:
    """Which steps are under way, and how many at most together."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now: set[tuple[str, int]] = set()
        self.most = 0
        self.pairs: set[frozenset[tuple[str, int]]] = set()
        self.dropped: list[int] = []
        self.stopped = threading.Event()
        self.barrier = threading.Barrier(2, timeout=5)

    def step(self, name: str, item: int, *, meet: bool = False) -> int:
        with self.lock:
            self.now.add((name, item))
            self.most = max(self.most, len(self.now))
        if meet:
            self.barrier.wait()
        with self.lock:
            self.pairs.add(frozenset(self.now))
            self.now.discard((name, item))
        return item


def run(log: Log, count: int, *, meeting: tuple[tuple[str, int], ...] = ()) -> Iterator[int]:
    def step(name: str):
        return lambda item: log.step(name, item, meet=(name, item) in meeting)

    return overlapped(
        range(count),
        step("prepare"),
        step("work"),
        step("finish"),
        drop=log.dropped.append,
        stop=log.stopped.set,
    )


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_order_and_two_are_under_way_at_most(count: int) -> None:
    log = Log()
    assert list(run(log, count)) == list(range(count))
    assert log.most <= 2
    assert not log.stopped.is_set()
    assert not log.dropped


def test_a_finish_runs_beside_the_next_work_and_a_preparation_beside_the_last() -> None:
    log = Log()
    meeting = (("finish", 0), ("work", 1))  # each waits for the other: else the barrier breaks
    assert list(run(log, 3, meeting=meeting)) == [0, 1, 2]
    log = Log()
    assert list(run(log, 3, meeting=(("prepare", 2), ("work", 1)))) == [0, 1, 2]


def test_an_interrupted_work_stops_the_rest_and_frees_what_was_prepared() -> None:
    log = Log()

    def interrupted(item: int) -> int:
        if item == 1:
            raise KeyboardInterrupt
        return item

    def finish(item: int) -> int:
        assert log.stopped.wait(5), "nobody told it to stop"
        return item

    results = overlapped(
        range(5), lambda item: item, interrupted, finish,
        drop=log.dropped.append, stop=log.stopped.set,
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        list(results)
    assert log.dropped in ([], [2])  # prepared already, or never


def test_who_asks_for_no_more_ends_it() -> None:
    log = Log()
    results = run(log, 9)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert log.stopped.is_set()
    assert not log.now
