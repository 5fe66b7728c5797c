"""Networks whose output is known, for tests of everything around a network."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.types import Probs
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import BundleInfo
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling

GLAND = ClassMap(classes=(ClassInfo(name="gland"),))


def info(*, tile: int = 32, overlap: float = 0.25, downsample: float = 1.0) -> BundleInfo:
    return BundleInfo(
        name="fake",
        model=ModelSpec(width=2, depth=1),
        classes=GLAND,
        tiling=Tiling(tile_px=tile, overlap=overlap, downsample=downsample),
        filters=Filters(tissue=None),
    )


@dataclass
class Darkness:
    """Calls each pixel a gland with the probability 1 - red / 255: a network without context."""

    info: BundleInfo = field(default_factory=info)
    digest: str = "darkness"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seen: int = 0
    network: None = None
    backend: None = None
    streams: int = 0
    coarse: None = None

    def built(self) -> "Darkness":
        return self

    def predict(self, tiles: NDArray[np.uint8], precision: str = "auto") -> Probs:  # noqa: ARG002 - as Bundle has it
        self.seen += len(tiles)
        gland = np.float32(1) - tiles[..., 0].astype(np.float32) / np.float32(255)
        return np.stack([1 - gland, gland], axis=1)


@dataclass
class Constant(Darkness):
    """Says the same everywhere."""

    value: float = 0.7

    def predict(self, tiles: NDArray[np.uint8], precision: str = "auto") -> Probs:  # noqa: ARG002 - as Bundle has it
        gland = np.full(tiles.shape[:3], self.value, np.float32)
        return np.stack([1 - gland, gland], axis=1)


@dataclass
class Corner(Darkness):
    """Marks the upper left quarter of each tile: what it says turns with the tile."""

    def predict(self, tiles: NDArray[np.uint8], precision: str = "auto") -> Probs:  # noqa: ARG002 - as Bundle has it
        gland = np.zeros(tiles.shape[:3], np.float32)
        gland[:, : tiles.shape[1] // 2, : tiles.shape[2] // 2] = 1
        return np.stack([1 - gland, gland], axis=1)
