"""Pixels in, class probabilities out: the network with its normalisation inside."""

import torch
from torch import Tensor, nn

from slidemask.models.build import ModelSpec, build_network, input_multiple


class Segmenter(nn.Module):
    """A network that takes tiles as slides give them: (N, H, W, 3) uint8.

    Normalisation is part of it, so training, inference and export cannot differ. Any height and
    width will do: tiles are padded by replication to what the network needs, and cut back.

    Parameters
    ----------
    spec : ModelSpec
        What to build.
    classes : int
        Number of foreground classes K.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: ModelSpec, classes: int) -> None:
        super().__init__()
        self.sigmoid = spec.activation == "sigmoid"
        self.network = build_network(spec, classes if self.sigmoid else classes + 1)
        self.multiple = input_multiple(self.network)
        self.register_buffer("mean", 255 * torch.tensor(spec.mean))
        self.register_buffer("std", 255 * torch.tensor(spec.std))

    def forward(self, tiles: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 -> logits (N, K + 1 or K, H, W)."""
        height, width = tiles.shape[1:3]
        images = ((tiles.float() - self.mean) / self.std).permute(0, 3, 1, 2)
        below, right = -height % self.multiple, -width % self.multiple
        padded = nn.functional.pad(images, (0, right, 0, below), mode="replicate")
        return self.network(padded)[:, :, :height, :width]

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits -> (N, K + 1, H, W) float32, background first, sums to 1.

        Independent sigmoids leave to the background the chance that no class is there.
        """
        logits = logits.float()
        if not self.sigmoid:
            return logits.softmax(dim=1)
        classes = logits.sigmoid()
        every = torch.cat([(1 - classes).prod(dim=1, keepdim=True), classes], dim=1)
        return every / every.sum(dim=1, keepdim=True)
