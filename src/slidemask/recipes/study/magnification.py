"""Which magnification? One training for each, compared on whole slides and by their time.

The study of McCombe et al. (IMVIP 2022): tiles that hold the object prefer high magnifications,
whole slides low ones, and time decides with them. A row may also see two magnifications together.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from slidemask.base.errors import SettingsError
from slidemask.recipes.recipe import load_recipe
from slidemask.recipes.study.row import Row
from slidemask.recipes.study.views import View


def rows_of(
    recipe: str | Path,
    views: Sequence[View],
    also: Sequence[tuple[str, View]],
    changes: Sequence[str] = (),
) -> list[Row]:
    """Return the rows of a study, each with its recipe; folders and cases are still to come.

    Raises
    ------
    SettingsError
        If a recipe is wrong at one of the magnifications.
    """
    plain = [
        Row(view.label, load_recipe(recipe, [*changes, *view.changes]), Path(folder_name(view)), ())
        for view in views
    ]
    others = [
        Row(
            f"{Path(other).stem} {view.label}",
            load_recipe(other, [*changes, *view.changes]),
            Path(f"{folder_name(view)} {_safe(other)}"),
            (),
        )
        for other, view in also
    ]
    rows = [*plain, *others]
    folders = [str(row.folder).casefold() for row in rows]
    if len(set(folders)) < len(folders):
        raise SettingsError("Two rows of the study are the same; name each recipe and view once.")
    return rows


def folder_name(view: View) -> str:
    """Return a folder's name for a view.

    >>> folder_name(View(10, 2.5))
    'at 10x+2.5x'
    """
    return f"at {view.label.replace(' ', '')}"


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", str(Path(name).with_suffix("")).strip("/\\"))
