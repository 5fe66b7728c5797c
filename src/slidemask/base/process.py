"""Processes that do not outlive the one that started them."""

import os
import threading
from multiprocessing import parent_process


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
