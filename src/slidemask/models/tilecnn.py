"""The small network that says what a tile shows, at any tile size."""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from slidemask.base.errors import SettingsError
from slidemask.base.settings import Settings
from slidemask.models.imagenet import IMAGENET_MEAN, IMAGENET_STD


class TileNetSpec(Settings):
    """What network to build.

    Parameters
    ----------
    tile_px : int
        Tile side in pixels.
    classes : int
        Foreground classes K: 1 for diseased or not, more for subtypes.
    filters : tuple of int
        Filters of each stage; as many stages as numbers.
    kernel : int
        Side of the convolutions.
    dropouts : tuple of 3 floats
        Dropped shares of the last stage's features, and after each of the dense layers; the
        "pool" head, with one dense layer, uses the first and the last.
    head : {"dense", "pool"}
        "dense", as published: flatten, dense layer of `tile_px` units, of half as many, output.
        "pool", ours: mean over the tile, dense layer of as many units as filters, output; its
        size does not depend on the tile's.
    momentum : float
        Of the batch normalisation: what each batch adds to the moving statistics. Keras's .01
        lags about 100 steps behind; short trainings want more.
    activation : {"sigmoid", "softmax"}
        One output, for a single class; or one for each class and the background.
    mean, std : (red, green, blue)
        Normalisation of pixels scaled to 0..1.
    """

    tile_px: int = Field(default=400, ge=1, le=8192)
    classes: int = Field(default=1, ge=1, le=254)
    filters: tuple[int, ...] = Field(default=(32, 64, 96, 96, 64), min_length=1)
    kernel: int = Field(default=3, ge=1)
    dropouts: tuple[float, float, float] = (0.2, 0.2, 0.3)
    head: Literal["dense", "pool"] = "dense"
    momentum: float = Field(default=0.01, gt=0, le=1)
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @model_validator(mode="after")
    def _possible(self) -> "TileNetSpec":
        if min(self.filters) < 1:
            raise ValueError(f"filters must be positive, got {self.filters}")
        if not all(0 <= share < 1 for share in self.dropouts):
            raise ValueError(f"dropouts must lie in 0..1, below 1, got {self.dropouts}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        if self.activation == "sigmoid" and self.classes > 1:
            raise ValueError(
                f"a sigmoid tells one class from the background, got {self.classes} classes; "
                'give activation = "softmax"'
            )
        return self

    @property
    def outputs(self) -> int:
        """Logits of a tile."""
        return 1 if self.activation == "sigmoid" else self.classes + 1

    @property
    def sides(self) -> tuple[int, ...]:
        """Side of the tile, then of its features after each stage; 0 where nothing is left."""
        sides = [self.tile_px]
        for _ in self.filters:
            sides.append(max(0, sides[-1] - self.kernel + 1) // 2)
        return tuple(sides)

    @property
    def smallest_tile_px(self) -> int:
        """Smallest tile of which the last stage leaves something.

        >>> TileNetSpec().smallest_tile_px
        94
        """
        side = 1
        for _ in self.filters:
            side = 2 * side + self.kernel - 1
        return side


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


def require_room(spec: TileNetSpec) -> None:
    """Make sure that the last stage leaves something of a tile.

    Raises
    ------
    SettingsError
        If the tile is too small for so many stages.
    """
    if spec.tile_px < spec.smallest_tile_px:
        raise SettingsError(
            f"Tiles of {spec.tile_px} px are too small for {len(spec.filters)} stages: give "
            f"tile_px of {spec.smallest_tile_px} or more, or fewer filters."
        )


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
