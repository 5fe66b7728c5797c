"""A recipe that was written and read back is the same one: resuming a training relies on it."""

from pathlib import Path

import pytest

from slidemask.base.settings import digest
from slidemask.recipes.recipe import load_recipe, recipe_names, write_recipe


@pytest.mark.parametrize("name", recipe_names())
def test_resolved_recipe_keeps_its_digest(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    path = tmp_path / "recipe.toml"
    path.write_text(write_recipe(recipe), encoding="utf-8")
    assert digest(load_recipe(path)) == digest(recipe)
