"""Parts of the user's scenes: photographs without slides."""

import logging
from collections.abc import Container, Iterable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from slidemask.base.errors import SettingsError, SlideError
from slidemask.base.types import Rgb
from slidemask.io.photograph import read_photo

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif"})
_KEPT_PX = 2600


def files_in(paths: Iterable[Path], suffixes: Container[str]) -> list[Path]:
    """List files of these kinds under files and folders, sorted within each, none twice.

    Raises
    ------
    SettingsError
        If a path does not exist.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise SettingsError(f"{path} does not exist; name a picture or a folder of pictures.")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        files += [file for file in inside if file.suffix.lower() in suffixes]
    return list(dict.fromkeys(files))


def scene_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """List the photographs under `paths`, leaving out, with a warning, what cannot be read."""
    found = []
    for file in files_in(paths, SUFFIXES):
        try:
            read_photo(file)
        except SlideError as error:
            log.warning("%s is left out: %s", file, error)
        else:
            found.append(file)
    return tuple(found)


@lru_cache(maxsize=48)
def whole(path: Path, longest_px: int = _KEPT_PX) -> Rgb:
    """Read a scene, made smaller where it is larger than that."""
    pixels = read_photo(path)
    scale = longest_px / max(pixels.shape)
    if scale < 1:
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
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
