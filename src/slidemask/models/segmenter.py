"""Pixels in, class probabilities out: the network with its normalisation inside."""

import torch
from torch import Tensor, nn

from slidemask.base.errors import SettingsError
from slidemask.models.build import ModelSpec, build_network, input_multiple


class Segmenter(nn.Module):
    """A network that takes tiles as slides give them: (N, H, W, 3) uint8.

    With a context they are (N, H, W, 6): red, green, blue of each tile, then of its surroundings.
    Normalisation is part of it, so training, inference and export cannot differ. Any height and
    width will do: tiles are padded by replication to what the network needs, and cut back.

    Parameters
    ----------
    spec : ModelSpec
        What to build.
    classes : int
        Number of foreground classes K.
    context : float, optional
        How many times wider and coarser than the tile its surroundings are; None: not seen.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: ModelSpec, classes: int, context: float | None = None) -> None:
        super().__init__()
        self.context = context
        self.channels = 3 if context is None else 6
        self.sigmoid = spec.activation == "sigmoid"
        self.network = build_network(spec, classes if self.sigmoid else classes + 1, context)
        self.multiple = input_multiple(self.network)
        self.register_buffer("mean", 255 * torch.tensor(spec.mean))
        self.register_buffer("std", 255 * torch.tensor(spec.std))

    def forward(self, tiles: Tensor) -> Tensor:
        """(N, H, W, 3 or 6) uint8 -> logits (N, K + 1 or K, H, W)."""
        if tiles.shape[3] != self.channels:
            raise SettingsError(
                f"The network sees tiles of {self.channels} channels (context {self.context}), "
                f"got {tiles.shape[3]}; read them with tiling.context as in its training."
            )
        height, width = tiles.shape[1:3]
        if self.context is not None:
            tiles = torch.cat([tiles[..., :3], tiles[..., 3:]])
        images = ((tiles.float() - self.mean) / self.std).permute(0, 3, 1, 2)
        below, right = -height % self.multiple, -width % self.multiple
        padded = nn.functional.pad(images, (0, right, 0, below), mode="replicate")
        if self.context is None:
            return self.network(padded)[:, :, :height, :width]
        covered = (height / padded.shape[2], width / padded.shape[3])
        return self.network(padded, covered)[:, :, :height, :width]

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
