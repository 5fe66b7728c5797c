"""Validation figures against a naive count."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from slidemask.data.loader import Batch
from slidemask.models.build import ModelSpec
from slidemask.models.segmenter import Segmenter
from slidemask.train.validation import classes_of, validate

NAMES = ("background", "a", "b")


class Told(nn.Module):
    """Says the class that the red channel names."""

    def forward(self, images: Tensor) -> Tensor:
        said = (images[:, 0] * 255).round().long()
        return 20.0 * nn.functional.one_hot(said, 3).permute(0, 3, 1, 2)


def told() -> Segmenter:
    spec = ModelSpec(width=1, depth=1, mean=(0, 0, 0), std=(1, 1, 1))
    segmenter = Segmenter(spec, 2)
    segmenter.network = Told()
    return segmenter


def batches(seed: int = 0) -> list[Batch]:
    rng = np.random.default_rng(seed)
    made = []
    for slides in (("s", "s", "t"), ("t", "u")):
        shape = (len(slides), 12, 10)
        images = np.zeros((*shape, 3), np.uint8)
        images[..., 0] = rng.integers(0, 3, shape)
        labels = rng.choice([0, 1, 2, 255], shape).astype(np.uint8)
        labels[np.array(slides) == "u"] = 0  # no foreground: what is found there is false
        made.append(Batch(torch.from_numpy(images), torch.from_numpy(labels), slides))
    return made


def naive(samples: list[Batch]) -> dict[str, dict[str, list[float]]]:  # noqa: C901 - it is naive
    """Dice, precision and recall of each slide and of all pixels, a pixel at a time."""
    counts: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for images, labels, slides in samples:
        for n, slide in enumerate(slides):
            for said, truth in zip(
                images[n, ..., 0].flatten().tolist(), labels[n].flatten().tolist(), strict=True
            ):
                if truth == 255:
                    continue
                for key in (slide, "all"):
                    for index in (1, 2):
                        count = counts[key, index]
                        count[0] += said == index and truth == index
                        count[1] += said == index and truth != index
                        count[2] += said != index and truth == index
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (key, _), (tp, fp, fn) in counts.items():
        for name, part, whole in (
            ("dice", 2 * tp, 2 * tp + fp + fn),
            ("iou", tp, tp + fp + fn),
            ("precision", tp, tp + fp),
            ("recall", tp, tp + fn),
        ):
            figures["pooled" if key == "all" else "slides"][name].append(
                part / whole if whole else math.nan
            )
    return figures


def test_figures_are_those_of_a_naive_count() -> None:
    samples = batches()
    found = validate(told(), samples, NAMES, Fabric(accelerator="cpu"))
    expected = naive(samples)
    for average in ("pooled", "slides"):
        for figure in ("dice", "iou", "precision", "recall"):
            assert found[f"{figure} {average}"] == pytest.approx(
                np.nanmean(expected[average][figure])
            ), (figure, average)
    assert set(found) == {
        f"{f} {a}" for f in ("dice", "iou", "mcc", "precision", "recall") for a in expected
    }


def test_what_is_unknown_never_counts() -> None:
    samples = batches()
    before = validate(told(), samples, NAMES, Fabric(accelerator="cpu"))
    for images, labels, _ in samples:
        unknown = labels == 255
        images[unknown] = 2 - images[unknown]  # says something else wherever nothing is known
    assert validate(told(), samples, NAMES, Fabric(accelerator="cpu")) == before


def test_an_epoch_without_any_known_foreground_scores_0_and_is_finite() -> None:
    images = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    labels = torch.full((1, 4, 4), 255, dtype=torch.uint8)
    found = validate(told(), [Batch(images, labels, ("s",))], NAMES, Fabric(accelerator="cpu"))
    assert set(found.values()) == {0.0}


def test_no_tile_is_an_error() -> None:
    with pytest.raises(ValueError, match="no validation tile"):
        validate(told(), [], NAMES, Fabric(accelerator="cpu"))


def test_foreground_wins_where_its_classes_together_reach_a_half() -> None:
    probabilities = torch.tensor([[0.51, 0.29, 0.2], [0.5, 0.2, 0.3], [0.4, 0.35, 0.25]])
    assert classes_of(probabilities.T[None, :, :, None]).flatten().tolist() == [0, 2, 1]
