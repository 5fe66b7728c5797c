"""Which magnifications a study compares, as they are written on the command line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from slidemask.base.errors import SettingsError


@dataclass(frozen=True, order=True)
class View:
    """A magnification, with or without a second, lower one beside it.

    Parameters
    ----------
    detail : float
        Objective power of the tiles, 10x = 1 µm per pixel.
    context : float, optional
        Objective power of what the network sees around them.

    Examples
    --------
    >>> View(10, 2.5).label, View(10, 2.5).changes
    ('10x + 2.5x', ('tiling.magnification=10', 'tiling.context=4'))
    >>> View(4).label, View(4).changes
    ('4x', ('tiling.magnification=4',))
    """

    detail: float
    context: float | None = None

    @property
    def label(self) -> str:
        """As tables write it."""
        return f"{self.detail:g}x" + (f" + {self.context:g}x" if self.context else "")

    @property
    def changes(self) -> tuple[str, ...]:
        """What it changes in a recipe; a recipe that has a context of its own keeps it."""
        magnification = f"tiling.magnification={self.detail:.12g}"
        if self.context is None:
            return (magnification,)
        return (magnification, f"tiling.context={self.detail / self.context:.12g}")


def parse_views(text: str) -> tuple[View, ...]:
    """Read "1,4,10,10+2.5": magnifications, and detail + context.

    Raises
    ------
    SettingsError
        If one is no number above 0, a context is not lower than its detail, or one stands twice.

    Examples
    --------
    >>> [view.label for view in parse_views("1,4x, 10+2.5")]
    ['1x', '4x', '10x + 2.5x']
    """
    views = tuple(parse_view(part) for part in text.split(","))
    twice = sorted({view.label for view in views if views.count(view) > 1})
    if twice:
        raise SettingsError(f"--at {text!r} names {', '.join(twice)} twice.")
    return views


def parse_view(text: str) -> View:
    """Read one magnification: "10", "10x" or "10+2.5"."""
    numbers = [_number(part, text) for part in text.split("+")]
    if len(numbers) > 2:
        raise SettingsError(f"Magnification {text!r}: two together at most, e.g. 10+2.5.")
    if len(numbers) == 2 and numbers[1] >= numbers[0]:
        raise SettingsError(
            f"Magnification {text!r}: the context must be lower than the detail, e.g. 10+2.5."
        )
    return View(*numbers)


def parse_also(texts: Sequence[str]) -> list[tuple[str, View]]:
    """Read "RECIPE@4": another recipe and the magnification it is trained at.

    >>> parse_also(["mine.toml@4"])[0][1].label
    '4x'
    """
    rows = []
    for text in texts:
        recipe, at, view = text.rpartition("@")
        if not at or not recipe:
            raise SettingsError(f"--also wants RECIPE@MAGNIFICATION, e.g. better@4; got {text!r}.")
        rows.append((recipe, parse_view(view)))
    return rows


def _number(text: str, whole: str) -> float:
    try:
        number = float(text.strip().lower().removesuffix("x"))
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise SettingsError(f"Magnification {whole!r}: {text.strip()!r} is no number above 0.")
    return number
