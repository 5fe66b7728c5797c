"""Tiny synthetic pictures with masks; the red channel is the mask, so that they can be compared."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.data.case import Case

GLAND = ClassMap(classes=(ClassInfo(name="gland"),))


def _blobs(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth random blobs, (H, W) bool, about a third of the picture."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), 6)
    return field > np.quantile(field, 0.65)


def _write_pair(folder: Path, name: str, mask: np.ndarray, seed: int = 0) -> Case:
    """A picture whose red channel is 200 inside the mask and 40 outside."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*mask.shape, 3), np.uint8)
    image[..., 0] = np.where(mask, 200, 40)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    slide, labels = folder / "images" / f"{name}.png", folder / "labels" / f"{name}.png"
    cv2.imwrite(str(slide), image[..., ::-1])
    cv2.imwrite(str(labels), mask.astype(np.uint8) * 255)
    return Case(slide, labels, patient=name)


@pytest.fixture
def classes() -> ClassMap:
    """One class, any value but 0."""
    return GLAND


@pytest.fixture
def cases(tmp_path: Path) -> tuple[Case, ...]:
    """Six pictures of 100 x 140 px; the last has no gland."""
    masks = [_blobs(100, 140, seed) for seed in range(5)] + [np.zeros((100, 140), bool)]
    return tuple(_write_pair(tmp_path, f"p{n}", mask, n) for n, mask in enumerate(masks))


@pytest.fixture(scope="session")
def blobs() -> Callable[[int, int, int], np.ndarray]:
    """Height, width, seed -> smooth random blobs, (H, W) bool, about a third of the picture."""
    return _blobs


@pytest.fixture(scope="session")
def write_pair() -> Callable[..., Case]:
    """Folder, name, mask -> a case whose picture's red channel is the mask."""
    return _write_pair
