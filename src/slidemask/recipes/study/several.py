"""Several recipes side by side: parameters, time and scores."""

import re
from collections.abc import Sequence
from pathlib import Path

from slidemask.base.errors import SettingsError
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
        If a recipe is wrong or named twice.
    """
    labels = _labels(recipes)
    rows = [
        Row(label, load_recipe(recipe, changes), Path(re.sub(r"[^\w.-]+", "_", label)), ())
        for recipe, label in zip(recipes, labels, strict=True)
    ]
    folders = [str(row.folder).casefold() for row in rows]
    if len(set(folders)) < len(folders):
        raise SettingsError(f"Recipes {listed(labels)} cannot be told apart; name each once.")
    return rows


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
