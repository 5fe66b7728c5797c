"""Figures that say what they average over, how many they counted and how many they left out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from slidemask.evaluate.confusion import Confusion, PerClass
from slidemask.evaluate.wording import figure as shown

POOLED: Final = "pooled"
"""From the pixel counts of all slides added up: large slides weigh more."""

MEAN_OF_SLIDES: Final = "mean of slides"
"""Each slide's own figure, averaged: all slides weigh alike; for pictures the mean per image."""

MEAN_OF_CLASSES: Final = "mean of classes"
"""Mean over the foreground classes of one of the two above, which the name says in brackets."""

ALL_FOREGROUND: Final = "all foreground"
ALL_CLASSES: Final = "all classes"

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

LABELS: Final[dict[str, str]] = {"dice": "Dice", "iou": "IoU", "mcc": "MCC"}
"""How tables write a figure's name, where that is not the name itself."""


@dataclass(frozen=True)
class Figure:
    """One number of a report, with all that it takes to read it.

    Parameters
    ----------
    name : str
        What was measured: a key of `PER_CLASS`, or "overall accuracy".
    class_name : str
        Of which class, or `ALL_FOREGROUND`, `ALL_CLASSES`.
    value : float
        NaN where nothing could be counted.
    average : str
        Over what: "pooled", "mean of slides", "mean of classes (pooled)", ...
    n : int
        Slides (for means of classes: classes) that were counted.
    skipped : int
        Slides (classes) left out because the figure is not defined there, e.g. Dice of a class
        that is in neither truth nor prediction.
    """

    name: str
    class_name: str
    value: float
    average: str
    n: int
    skipped: int = 0

    def __str__(self) -> str:
        left_out = f", {self.skipped} left out" if self.skipped else ""
        return (
            f"{LABELS.get(self.name, self.name)} of {self.class_name}: {shown(self.value)} "
            f"({self.average}, n = {self.n}{left_out})"
        )


def figures_of(per_slide: Mapping[str, Confusion], names: tuple[str, ...]) -> list[Figure]:
    """Return every figure of every foreground class, pooled and as mean of slides.

    Parameters
    ----------
    per_slide : mapping of slide to Confusion
        One entry per slide (or picture), all with `len(names)` classes.
    names : tuple of str
        Class names by index, background first.

    Returns
    -------
    list of Figure
        By class, then figure, then average. With several foreground classes their unweighted
        means follow; the overall accuracy comes last.

    Examples
    --------
    >>> hit, none = Confusion(np.array([[5, 0], [0, 5]])), Confusion(np.array([[9, 0], [0, 0]]))
    >>> for figure in figures_of({"a": hit, "b": none}, ("background", "gland"))[:2]:
    ...     print(figure.name, figure.average, figure.value, figure.n, figure.skipped)
    dice pooled 1.0 2 0
    dice mean of slides 1.0 1 1
    """
    slides = list(per_slide.values())
    pooled = pool(slides, len(names))
    foreground = range(1, len(names))
    by_class = [
        figure
        for index in foreground
        for name in PER_CLASS
        for figure in _both(name, slides, pooled, (index, names[index]))
    ]
    macro = _means_of_classes(by_class) if len(foreground) > 1 else []
    return [*by_class, *macro, *_overall(slides, pooled)]


def pool(confusions: Iterable[Confusion], classes: int) -> Confusion:
    """Add counts up; all zero where there are none."""
    return sum(confusions, start=Confusion.zero(classes))


def find(figures: Iterable[Figure], name: str, average: str, class_name: str) -> Figure:
    """Return the one figure that carries these names.

    Raises
    ------
    KeyError
        If there is none.
    """
    for figure in figures:
        if (figure.name, figure.average, figure.class_name) == (name, average, class_name):
            return figure
    raise KeyError(f"no figure {name!r} of {class_name!r} as {average!r}")


def _both(
    name: str, slides: list[Confusion], pooled: Confusion, of: tuple[int, str]
) -> list[Figure]:
    """Return one figure of one class, (index, name), pooled and as mean of slides."""
    measure, (index, class_name) = PER_CLASS[name], of
    each = (measure(slide)[index] for slide in slides)
    return [
        Figure(name, class_name, float(measure(pooled)[index]), POOLED, len(slides)),
        mean_figure(each, name, class_name, MEAN_OF_SLIDES),
    ]


def mean_figure(values: Iterable[float], name: str, class_name: str, average: str) -> Figure:
    """Average what is defined; say how many that were and how many were left out."""
    every = np.asarray(list(values), dtype=np.float64)
    defined = every[~np.isnan(every)]
    value = float(defined.mean()) if defined.size else float("nan")
    return Figure(name, class_name, value, average, defined.size, every.size - defined.size)


def _means_of_classes(figures: list[Figure]) -> list[Figure]:
    return [
        mean_figure(
            (f.value for f in figures if (f.name, f.average) == (name, average)),
            name,
            ALL_FOREGROUND,
            f"{MEAN_OF_CLASSES} ({average})",
        )
        for name in PER_CLASS
        for average in (POOLED, MEAN_OF_SLIDES)
    ]


def _overall(slides: list[Confusion], pooled: Confusion) -> list[Figure]:
    name = "overall accuracy"
    each = (slide.overall_accuracy for slide in slides)
    return [
        Figure(name, ALL_CLASSES, pooled.overall_accuracy, POOLED, len(slides)),
        mean_figure(each, name, ALL_CLASSES, MEAN_OF_SLIDES),
    ]
