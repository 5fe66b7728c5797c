"""Figures that say what they average over, how many they counted and how many they left out."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from slidemask.evaluate.confusion import Confusion, PerClass
from slidemask.evaluate.objects import OBJECT_LABELS
from slidemask.evaluate.wording import figure as share
from slidemask.evaluate.wording import number

POOLED: Final = "pooled"
"""From the counts of all slides added up: large slides weigh more."""

TOTAL: Final = "total"
"""Added up over all slides: how many, how large. It describes the cohort: no interval."""

MEAN_OF_SLIDES: Final = "mean of slides"
"""Each slide's own figure, averaged: all slides weigh alike; for pictures the mean per image."""

MEAN_OF_PATIENTS: Final = "mean of patients"
"""Each patient's figure, from the counts of all their slides, averaged."""

MEAN_OF_TILES: Final = "mean of tiles"
"""Each tile's own figure, averaged: as papers do that score what the network was fed."""

MEAN_OF_CLASSES: Final = "mean of classes"
"""Mean over the foreground classes of one of the above, which the name says in brackets."""

ALL_FOREGROUND: Final = "all foreground"
ALL_CLASSES: Final = "all classes"

SLIDE: Final = "slide"
"""Every pixel of known truth."""

TILES_WITH_OBJECT: Final = "tiles with the object"
"""Only tiles that hold true pixels of the class: flatters, since false alarms elsewhere vanish."""

ALL_TILES: Final = "all tiles"
"""Every tile in which something is known."""

OBJECT: Final = "object"
"""Objects found, missed and false, not pixels."""

LEVELS: Final = (SLIDE, TILES_WITH_OBJECT, ALL_TILES, OBJECT)
"""In the order in which reports show them."""

PER_CLASS: Final[dict[str, Callable[[Confusion], PerClass]]] = {
    "dice": lambda c: c.dice,
    "iou": lambda c: c.iou,
    "precision": lambda c: c.precision,
    "recall": lambda c: c.recall,
    "specificity": lambda c: c.specificity,
    "accuracy": lambda c: c.accuracy,
    "mcc": lambda c: c.mcc,
}
"""Figures of one class against the rest; a new one is one line here."""

OVERALL_ACCURACY: Final = "overall accuracy"
AVERAGE_PRECISION: Final = "average precision"
CALIBRATION_ERROR: Final = "calibration error"
BRIER_SCORE: Final = "Brier score"

LABELS: Final[dict[str, str]] = {
    "dice": "Dice",
    "iou": "IoU",
    "mcc": "MCC",
    AVERAGE_PRECISION: "AUPRC",
    CALIBRATION_ERROR: "ECE",
    **OBJECT_LABELS,
}
"""How tables write a figure's name, where that is not the name itself."""

NUMBERS: Final = frozenset({"objects in truth", "objects predicted"})
"""Figures that are counted, without a unit."""


@dataclass(frozen=True)
class Figure:
    """One number of a report, with all that it takes to read it.

    Parameters
    ----------
    name : str
        What was measured: a key of `PER_CLASS`, "overall accuracy", "object F1", ...
    class_name : str
        Of which class, or `ALL_FOREGROUND`, `ALL_CLASSES`.
    value : float
        NaN where nothing could be counted.
    average : str
        Over what: "pooled", "mean of slides", "mean of classes (pooled)", ...
    n : int
        What was counted: slides (at the tile levels tiles; for means of patients patients, for
        means of classes classes).
    skipped : int
        How many of them were left out because the figure is not defined there, e.g. Dice of a
        class that is in neither truth nor prediction.
    level : str
        `SLIDE`, `TILES_WITH_OBJECT`, `ALL_TILES` or `OBJECT`.
    low, high : float
        The 95 % interval, by bootstrap over patients; NaN where there is none.
    unit : str
        "µm", "px", "mm²"; empty for shares and numbers.

    Examples
    --------
    >>> print(Figure("dice", "gland", 0.9, POOLED, 23, low=0.85, high=0.94))
    Dice of gland: 0.900 [0.850, 0.940] (slide, pooled, n = 23)
    """

    name: str
    class_name: str
    value: float
    average: str
    n: int
    skipped: int = 0
    level: str = SLIDE
    low: float = math.nan
    high: float = math.nan
    unit: str = ""

    def __str__(self) -> str:
        bounds = (self.low, self.high)
        known = not any(math.isnan(bound) for bound in bounds)
        interval = f" [{', '.join(self.written(b) for b in bounds)}]" if known else ""
        unit = f" {self.unit}" if self.unit else ""
        left_out = f", {self.skipped} left out" if self.skipped else ""
        return (
            f"{self.label} of {self.class_name}: {self.written(self.value)}{interval}{unit} "
            f"({self.level}, {self.average}, n = {self.n}{left_out})"
        )

    @property
    def label(self) -> str:
        """The name as tables write it."""
        return LABELS.get(self.name, self.name)

    def written(self, value: float) -> str:
        """Write a value, or a bound, of this figure, without its unit; see `written`."""
        return written(value, self.name, self.unit)


def written(value: float, name: str, unit: str) -> str:
    """Write a figure's value without its unit: shares with three decimals, amounts as numbers.

    >>> written(0.5, "dice", ""), written(12.0, "objects predicted", ""), written(1.25, "x", "µm")
    ('0.500', '12', '1.25')
    """
    return number(value) if unit or name in NUMBERS else share(value)


def find(
    figures: Iterable[Figure], name: str, average: str, class_name: str, *, level: str = SLIDE
) -> Figure:
    """Return the one figure that carries these names.

    Raises
    ------
    KeyError
        If there is none.
    """
    for figure in figures:
        key = (figure.name, figure.average, figure.class_name, figure.level)
        if key == (name, average, class_name, level):
            return figure
    raise KeyError(f"no figure {name!r} of {class_name!r} as {average!r} at level {level!r}")


def pool(confusions: Iterable[Confusion], classes: int) -> Confusion:
    """Add counts up; all zero where there are none."""
    return sum(confusions, start=Confusion.zero(classes))
