"""Processes that do not outlive the one that started them, and the cores they may use."""

import os
import threading
from multiprocessing import parent_process


def cores() -> int:
    """Return how many cores this process may use; OMP_NUM_THREADS binds it as it binds PyTorch."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(there or 1, int(told) if told.isdigit() else there or 1))


def end_with_parent() -> None:
    """End this process as soon as its parent does, however that ends.

    Given to a pool of processes as its initializer: the workers of a pool whose parent was killed
    wait for work for ever otherwise.
    """
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # a thread cannot end the process in any gentler way
