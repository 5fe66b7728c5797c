"""Foreground against background, whatever its class: how well the tissue itself was outlined."""

from dataclasses import replace
from typing import Final

import numpy as np

from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation

ANY_CLASS: Final = "any class"


def any_class(evaluation: Evaluation) -> Evaluation:
    """Return the slides' pixel counts with all foreground classes taken for one.

    A pixel of one class that was taken for another is then right. Tiles, objects and
    probabilities are left out.

    Examples
    --------
    >>> from slidemask.evaluate.evaluation import SlideScore
    >>> counts = Confusion(np.array([[5, 1, 0], [0, 0, 4], [2, 0, 3]]))
    >>> both = Evaluation(("background", "a", "b"), (SlideScore("s", counts),), {})
    >>> any_class(both).pooled.counts.tolist()
    [[5, 1], [2, 7]]
    """
    slides = tuple(
        replace(score, confusion=merged(score.confusion), tiles=None, objects={}, histogram=None)
        for score in evaluation.slides
    )
    return Evaluation((evaluation.names[0], ANY_CLASS), slides, evaluation.about)


def merged(confusion: Confusion) -> Confusion:
    """Return the counts of background and of all foreground classes taken for one."""
    edges = [0, 1]
    return Confusion(np.add.reduceat(np.add.reduceat(confusion.counts, edges, 0), edges, 1))
