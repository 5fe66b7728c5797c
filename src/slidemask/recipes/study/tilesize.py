"""Which tile size? Entropy rails for each, and a training for each."""

import logging
from collections.abc import Sequence
from pathlib import Path

from slidemask.base.errors import CohortError, SettingsError
from slidemask.data.case import Case
from slidemask.data.split import split_cases
from slidemask.data.spread import Spread, marked
from slidemask.recipes.recipe import Recipe, load_recipe
from slidemask.recipes.study.rails import measure_rails
from slidemask.recipes.study.row import Row

log = logging.getLogger(__name__)


def parse_sizes(text: str) -> tuple[int, ...]:
    """Read "64,128,256": tile sides in pixels, each once.

    >>> parse_sizes("64, 256")
    (64, 256)
    """
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 8 or len(set(sizes)) < len(sizes):
        raise SettingsError(
            f"--at wants tile sides in pixels, each once, e.g. 64,128; got {text!r}."
        )
    return sizes


def rows_of_sizes(
    recipe: str | Path, sizes: Sequence[int], changes: Sequence[str] = ()
) -> list[Row]:
    """Return a row for each tile size, on whole slides too; folders and cases are still to come.

    Raises
    ------
    SettingsError
        If the recipe is wrong at one of the sizes.
    """
    whole = load_recipe(recipe, changes).whole is not None
    rows = []
    for size in sizes:
        cut = [f"tiling.tile_px={size}", *([f"whole.tile_px={size}"] if whole else [])]
        sized = load_recipe(recipe, [*changes, *cut])
        rows.append(Row(f"{size} px", sized, Path(f"tiles of {size} px"), ()))
    return rows


def rails_of_sizes(
    recipe: Recipe, cases: Sequence[Case], sizes: Sequence[int], *, most: int
) -> list[Spread]:
    """Measure the rails at each size, by size, and mark where their spread jumps.

    A size at which no tile holds enough of the object is left out with a warning.

    Raises
    ------
    CohortError
        If that is so at every size.
    """
    training = split_cases(cases, recipe.split)["train"]
    found = []
    for size in sizes:
        try:
            found.append(measure_rails(recipe, training, size, most=most))
        except CohortError as error:
            log.warning("%d px: %s", size, error)
    if not found:
        raise CohortError("At no tile size does a training tile hold enough of the object.")
    return marked(found)
