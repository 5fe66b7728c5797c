"""Figures of a network on validation tiles, from counts kept apart for each slide."""

from collections.abc import Iterable

import torch
from lightning_fabric import Fabric
from torch import Tensor

from slidemask.data.loader import Batch
from slidemask.evaluate.confusion import Confusion
from slidemask.models.segmenter import Segmenter
from slidemask.train.choose import figures_of


@torch.inference_mode()
def validate(
    segmenter: Segmenter,
    samples: Iterable[Batch],
    names: tuple[str, ...],
    fabric: Fabric,
    *,
    threshold: float = 0.5,
    scope: str = "",
) -> dict[str, float]:
    """Score a network on tiles, in evaluation mode; it is left in that mode.

    Pixels are counted, or tiles where the network says one class for each.

    Each tile stands alone: neither its surroundings nor what lies between the tiles count.

    Returns
    -------
    dict
        "<figure> pooled" from the counts of all tiles, "<figure> slides" as the mean of each
        slide's own figure; both are means over the foreground classes, or of any class beside
        them where `scope` says so (`figures_of`).
    """
    segmenter.eval()
    counts: dict[str, Confusion] = {}
    for tiles, labels, slides in samples:
        with fabric.autocast():
            logits = segmenter(fabric.to_device(tiles))
        predicted = classes_of(segmenter.probabilities(logits), threshold).cpu().numpy()
        truths = segmenter.targets(labels).numpy()
        for slide, truth, found in zip(slides, truths, predicted, strict=True):
            count = Confusion.of(truth, found, len(names))
            counts[slide] = counts[slide] + count if slide in counts else count
    if not counts:
        raise ValueError("there is no validation tile")
    return figures_of(list(counts.values()), scope)


def classes_of(probabilities: Tensor, threshold: float = 0.5) -> Tensor:
    """Foreground where its classes together reach `threshold`, as `post` decides it."""
    foreground = probabilities[:, 1:]
    best = foreground.argmax(dim=1) + 1
    return torch.where(foreground.sum(dim=1) >= threshold, best, 0).to(torch.uint8)
