"""Work in a process of its own, so that its peak memory and its seconds are its own."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from slidemask.base.errors import TrainingError
from slidemask.base.process import end_with_parent

T = TypeVar("T")
Argument = TypeVar("Argument")


def in_own_process(work: Callable[[Argument], T], argument: Argument) -> T:
    """Call `work(argument)` in a new, spawned process and return what it returns.

    The process ends with its parent, however that ends: a killed study leaves nothing behind
    that still writes.

    Parameters
    ----------
    work : callable
        A function of a module.
    argument
        What can be pickled.

    Raises
    ------
    TrainingError
        If the process died, as it does when memory runs out.
    Exception
        Whatever `work` raises.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), end_with_parent) as pool:
        try:
            return pool.submit(work, argument).result()
        except BrokenProcessPool as error:
            raise TrainingError(
                "The process died without a word; most often the memory was not enough. Use a "
                "smaller schedule.batch, or fewer --workers."
            ) from error
