"""One temperature for all logits, so that probabilities are worth their name.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017: it has one number to fit, so
validation data are enough, and it leaves every pixel its most probable class.
"""

import math
from collections.abc import Iterable

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from slidemask.base.types import IGNORE
from slidemask.data.loader import Batch
from slidemask.models.bundle import Bundle
from slidemask.models.devices import number_type
from slidemask.models.segmenter import Segmenter

PIXELS_PER_TILE = 1024
"""Neighbours say the same: some pixels of each tile, drawn by chance, are enough."""
COLDEST, HOTTEST = 0.05, 20.0


@torch.inference_mode()
def fit_temperature(bundle: Bundle, samples: Iterable[Batch]) -> float:
    """Return the temperature of least negative log-likelihood over known pixels of all tiles.

    It comes on top of the network's own; 1 where nothing is known.
    """
    segmenter, numbers = bundle.segmenter, number_type(bundle.device, "auto")
    rng = torch.Generator().manual_seed(0)
    logits, truths = [], []
    for tiles, labels, _ in samples:
        with torch.autocast(bundle.device.type, numbers, enabled=numbers != torch.float32):
            outputs = segmenter(tiles.to(bundle.device)).float().cpu()
        for output, target in zip(outputs, segmenter.targets(labels), strict=True):
            known = torch.nonzero(target.flatten() != IGNORE).flatten()
            some = known[torch.randperm(len(known), generator=rng)[:PIXELS_PER_TILE]]
            logits.append(output.flatten(1)[:, some].T)
            truths.append(target.flatten()[some].long())
    if not sum(map(len, truths)):
        return 1.0
    return best_temperature(segmenter, torch.cat(logits), torch.cat(truths))


def best_temperature(segmenter: Segmenter, logits: Tensor, truths: Tensor) -> float:
    """Return the temperature at which (N, outputs) logits tell (N,) true classes best."""

    def surprise(log_temperature: float) -> float:
        warmed = logits[:, :, None, None] / math.exp(log_temperature)
        probabilities = segmenter.probabilities(warmed)[:, :, 0, 0].double()
        told = probabilities.gather(1, truths[:, None]).clamp(min=1e-12)
        return float(-told.log().mean())

    bounds = (math.log(COLDEST), math.log(HOTTEST))
    return math.exp(minimize_scalar(surprise, bounds=bounds, method="bounded").x)
