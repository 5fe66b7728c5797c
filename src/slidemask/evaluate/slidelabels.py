"""One label for a whole slide: the class that most of it is, in truth and as predicted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from slidemask.evaluate.confusion import Confusion


@dataclass(frozen=True)
class SlideLabels:
    """How many slides got the right label.

    Parameters
    ----------
    right : int
        Slides whose label is the true one; a slide that truly holds nothing is right without one.
    wrong : int
        Slides with another label than the true one.
    empty : int
        Slides that hold a class and on which nothing was found. They are counted apart: a wrong
        label misleads, a missing one is seen.

    Examples
    --------
    >>> labels = SlideLabels.of([("a", "a"), ("b", "a"), ("a", ""), ("", "")])
    >>> labels, round(labels.accuracy, 2)
    (SlideLabels(right=2, wrong=1, empty=1), 0.67)
    """

    right: int
    wrong: int
    empty: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> "SlideLabels":
        """Count (true, predicted) labels; "" is none."""
        pairs = list(pairs)
        right = sum(true == predicted for true, predicted in pairs)
        empty = sum(bool(true) and not predicted for true, predicted in pairs)
        return cls(right, len(pairs) - right - empty, empty)

    @property
    def accuracy(self) -> float:
        """Share of right labels among right and wrong ones; NaN without any."""
        labelled = self.right + self.wrong
        return self.right / labelled if labelled else float("nan")


def true_label(confusion: Confusion, names: tuple[str, ...]) -> str:
    """Return the foreground class with the most annotated pixels, "" where nothing is.

    Parameters
    ----------
    confusion : Confusion
        Of one slide.
    names : tuple of str
        Class names by index, background first.
    """
    areas = confusion.counts.sum(axis=1).tolist()
    return largest(dict(zip(names[1:], areas[1:], strict=True)))


def largest(amounts: Mapping[str, float]) -> str:
    """Return the name of the largest amount (the first of equals), "" where all are 0.

    >>> largest({"a": 1, "b": 3}), largest({"a": 0})
    ('b', '')
    """
    name = max(amounts, key=lambda name: amounts[name], default="")
    return name if name and amounts[name] > 0 else ""
