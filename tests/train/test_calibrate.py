"""The temperature: found again where it is known, and the best of a fine grid."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, BundleInfo
from slidemask.models.segmenter import Segmenter
from slidemask.tiles.grid import Tiling
from slidemask.train.calibrate import best_temperature, fit_temperature
from slidemask.train.loop import Task


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("heat", [0.4, 3.0])
def test_a_known_temperature_is_found_again(activation: str, heat: float) -> None:
    segmenter = Segmenter(ModelSpec.model_validate(
        {"width": 2, "depth": 1, "activation": activation}), 1)  # fmt: skip
    outputs = 1 if activation == "sigmoid" else 2
    logits = 2 * torch.randn(20_000, outputs, generator=torch.Generator().manual_seed(0))
    true = segmenter.probabilities(logits[:, :, None, None])[:, 1, 0, 0]
    truths = (torch.rand(20_000, generator=torch.Generator().manual_seed(1)) < true).long()
    assert best_temperature(segmenter, heat * logits, truths) == pytest.approx(heat, rel=0.05)


def test_the_bundles_temperature_is_the_best_of_a_grid(make_task: Callable[..., Task]) -> None:
    task = make_task()
    classes = ClassMap(classes=(ClassInfo(name="gland", colour=(0, 160, 60)),))
    info = BundleInfo(
        name="discs", model=ModelSpec(width=3, depth=1), classes=classes,
        tiling=Tiling(tile_px=32, overlap=0.0, downsample=1.0),
    )  # fmt: skip
    bundle = Bundle(info, task.segmenter.eval(), "x", torch.device("cpu"))
    found = fit_temperature(bundle, task.validation)

    def surprise(temperature: float) -> float:
        task.segmenter.temperature = temperature
        told = []
        for tiles, labels, _ in task.validation:
            probabilities = bundle.predict(tiles.numpy(), "fp32")
            for one, truth in zip(probabilities, labels.numpy(), strict=True):
                told.append(-np.log(np.take_along_axis(one, truth[None].astype(int), 0)).ravel())
        return float(np.concatenate(told).mean())

    grid = np.geomspace(0.05, 20, 41)
    best = min(surprise(float(temperature)) for temperature in grid)
    assert surprise(found) <= best + 1e-4
