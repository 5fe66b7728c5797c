"""Parts of the user's scenes: photographs without slides."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from slidemask.base.types import Rgb
from slidemask.geometry.box import Box
from slidemask.io.open import open_slide

_KEPT_PX = 2600


@lru_cache(maxsize=48)
def whole(path: Path, longest_px: int = _KEPT_PX) -> Rgb:
    """Read a scene, made smaller where it is larger than that."""
    with open_slide(path) as picture:
        box = Box(0, 0, *picture.size)
        pixels = picture.read(box, max(1.0, max(picture.size) / longest_px))
    pixels.flags.writeable = False
    return pixels


def view_of(path: Path, shape: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """Cut a random part of the scene of this (height, width), enlarged where it is too small."""
    scene = whole(path)
    largest = min(scene.shape[0] / shape[0], scene.shape[1] / shape[1])
    step = largest * rng.uniform(0.5, 1.0)
    height, width = max(2, int(shape[0] * step)), max(2, int(shape[1] * step))
    top = int(rng.integers(scene.shape[0] - height + 1))
    left = int(rng.integers(scene.shape[1] - width + 1))
    part = scene[top : top + height, left : left + width]
    if rng.integers(2):
        part = part[:, ::-1]
    how = cv2.INTER_AREA if step > 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, shape[::-1], interpolation=how), np.uint8)
