"""What tests of whole journeys share: pictures of dark discs, and a bundle that marks what is dark.

The network of `save_dark_bundle` is a real U-Net whose weights make it a threshold: it looks at
each pixel alone, so what it must answer is known without it.
"""

from pathlib import Path

import cv2
import numpy as np
import torch

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.data.case import Case
from slidemask.geometry.box import Size
from slidemask.io.pyramid import write_rgb_pyramid
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import BundleInfo, save_bundle
from slidemask.models.segmenter import Segmenter
from slidemask.models.unet import UNet
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling

GLAND = ClassMap(classes=(ClassInfo(name="gland", colour=(0, 160, 60)),))
DARK, LIGHT = (60, 40, 90), (235, 215, 240)


def discs(
    height: int, width: int, seed: int = 0, radius: tuple[int, int] = (6, 14)
) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture (H, W, 3) uint8 of dark discs on light noise, and the mask of the discs."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(max(2, height * width // 2500)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(mask, centre, int(rng.integers(*radius)), 1, -1)
    pixels = np.where(mask[..., None] == 1, np.array(DARK), np.array(LIGHT))
    noisy = pixels + rng.integers(-12, 13, pixels.shape)
    return noisy.clip(0, 255).astype(np.uint8), mask


def write_png(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, data = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    assert ok
    path.write_bytes(data.tobytes())  # cv2.imwrite fails on some file systems with other letters
    return path


def write_slide(path: Path, pixels: np.ndarray, mpp: float | None = 0.5) -> Path:
    """A pyramidal, tiled, JPEG-compressed TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = Size(pixels.shape[1], pixels.shape[0])
    write_rgb_pyramid(path, iter([(0, pixels)]), size, mpp=mpp)
    return path


def disc_cases(folder: Path, train: int = 6, validation: int = 3, side: int = 64) -> list[Case]:
    """Pictures with masks, each a patient of its own, the parts stated."""
    cases = []
    for number in range(train + validation):
        pixels, mask = discs(side, side, seed=number)
        slide = write_png(folder / "images" / f"p{number}.png", pixels)
        labels = write_png(folder / "labels" / f"p{number}.png", mask * 255)
        part = "train" if number < train else "validation"
        cases.append(Case(slide, labels, f"p{number}", part, 1.0))
    return cases


def save_dark_bundle(
    folder: Path,
    *,
    tile: int = 64,
    downsample: float | None = 1.0,
    mpp: float | None = None,
    filters: Filters | None = None,
) -> Path:
    """Write a bundle that calls a pixel a gland when (red + 2 green + blue) / 4 < 127.5."""
    spec = ModelSpec(width=1, depth=1, mean=(0, 0, 0), std=(1, 1, 1))
    segmenter = Segmenter(spec, 1)
    network = segmenter.network
    assert isinstance(network, UNet)
    weights = dict(network.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            value.fill_(1 if name.endswith("weight") and value.ndim == 1 else 0)  # of batch norms
        weights["first.0.weight"][0, :, 1, 1] = torch.tensor([-0.25, -0.5, -0.25])
        weights["first.1.bias"].fill_(1)  # darkness, 0..1
        weights["first.3.weight"][0, 0, 1, 1] = 1
        weights["up.0.convolve.0.weight"][0, 0, 1, 1] = 1  # the skip; what is below is left out
        weights["up.0.convolve.3.weight"][0, 0, 1, 1] = 1
        weights["last.weight"][1] = 40
        weights["last.bias"][1] = -20
    info = BundleInfo(
        name="dark",
        model=spec,
        classes=GLAND,
        tiling=Tiling(tile_px=tile, overlap=0.25, downsample=downsample, mpp=mpp),
        filters=filters or Filters(tissue=None),
    )
    save_bundle(folder, info, segmenter, card="# dark", scores={})
    return folder


def darkness(pixels: np.ndarray) -> np.ndarray:
    """Return what that bundle's threshold is applied to, 0..1; above 0.5 is a gland."""
    red, green, blue = np.moveaxis(pixels.astype(np.float64), -1, 0)
    return 1 - (red + 2 * green + blue) / (4 * 255)
