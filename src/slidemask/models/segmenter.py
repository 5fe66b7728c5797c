"""Pixels in, class probabilities out: the network with its normalisation inside."""

import torch
from torch import Tensor, nn

from slidemask.base.errors import SettingsError
from slidemask.base.types import IGNORE
from slidemask.models.build import ModelSpec, build_network, input_multiple
from slidemask.models.tilecnn import TileNet


class Segmenter(nn.Module):
    """A network that takes tiles as slides give them: (N, H, W, 3) uint8.

    With a context they are (N, H, W, 6): red, green, blue of each tile, then of its surroundings.
    Normalisation is part of it, so training, inference and export cannot differ. Any height and
    width will do: tiles are padded by replication to what the network needs, and cut back. A
    network that votes sees tiles of `tile_px` alone and says one class for each; where pixels
    are spoken of, its H and W are 1.

    Parameters
    ----------
    spec : ModelSpec
        What to build.
    classes : int
        Number of foreground classes K.
    context : float, optional
        How many times wider and coarser than the tile its surroundings are; None: not seen.
    tile_px : int, optional
        Side of the tiles; a network that votes must be told.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        spec: ModelSpec,
        classes: int,
        context: float | None = None,
        tile_px: int | None = None,
    ) -> None:
        super().__init__()
        self.classes, self.votes, self.min_share = classes, spec.votes, spec.min_share
        self.context = context
        self.channels = 3 if context is None else 6
        self.sigmoid, self.temperature = spec.activation == "sigmoid", spec.temperature
        self.network = build_network(spec, classes, context, tile_px)
        self.multiple = input_multiple(self.network)
        # Off where all sides are multiples; asking the sides would fix open ones in an export.
        self.pads = True
        self.register_buffer("mean", 255 * torch.tensor(spec.mean))
        self.register_buffer("std", 255 * torch.tensor(spec.std))

    def forward(self, tiles: Tensor) -> Tensor:
        """(N, H, W, 3 or 6) uint8 -> logits (N, K + 1 or K, H, W)."""
        if tiles.shape[3] != self.channels:
            raise SettingsError(
                f"The network sees tiles of {self.channels} channels (context {self.context}), "
                f"got {tiles.shape[3]}; read them with tiling.context as in its training."
            )
        if self.votes:
            return self.network(tiles)[:, :, None, None]
        height, width = tiles.shape[1:3]
        if self.context is not None:
            tiles = torch.cat([tiles[..., :3], tiles[..., 3:]])
        mean, std = self.mean[:, None, None], self.std[:, None, None]
        padded = (tiles.permute(0, 3, 1, 2).float() - mean) / std
        if self.pads:
            below, right = -height % self.multiple, -width % self.multiple
            padded = nn.functional.pad(padded, (0, right, 0, below), mode="replicate")
        if self.context is None:
            return self.network(padded)[:, :, :height, :width]
        covered = (height / padded.shape[2], width / padded.shape[3])
        return self.network(padded, covered)[:, :, :height, :width]

    def tile_net(self) -> TileNet:
        """Return the tile classifier itself, where the network votes.

        No property: tracing looks at all properties of a module.
        """
        if not isinstance(self.network, TileNet):
            raise TypeError(f"{type(self.network).__name__} says a class for each pixel, no votes")
        return self.network

    @property
    def parameters_count(self) -> int:
        """Trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def targets(self, labels: Tensor) -> Tensor:
        """Return what is to be learnt of (N, H, W) labels: themselves, or (N, 1, 1) of tiles.

        A tile is of its most frequent foreground class where more than nothing and at least
        `min_share` of its known pixels is foreground, else background; unknown where nothing of
        it is known. Of equally frequent classes it is the first.
        """
        if not self.votes:
            return labels
        counts = torch.stack(
            [(labels == index).sum(dim=(1, 2)) for index in range(1, self.classes + 1)]
        )
        known, foreground = (labels != IGNORE).sum(dim=(1, 2)), counts.sum(dim=0)
        held = (foreground > 0) & (foreground >= self.min_share * known)
        tile = torch.where(held, counts.argmax(dim=0) + 1, 0)
        return torch.where(known > 0, tile, IGNORE).to(labels.dtype)[:, None, None]

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits -> (N, K + 1, H, W) float32, background first, sums to 1.

        Independent sigmoids leave to the background the chance that no class is there.
        """
        logits = logits.float() / self.temperature
        if not self.sigmoid:
            return logits.softmax(dim=1)
        classes = logits.sigmoid()
        every = torch.cat([(1 - classes).prod(dim=1, keepdim=True), classes], dim=1)
        return every / every.sum(dim=1, keepdim=True)
