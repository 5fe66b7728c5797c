"""A bundle's network as PyTorch has it; imported when it is first needed."""

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from slidemask.base.errors import BundleError
from slidemask.base.types import Probs
from slidemask.models.devices import Device, Numbers
from slidemask.models.lane import lane
from slidemask.models.segmenter import Segmenter
from slidemask.models.spec import ModelSpec


def with_weights(segmenter: Segmenter, blob: bytes, where: Device, *, of: str) -> Segmenter:
    """Return a network with the weights of a bundle's file, ready to predict on a device.

    Raises
    ------
    BundleError
        If they do not fit; `of` says whose they are.
    """
    try:
        state = safetensors.torch.load(blob)
        segmenter.load_state_dict(
            {
                key: value.float() if value.is_floating_point() else value
                for key, value in state.items()
            }
        )
    except (SafetensorError, RuntimeError) as error:
        raise BundleError(f"The weights of bundle {of} do not fit it: {error}") from error
    return segmenter.eval().to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


@torch.inference_mode()
def probabilities(
    segmenter: Segmenter, tiles: NDArray[np.uint8], device: Device, numbers: Numbers
) -> Probs:
    """Compute as `Bundle.predict` does."""
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[numbers]

    def network(batch: Tensor) -> Tensor:
        with torch.autocast(device.type, kind, enabled=numbers != "fp32"):
            logits = segmenter(batch)
        return segmenter.probabilities(logits)

    if device.type == "cuda":
        return lane(device).run(network, tiles)
    return network(torch.from_numpy(tiles).to(device)).cpu().numpy()


def count(spec: ModelSpec, classes: int, context: float | None, tile_px: int | None) -> int:
    """Return how many trainable numbers a network has, and leave a training's chances alone."""
    with torch.random.fork_rng(devices=[]):
        return Segmenter(spec, classes, context, tile_px).parameters_count


def weights_of(segmenter: Segmenter) -> bytes:
    """Return a network's weights as a bundle holds them."""
    return safetensors.torch.save(
        {key: _compact(value) for key, value in segmenter.state_dict().items()}
    )


def _compact(value: Tensor) -> Tensor:
    kernel = value.ndim >= 2 and value.is_floating_point()
    return (value.half() if kernel else value).contiguous().cpu()
