"""Photos drawn for tests, with slides of known corners, and what an ideal network says of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.types import Probs, Rgb
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import BundleInfo
from slidemask.post.outlines import Outlines
from slidemask.recipes.photo.find import seen_by_network
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling

PHOTO = ClassMap(classes=(ClassInfo(name="slide"), ClassInfo(name="border", colour=(255, 200, 0))))
TABLE = (205, 190, 170)
_FINE = 4

Corners = NDArray[np.float64]


def coverage(ring: Corners, height: int, width: int) -> NDArray[np.float32]:
    """Return the share of each pixel that lies in a ring (N, 2), by 4 x 4 points a pixel."""
    whole = np.zeros((height, width), np.float32)
    left, top = np.clip(np.floor(ring.min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(ring.max(axis=0)), 0, (width, height)).astype(int)
    crossed = np.zeros(((bottom - top) * _FINE, (right - left) * _FINE), bool)
    y = top + (np.arange(len(crossed)) + 0.5) / _FINE
    x = left + (np.arange(crossed.shape[1]) + 0.5) / _FINE
    # Even-odd rule, row by row: is the number of sides to the right of a point odd?
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        rows = np.nonzero((y >= min(y0, y1)) & (y < max(y0, y1)))[0]
        if len(rows):
            cross = x0 + (y[rows] - y0) * (x1 - x0) / (y1 - y0)
            crossed[rows] ^= x[None, :] < cross[:, None]
    parts = crossed.reshape(bottom - top, _FINE, right - left, _FINE)
    whole[top:bottom, left:right] = parts.mean(axis=(1, 3))
    return whole


def draw_photo(
    rings: Sequence[Corners], height: int, width: int, *, seed: int = 0, blur_px: float = 1.0
) -> Rgb:
    """Draw stained tissue within rings on a table, slightly blurred and noisy."""
    rng = np.random.default_rng(seed)
    photo = np.full((height, width, 3), TABLE, np.float32)
    for ring in rings:
        coarse = rng.normal(0, 1, (height // 8 + 2, width // 8 + 2)).astype(np.float32)
        tissue = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        stain = np.stack([160 + 20 * tissue, 70 + 15 * tissue, 130 + 15 * tissue], axis=-1)
        share = coverage(ring, height, width)[..., None]
        photo = photo * (1 - share) + stain.clip(0, 255) * share
    photo = cv2.GaussianBlur(photo, (0, 0), blur_px) + rng.normal(0, 2, photo.shape)
    return photo.clip(0, 255).astype(np.uint8)


def ideal(
    rings: Sequence[Corners], photo: Rgb, settings: Outlines, *, seed: int = 0, noise: float = 0.0
) -> Probs:
    """Return what a network that has learnt all there is would say, with smooth noise on it."""
    height, width = photo.shape[:2]
    rows, columns = seen_by_network(photo, settings).shape[:2]
    scale = np.array([columns / width, rows / height])
    band = 2 * round(settings.border_share * max(rows, columns)) + 1
    border, inside = np.zeros((2, rows, columns), np.float32)
    for ring in rings:
        share = coverage(ring * scale, rows, columns)
        inner = cv2.erode(share, np.ones((band, band), np.uint8), borderValue=1)
        inside = inside * (1 - share) + inner
        border = border * (1 - share) + share - inner
    planes = np.stack([1 - inside - border, inside, border])
    rng = np.random.default_rng(seed)
    blurred = [cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in planes]
    waves = [cv2.GaussianBlur(rng.normal(0, 1, (rows, columns)), (0, 0), 3) for _ in range(3)]
    noisy = (np.array(blurred) + noise * 10 * np.array(waves)).clip(1e-3, None)
    return np.asarray(noisy / noisy.sum(axis=0), np.float32)


def bundle_info(settings: Outlines | None, classes: ClassMap = PHOTO) -> BundleInfo:
    return BundleInfo(
        name="drawn",
        model=ModelSpec(width=2, depth=1),
        classes=classes,
        tiling=Tiling(tile_px=640, longest_side_px=640),
        filters=Filters(tissue=None),
        use={} if settings is None else {"photo": settings.model_dump(mode="json")},
    )


@dataclass
class Knowing:
    """A bundle that says what it was told, whatever it sees."""

    info: BundleInfo
    says: Probs
    digest: str = "knowing"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def predict(self, tiles: NDArray[np.uint8], precision: str = "auto") -> Probs:  # noqa: ARG002 - as Bundle has it
        assert tiles.shape[1:3] == self.says.shape[1:]
        return self.says[None]
