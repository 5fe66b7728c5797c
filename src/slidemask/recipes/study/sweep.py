"""Any recipe keys varied, every combination trained several times, every threshold scored.

The study of Testouri (MSc thesis, Liège 2020) is one such sweep: widths 4, 8, 16, 32, ten
thresholds, ten models of each width. The network segments each slide once; what it says is kept as
counts, from which every threshold's scores follow.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slidemask.base.errors import CohortError, SlidemaskError
from slidemask.base.files import output_folder
from slidemask.data.case import Case
from slidemask.models.bundle import Bundle
from slidemask.recipes.recipe import Recipe
from slidemask.recipes.study.cells import Axis, Cell, cells_of, recipe_of
from slidemask.recipes.study.counting import Counted, count_slides
from slidemask.recipes.study.process import in_own_process
from slidemask.recipes.study.row import Means, Row, Training, trained

log = logging.getLogger(__name__)
PARTS = ("validation", "test")


@dataclass(frozen=True)
class Trial:
    """One training of one cell, still to be done.

    Parameters
    ----------
    cell : Cell
    repeat : int
        Added to the recipe's seeds.
    row : Row
        Its recipe and folder.
    """

    cell: Cell
    repeat: int
    row: Row

    @property
    def label(self) -> str:
        """As failures name it."""
        return f"{self.cell.label}, repeat {self.repeat}"


@dataclass(frozen=True, eq=False)
class Tried:
    """A trial that is done: its cost, and what its network says of each part's slides."""

    trial: Trial
    training: Training
    parts: dict[str, Counted]


def trials_of(
    recipe: str | Path, axes: Sequence[Axis], repeats: int, changes: Sequence[str] = ()
) -> list[Trial]:
    """Return every trial of a sweep, one repeat of all cells before the next repeat.

    A sweep that is stopped has then tried every cell about equally often. Folders and cases are
    still to come.

    Raises
    ------
    SettingsError
        If a key or a value is wrong: before anything is trained.
    """
    cells = cells_of(axes)
    return [
        _trial(cell, repeat, recipe_of(recipe, cell, repeat, changes))
        for repeat in range(repeats)
        for cell in cells
    ]


def placed_trials(
    trials: Sequence[Trial], cases: Sequence[Case], out: Path, means: Means
) -> list[Trial]:
    """Give each trial its folder below `out` and the cohort.

    Raises
    ------
    CohortError
        If no validation slide is annotated: cells are chosen by them.
    """
    if not annotated(replace(trials[0].row, cases=tuple(cases)).part("validation")):
        raise CohortError("No annotated case in the validation part, by which cells are chosen.")
    output_folder(out)
    return [
        replace(
            trial,
            row=replace(trial.row, folder=out / trial.row.folder, cases=tuple(cases), means=means),
        )
        for trial in trials
    ]


def sweep(trials: Sequence[Trial]) -> Iterator[tuple[str, list[Tried], dict[str, str]]]:
    """Do one trial after the other.

    Yields
    ------
    (str, list of Tried, dict)
        What became of the trial, all that are done, and the messages of those that failed.
    """
    done: list[Tried] = []
    failures: dict[str, str] = {}
    for trial in trials:
        try:
            done.append(_try(trial))
            said = f"{trial.label}: done"
        except Exception as error:  # whatever ails one trial, the others go on
            log.debug("%s failed", trial.label, exc_info=True)
            known = isinstance(error, SlidemaskError)
            failures[trial.label] = str(error) if known else f"{type(error).__name__}: {error}"
            said = f"{trial.label}: FAILED: {failures[trial.label]}"
        yield said, done, failures


def _trial(cell: Cell, repeat: int, recipe: Recipe) -> Trial:
    return Trial(cell, repeat, Row(cell.label, recipe, cell.folder / str(repeat), ()))


def annotated(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the cases that can be scored."""
    return tuple(case for case in cases if case.annotations or case.complete)


def _try(trial: Trial) -> Tried:
    row = trial.row
    training = trained(row)
    wanted = [name for name in PARTS if annotated(row.part(name))]
    missing = [name for name in wanted if not _counts(row, name).exists()]
    if missing or row.means.overwrite:
        in_own_process(_count, (row, tuple(wanted)))
    return Tried(trial, training, {name: Counted.load(_counts(row, name)) for name in wanted})


def _counts(row: Row, part: str) -> Path:
    return row.folder / f"{part}.npz"


def _count(job: tuple[Row, tuple[str, ...]]) -> None:
    row, parts = job
    bundle = Bundle.load(row.run, row.means.device)
    for part in parts:
        counted = count_slides(
            bundle, annotated(row.part(part)), row.folder, max(1, row.means.workers)
        )
        counted.save(_counts(row, part))
