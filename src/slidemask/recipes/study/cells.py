"""The cells of a sweep: which keys vary, over which values, how often."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from slidemask.base.errors import SettingsError
from slidemask.recipes.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class Axis:
    """A recipe key and the values that it takes, as written.

    Examples
    --------
    >>> parse_axis("model.width=4, 8")
    Axis(key='model.width', values=('4', '8'))
    >>> parse_axis("model.decoder_channels=[64,32],[32,16]").values
    ('[64,32]', '[32,16]')
    """

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One combination of values.

    Parameters
    ----------
    values : tuple of (key, value)
        As written.

    Examples
    --------
    >>> cell = Cell((("model.width", "4"), ("loss.terms", '{ce = 1}')))
    >>> cell.label, str(cell.folder)
    ('model.width=4, loss.terms={ce = 1}', 'model.width=4,loss.terms={ce = 1}')
    """

    values: tuple[tuple[str, str], ...]

    @property
    def label(self) -> str:
        """As tables write it."""
        return ", ".join(f"{key}={value}" for key, value in self.values)

    @property
    def folder(self) -> Path:
        """A folder's name that every system takes."""
        name = ",".join(f"{key}={value}" for key, value in self.values)
        return Path(re.sub(r'[<>:"/\\|?*\x00-\x1f]+', "_", name).rstrip(". "))

    @property
    def changes(self) -> tuple[str, ...]:
        """As --set takes them."""
        return tuple(f"{key}={value}" for key, value in self.values)


def parse_axis(text: str) -> Axis:
    """Read "key=a,b,c"; commas inside brackets, braces and quotes belong to a value.

    Raises
    ------
    SettingsError
        If there is no key or no value, or a value stands twice.
    """
    key, _, values = text.partition("=")
    parts = tuple(part.strip() for part in _split(values))
    if not key.strip() or not all(parts):
        raise SettingsError(f"--vary wants key=a,b,c, got {text!r}; e.g. model.width=4,8,16.")
    if len(set(parts)) < len(parts):
        raise SettingsError(f"--vary {text!r} names a value twice.")
    return Axis(key.strip(), parts)


def cells_of(axes: Sequence[Axis]) -> list[Cell]:
    """Return every combination, the last axis fastest.

    Raises
    ------
    SettingsError
        If a key varies twice, or two cells would share a folder.

    Examples
    --------
    >>> [cell.label for cell in cells_of([Axis("a", ("1", "2")), Axis("b", ("x",))])]
    ['a=1, b=x', 'a=2, b=x']
    """
    keys = [axis.key for axis in axes]
    if any(key.startswith("split.") for key in keys):
        raise SettingsError(
            "--vary split.… would judge each cell on other slides; all cells share one split."
        )
    if len(set(keys)) < len(keys):
        raise SettingsError(f"--vary names a key twice: {', '.join(keys)}.")
    cells = [
        Cell(tuple(zip(keys, values, strict=True)))
        for values in product(*(axis.values for axis in axes))
    ]
    if len({str(cell.folder).casefold() for cell in cells}) < len(cells):
        raise SettingsError("Two values of --vary cannot be told apart in a folder's name.")
    return cells


def recipe_of(recipe: str | Path, cell: Cell, repeat: int, changes: Sequence[str] = ()) -> Recipe:
    """Return a cell's recipe for one repeat, whose seeds are the recipe's own plus `repeat`.

    The split keeps its seed: all repeats learn from the same patients.
    """
    plain = load_recipe(recipe, [*changes, *cell.changes])
    seeds = {"schedule": plain.schedule, "sampling": plain.sampling}
    return plain.model_copy(
        update={
            name: part.model_copy(update={"seed": part.seed + repeat})
            for name, part in seeds.items()
        }
    )


def _split(text: str) -> list[str]:
    """Split at commas outside brackets, braces and quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        depth += (sign in "[{" and not quote) - (sign in "]}" and not quote)
        if sign == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return parts
