"""Folds by patient: as many trainings, each scored on what it has not learnt from.

The first table of Frank (rs-122564/v3, 2022): three folds by slide, each fold's network scored on
its validation slides and on the test slides, which no fold has seen; then all networks together.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from slidemask.base.errors import CohortError, SlidemaskError
from slidemask.base.files import output_folder
from slidemask.data.case import Case
from slidemask.data.split import folds, split_cases
from slidemask.data.table import listed
from slidemask.evaluate.evaluation import Evaluation
from slidemask.evaluate.slidelabels import SlideLabels
from slidemask.models.bundle import Bundle
from slidemask.recipes.recipe import Recipe
from slidemask.recipes.scoring import evaluate
from slidemask.recipes.study.labels import labels_of
from slidemask.recipes.study.process import in_own_process
from slidemask.recipes.study.row import (
    Means,
    Row,
    Segmenting,
    Training,
    segment_all,
    segment_cases,
    trained,
)
from slidemask.recipes.study.sweep import annotated

log = logging.getLogger(__name__)
PARTS: Final = ("validation", "test")
POOLED_MODELS: Final = "all folds' models together"


@dataclass(frozen=True, eq=False)
class PartScore:
    """One part's slides, segmented and scored."""

    evaluation: Evaluation
    labels: SlideLabels
    segmenting: Segmenting


@dataclass(frozen=True, eq=False)
class FoldDone:
    """What became of one fold.

    Parameters
    ----------
    label : str
    training : Training, optional
        None for all folds' models together, which are not trained again.
    parts : dict
        'validation' and 'test', as far as they hold annotated slides.
    """

    label: str
    training: Training | None
    parts: dict[str, PartScore]


def rows_of_folds(
    recipe: Recipe, cases: Sequence[Case], out: Path, *, k: int, means: Means
) -> list[Row]:
    """Return a row for each fold, in whose cases the fold's parts are stated.

    Train and validation part are taken together and dealt anew, patients kept together and
    groups balanced; the test part stays as it is.

    Parameters
    ----------
    recipe : Recipe
        Its split decides on the test part, and its split's seed deals the folds.
    cases : sequence of Case
        The whole cohort.
    out : Path
        Folders `fold 1`, `fold 2`, … are made in it.
    k : int
        How many folds.
    means : Means

    Raises
    ------
    CohortError
        If a patient is missing, k is below 2, or there are fewer patients than folds.
    LeakError
        If a file's content stands in two folds, or in a fold and the test part.
    """
    parts = split_cases(cases, recipe.split)
    test = [replace(case, split="test") for case in parts["test"]]
    dealt = folds([*parts["train"], *parts["validation"]], k, recipe.split.seed)
    output_folder(out)
    return [
        Row(
            f"fold {number}", recipe, out / f"fold {number}",
            (*(replace(case, split=part) for part in fold for case in fold[part]), *test), means,
        )
        for number, fold in enumerate(dealt, start=1)
    ]  # fmt: skip


def do_folds(
    rows: Sequence[Row], *, pooled: bool = False
) -> Iterator[tuple[str, list[FoldDone], dict[str, str]]]:
    """Do one fold after the other, then all folds' models together on the test slides.

    Parameters
    ----------
    rows : sequence of Row
        As `rows_of_folds` gives them.
    pooled : bool
        Whether the models are also used together. On validation slides they are not: each of
        these was learnt from by all models but one.

    Yields
    ------
    (str, list of FoldDone, dict)
        What became of the fold, all that are done, and the messages of those that failed.
    """
    done: list[FoldDone] = []
    failures: dict[str, str] = {}
    for label in [row.label for row in rows] + [POOLED_MODELS] * pooled:
        try:
            row = next((row for row in rows if row.label == label), None)
            done.append(_do_pooled(rows, failures) if row is None else _do_fold(row))
            said = f"{label}: done"
        except Exception as error:  # whatever ails one fold, the others go on
            log.debug("%s failed", label, exc_info=True)
            known = isinstance(error, SlidemaskError)
            failures[label] = str(error) if known else f"{type(error).__name__}: {error}"
            said = f"{label}: FAILED: {failures[label]}"
        yield said, done, failures


def _do_fold(row: Row) -> FoldDone:
    training = trained(row)
    wanted = {part: cases for part in PARTS if (cases := annotated(row.part(part)))}
    times = in_own_process(_segment_parts, (row, wanted))
    scores = {part: _scored(row.folder / part, wanted[part], times[part]) for part in wanted}
    return FoldDone(row.label, training, scores)


def _segment_parts(job: tuple[Row, dict[str, tuple[Case, ...]]]) -> dict[str, Segmenting]:
    row, wanted = job
    return {part: segment_all((row, cases, row.folder / part)) for part, cases in wanted.items()}


def _scored(folder: Path, cases: Sequence[Case], times: Segmenting) -> PartScore:
    evaluation, _ = evaluate(folder, cases, overwrite=True)  # they are this study's own
    return PartScore(evaluation, labels_of(evaluation, folder), times)


def _do_pooled(rows: Sequence[Row], failures: dict[str, str]) -> FoldDone:
    if failures:
        raise CohortError(f"This needs every fold's model, and {listed(list(failures))} failed.")
    cases = annotated(rows[0].part("test"))
    if not cases:
        raise CohortError(
            "No annotated case in the test part, on which alone all models may be used together."
        )
    folder = rows[0].folder.parent / "together"
    times = in_own_process(_segment_together, (tuple(rows), cases, folder))
    return FoldDone(POOLED_MODELS, None, {"test": _scored(folder, cases, times)})


def _segment_together(job: tuple[tuple[Row, ...], tuple[Case, ...], Path]) -> Segmenting:
    rows, cases, to = job
    means = rows[0].means
    bundles = [Bundle.load(row.run, means.device) for row in rows]
    return segment_cases(bundles, cases, to, means)
