"""What is asked of `segment` for each slide, and what it answers."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slidemask.data.case import Case
from slidemask.models.backends import Name
from slidemask.recipes.use import Model

LOCKS = ".locks"
FINAL = ("done", "there", "elsewhere", "failed")
"""States after which nothing more happens to a slide in this run."""


@dataclass(frozen=True)
class Options:
    """What the caller of `segment` may choose.

    Parameters
    ----------
    changes : tuple of str
        "key=value" on the bundle's tiling, filters, blend and post.
    probability : bool
        Also write `probability.ome.tif`.
    overwrite : bool
        Replace results of other settings.
    threads : int
        Reading threads.
    keep_going : bool
        Leave out tiles that cannot be read, and mark what no other tile covers as unknown.
    backend : {"auto", "torch", "openvino", "onnxruntime", "int8"}
        What computes on a processor (`models.backends`).
    """

    changes: tuple[str, ...] = ()
    probability: bool = False
    overwrite: bool = False
    threads: int = 2
    keep_going: bool = False
    backend: Name = "auto"


@dataclass(frozen=True)
class Outcome:
    """What became of one slide, or how far it is."""

    slide: Path
    folder: Path
    state: str
    """'done', 'there' (was finished before), 'elsewhere' (another process is at it) or 'failed';
    before that 'opening', 'predicting', 'writing'."""
    message: str = ""


Watch = Callable[[Outcome], None]
"""Is told of every change of a slide's state at once; calls come from two threads."""


@dataclass(frozen=True)
class Asked:
    """A slide, and what is to be done with it.

    Parameters
    ----------
    case : Case
    models : sequence of Model
    folder : Path
        Of the result.
    options : Options
    stop : Event
        When it is set, files that are being written are given up.
    watch : callable
    """

    case: Case
    models: Sequence[Model]
    folder: Path
    options: Options
    stop: threading.Event
    watch: Watch

    def became(self, state: str, message: str = "") -> Outcome:
        """Return the outcome, or the state, and tell whoever watches."""
        outcome = Outcome(self.case.slide, self.folder, state, message)
        self.watch(outcome)
        return outcome

    @property
    def lock(self) -> Path:
        """What a process holds that works on this slide."""
        return lock_of(self.folder)

    @property
    def asked(self) -> "Asked":
        """Itself, as every step's input has it."""
        return self

    def close(self) -> None:
        """Nothing is open yet."""


def lock_of(folder: Path) -> Path:
    """Return what a process holds that works on the slide of a result folder."""
    return folder.parent / LOCKS / f"{folder.name}.lock"
