"""The labels of a study's segmented slides against the true ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slidemask.evaluate.evaluation import Evaluation
from slidemask.evaluate.slidelabels import SlideLabels, largest, true_label
from slidemask.recipes.results import read_summary


def labels_of(evaluation: Evaluation, results: Path) -> SlideLabels:
    """Compare each scored slide's label with the class that most of its annotated area is.

    Parameters
    ----------
    evaluation : Evaluation
        Of the slides in `results`, each called by its folder.
    results : Path
        What `segment` wrote.
    """
    return SlideLabels.of(
        (
            true_label(score.confusion, evaluation.names),
            predicted_label(read_summary(results / score.slide)),
        )
        for score in evaluation.slides
    )


def predicted_label(summary: Mapping[str, Any]) -> str:
    """Return a slide's label: of networks that vote the votes', else the largest class; "" is none.

    Where no tile is positive at the votes' own threshold and the mask, cut at another one, is not
    empty, the mask speaks.

    >>> predicted_label({"classes": {"a": {"area_px": 5}, "b": {"area_px": 9}}})
    'b'
    """
    voted = summary.get("label", {}).get("class", "")
    return voted or largest({name: found["area_px"] for name, found in summary["classes"].items()})
