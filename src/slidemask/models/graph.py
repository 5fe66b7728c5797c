"""The network as it leaves the house: pixels in, probabilities out, nothing left to do outside."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from slidemask.models.segmenter import Segmenter
from slidemask.models.tilecnn import TileNet


class Graph(nn.Module):
    """Pixels 0..255, uint8 or float, to class probabilities; a copy of its own.

    Normalisation, padding to what the network needs and softmax are inside.

    Parameters
    ----------
    segmenter : Segmenter
        Left as it is.
    channels_first : bool
        Whether pictures come as (N, C, H, W), otherwise (N, H, W, C).
    classes_last : bool
        Whether probabilities leave as (N, H, W, K + 1), otherwise (N, K + 1, H, W); of a network
        that votes they are (N, K + 1).
    half : bool
        Whether the network itself computes in half precision.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        channels_first: bool = False,
        classes_last: bool = False,
        half: bool = False,
    ) -> None:
        super().__init__()
        inner = copy.deepcopy(segmenter).cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stub lacks it
        self.segmenter: Segmenter = _halved(inner) if half else inner
        self.channels_first, self.classes_last = channels_first, classes_last
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        """Pixels -> probabilities, background first, sums to 1."""
        if self.channels_first:
            image = image.permute(0, 2, 3, 1)
        probabilities = self.segmenter.probabilities(self.segmenter(image))
        if self.segmenter.votes:
            return probabilities[:, :, 0, 0]
        return probabilities.permute(0, 2, 3, 1) if self.classes_last else probabilities

    def see_only(self, *sides: int) -> None:
        """Pad only where one of a picture's sides, from now on always these, needs it."""
        self.segmenter.pads = any(side % self.segmenter.multiple for side in sides)


def _halved(segmenter: Segmenter) -> Segmenter:
    """Compute in half precision between normalisation and softmax, which stay in single."""
    network = segmenter.network
    if isinstance(network, TileNet):  # it normalises by itself
        mean, std = network.mean, network.std
        network.half()
        network.mean, network.std = mean, std
        network.stages[0].register_forward_pre_hook(_to_half)
    else:
        network.half().register_forward_pre_hook(_to_half)
    return segmenter


def _to_half(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    first, *rest = inputs
    return first.half(), *rest
