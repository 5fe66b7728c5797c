"""The small network that says what a tile shows, at any tile size."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from slidemask.base.errors import SettingsError
from slidemask.models.spec import TileNetSpec, require_room


class TileNet(nn.Module):
    """Five 3 × 3 convolutions and a dense head: (N, H, W, 3) uint8 tiles -> logits.

    Each stage is convolution → ReLU → 2 × 2 maximum → batch normalisation, in this order as in
    Frank (2022, rs-122564/v3) and its source code. Convolutions are not padded, Keras's default,
    and pooling drops an odd last row or column: a 400 px tile shrinks to 199, 98, 48, 23, 10.
    Without padding, features depend on nothing but pixels below them; `infer.shared` rests on it.

    Parameters
    ----------
    spec : TileNetSpec
        What to build.

    Raises
    ------
    SettingsError
        If the tile is too small for so many stages.

    Examples
    --------
    The network as published, at its best tile size, and ours:

    >>> TileNet(TileNetSpec(tile_px=400)).parameters_count
    2854689
    >>> TileNet(TileNetSpec(tile_px=400, head="pool")).parameters_count
    218113
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: TileNetSpec) -> None:
        super().__init__()
        require_room(spec)
        self.spec = spec
        widths = pairwise((3, *spec.filters))
        self.stages = nn.ModuleList(
            TileStage(a, b, spec.kernel, momentum=spec.momentum) for a, b in widths
        )
        self.head = _dense_head(spec) if spec.head == "dense" else pool_head(spec)
        self.register_buffer("mean", 255 * torch.tensor(spec.mean))
        self.register_buffer("std", 255 * torch.tensor(spec.std))

    def forward(self, tiles: Tensor) -> Tensor:
        """(N, tile, tile, 3) uint8 -> logits (N, outputs)."""
        side = self.spec.tile_px
        if tiles.shape[1:] != (side, side, 3):
            raise SettingsError(
                f"The network sees RGB tiles of {side} x {side} px, got {tuple(tiles.shape[1:])}; "
                "its dense layers fit no other size: cut tiles of tiling.tile_px as in training."
            )
        features = ((tiles.float() - self.mean) / self.std).permute(0, 3, 1, 2)
        for stage in self.stages:
            features = stage(features)
        return self.head(features)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (N, outputs) -> (N, K + 1) float32, background first, sums to 1."""
        logits = logits.float()
        if self.spec.activation == "softmax":
            return logits.softmax(dim=1)
        return torch.cat([(-logits).sigmoid(), logits.sigmoid()], dim=1)

    @property
    def parameters_count(self) -> int:
        """Trainable numbers; moving means and variances, which Keras counts too, are not."""
        return sum(parameter.numel() for parameter in self.parameters())


class TileStage(nn.Module):
    """Convolution, ReLU, 2 × 2 maximum, batch normalisation.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel : int
        Side of the convolution.
    padding : int
        Pixels by which the input is continued at its edges, by replication.
    momentum : float
        Of the normalisation.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, momentum: float, padding: int = 0
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            inputs, outputs, kernel, padding=padding, padding_mode="replicate"
        )
        # Keras's epsilon.
        self.normalisation = nn.BatchNorm2d(outputs, eps=1e-3, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, (h - kernel + 1) // 2, …); h // 2 when padded."""
        x = nn.functional.max_pool2d(self.convolution(x).relu(), 2)
        return self.normalisation(x)


def _dense_head(spec: TileNetSpec) -> nn.Sequential:
    features, hidden = spec.filters[-1] * spec.sides[-1] ** 2, (spec.tile_px, spec.tile_px // 2)
    first, second, third = spec.dropouts
    return nn.Sequential(
        nn.Dropout(first),
        nn.Flatten(),
        nn.Linear(features, hidden[0]),
        nn.ReLU(),
        nn.Dropout(second),
        nn.Linear(hidden[0], hidden[1]),
        nn.ReLU(),
        nn.Dropout(third),
        nn.Linear(hidden[1], spec.outputs),
    )


def pool_head(spec: TileNetSpec) -> nn.Sequential:
    """Return what makes logits of features, (N, filters, h, w) -> (N, outputs)."""
    width = spec.filters[-1]
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(spec.dropouts[0]),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Dropout(spec.dropouts[2]),
        nn.Linear(width, spec.outputs),
    )
