"""Plain pictures: PNG, JPEG, WebP, BMP and whatever else Pillow decodes whole."""

import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from slidemask.base.errors import SlideError
from slidemask.base.types import Rgb
from slidemask.geometry.box import Size
from slidemask.io.cache import TILES, new_owner
from slidemask.io.mpp import PixelSize
from slidemask.io.resample import Window
from slidemask.io.source import flattened

_TURNED = {5, 6, 7, 8}
"""EXIF orientations that swap width and height."""


class PictureSource:
    """A picture, decoded whole at the first read and kept for a while."""

    pixel_size = PixelSize(None, "a plain picture's DPI says nothing of micrometres")

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._owner = new_owner()
        with _opened(path) as image:
            if image.mode in {"F", "I"}:
                raise SlideError(f"pixels of Pillow mode {image.mode} have no scale of brightness")
            self.reader = f"picture ({image.format})"
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) in _TURNED
            self.sizes = (Size(height, width) if turned else Size(width, height),)

    def fetch(self, level: int, window: Window) -> Rgb:  # noqa: ARG002 - there is one level
        """Give pixels, upright, transparent ones on white."""
        with self._lock:  # let the others wait for the first one's picture
            pixels = TILES.get((self._owner,), lambda: _decoded(self._path))
        x, y, width, height = window
        return pixels[y : y + height, x : x + width].copy()

    def forget(self) -> None:
        """Keep the picture: it can only be decoded whole."""

    def close(self) -> None:
        """Forget the pixels."""
        TILES.forget(self._owner)


def open_picture(path: Path) -> PictureSource | str:
    """Open with Pillow; '' if it does not know the format.

    Raises
    ------
    SlideError
        If the picture is damaged, or so large that it should be a pyramid.
    """
    try:
        return PictureSource(path)
    except UnidentifiedImageError:
        return ""
    except Image.DecompressionBombError as error:
        raise SlideError(
            f"a plain picture this large is not decoded whole ({error}); make a tiled pyramid of "
            "it first, for instance with `vips tiffsave IN OUT.tif --tile --pyramid`"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's parsers raise
        raise SlideError(f"Pillow says: {error}") from error


def _opened(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # up to twice its limit
        return Image.open(path)


def _decoded(path: Path) -> Rgb:
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            grey = (np.asarray(upright) >> 8).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        if upright.has_transparency_data:
            return flattened(np.asarray(upright.convert("RGBA")))
        return np.array(upright.convert("RGB"))
