"""Several recipes side by side: parameters, time and scores."""

import re
from collections.abc import Sequence
from pathlib import Path

from slidemask.base.errors import CohortError, SettingsError
from slidemask.data.case import Case
from slidemask.data.split import split_cases
from slidemask.data.table import listed
from slidemask.recipes.recipe import load_recipe
from slidemask.recipes.study.row import Row


def rows_of_recipes(recipes: Sequence[str], changes: Sequence[str] = ()) -> list[Row]:
    """Return a row for each recipe; folders and cases are still to come.

    Parameters
    ----------
    recipes : sequence of str
        Paths, or names of shipped ones.
    changes : sequence of str
        "key=value" on every recipe.

    Raises
    ------
    SettingsError
        If a recipe is wrong or named twice, or they are for different classes.
    """
    labels = _labels(recipes)
    rows = [
        Row(label, load_recipe(recipe, changes), Path(re.sub(r"[^\w.-]+", "_", label)), ())
        for recipe, label in zip(recipes, labels, strict=True)
    ]
    folders = [str(row.folder).casefold() for row in rows]
    if len(set(folders)) < len(folders):
        raise SettingsError(f"Recipes {listed(labels)} cannot be told apart; name each once.")
    names = {row.recipe.classes.names[1:] for row in rows}
    if len(names) > 1:
        said = "; ".join(f"{row.label}: {', '.join(row.recipe.classes.names[1:])}" for row in rows)
        raise SettingsError(
            f"Only recipes of the same classes can be compared; these have {said}. "
            "Change them with --set classes.classes=… or study them apart."
        )
    return rows


def require_one_test(rows: Sequence[Row], cases: Sequence[Case]) -> None:
    """Make sure that all recipes are compared on the same slides.

    Raises
    ------
    CohortError
        If their splits lead to different test parts.
    """
    tests = [{case.slide for case in split_cases(cases, row.recipe.split)["test"]} for row in rows]
    other = next((row for row, test in zip(rows, tests, strict=True) if test != tests[0]), None)
    if other is not None:
        raise CohortError(
            f"{rows[0].label} and {other.label} split the cohort differently, so that their test "
            "slides are not the same. Fill the cohort's `split` column, or give all one split "
            "with --set split.seed=…, split.test=…"
        )


def _labels(recipes: Sequence[str]) -> list[str]:
    """Return the recipes' own names, with their folders where two share one.

    >>> _labels(["rails/better.toml", "glas"]), _labels(["rails/better", "roi/better"])
    (['better', 'glas'], ['rails/better', 'roi/better'])
    """
    paths = [Path(recipe) for recipe in recipes]
    names = [path.name.removesuffix(".toml") for path in paths]
    if len(set(names)) == len(names):
        return names
    return [path.as_posix().removesuffix(".toml").strip("./") for path in paths]
