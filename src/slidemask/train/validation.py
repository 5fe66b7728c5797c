"""Figures of a network on validation tiles, from counts kept apart for each slide."""

from collections.abc import Iterable

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from slidemask.data.loader import Batch
from slidemask.evaluate.confusion import Confusion
from slidemask.models.segmenter import Segmenter

FIGURES = ("dice", "iou", "mcc", "precision", "recall")


@torch.inference_mode()
def validate(
    segmenter: Segmenter, samples: Iterable[Batch], names: tuple[str, ...], fabric: Fabric
) -> dict[str, float]:
    """Score a network on tiles, in evaluation mode; it is left in that mode.

    Returns
    -------
    dict
        "<figure> pooled" from the counts of all tiles, "<figure> slides" as the mean of each
        slide's own figure; both are means over the foreground classes.
    """
    segmenter.eval()
    counts: dict[str, Confusion] = {}
    for tiles, labels, slides in samples:
        with fabric.autocast():
            logits = segmenter(fabric.to_device(tiles))
        predicted = classes_of(segmenter.probabilities(logits)).cpu().numpy()
        for slide, truth, found in zip(slides, labels.numpy(), predicted, strict=True):
            count = Confusion.of(truth, found, len(names))
            counts[slide] = counts[slide] + count if slide in counts else count
    if not counts:
        raise ValueError("there is no validation tile")
    return _figures(list(counts.values()))


def classes_of(probabilities: Tensor) -> Tensor:
    """Foreground where its classes together reach 0.5, as `post` decides it."""
    foreground = probabilities[:, 1:]
    best = foreground.argmax(dim=1) + 1
    return torch.where(foreground.sum(dim=1) >= 0.5, best, 0).to(torch.uint8)


def _figures(counts: list[Confusion]) -> dict[str, float]:
    pooled = sum(counts[1:], start=counts[0])
    result: dict[str, float] = {}
    for figure in FIGURES:
        each = np.array([getattr(count, figure)[1:] for count in counts], float)
        result[f"{figure} pooled"] = _mean(getattr(pooled, figure)[1:])
        result[f"{figure} slides"] = _mean(each)
    return result


def _mean(values: np.ndarray) -> float:
    """Mean of what is defined; 0 where nothing is, so that an empty epoch is never the best."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else 0.0
