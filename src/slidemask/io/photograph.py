"""Photos as cameras write them: upright, as red, green and blue, whatever their format."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from pi_heif import register_heif_opener
from PIL import Image, ImageOps, UnidentifiedImageError

from slidemask.base.errors import SlideError
from slidemask.base.types import Rgb
from slidemask.io.source import flattened

FORMATS = ("BMP", "HEIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP")
_ORIENTATION = 0x0112
_JPEG_END = b"\xff\xd9"
LARGEST_MEGAPIXELS = 170
"""More than the largest camera chips give; such a picture takes half a gigabyte."""
_BAND_PX = 256
_opening = threading.Lock()
"""What is ignored is ignored in all threads, and two that overlap would leave it so."""


def read_photo(path: Path) -> Rgb:
    """Read a photo as it was meant to be seen.

    EXIF orientation is followed; what is transparent lies on white; grey, CMYK and 16 bits become
    RGB in 8 bits. JPEG, HEIC, PNG, WebP, TIFF and BMP are known.

    Parameters
    ----------
    path : Path

    Returns
    -------
    (H, W, 3) uint8

    Raises
    ------
    SlideError
        If the file is missing, damaged, cut off, of another format, or so large that decoding it
        would fill the memory.
    """
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise SlideError(f"Photo {path} {what}. Give a picture file.")
    if not path.stat().st_size:
        raise SlideError(f"Photo {path} is empty. Copy it again.")
    try:
        return np.ascontiguousarray(_read(path))
    except UnidentifiedImageError as error:
        raise SlideError(
            f"Photo {path} is not a picture of a known format ({', '.join(FORMATS)}), or its "
            "beginning is damaged. Copy it again, or save it as JPEG or PNG."
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except (OSError, SyntaxError, ValueError, EOFError, tifffile.TiffFileError) as error:
        raise SlideError(
            f"Photo {path} is damaged or cut off ({error}). Copy it again from the camera."
        ) from error


def _read(path: Path) -> Rgb:
    with _opened(path) as image:
        width, height = image.size
        if width * height > LARGEST_MEGAPIXELS * 1e6:
            raise _too_large(path)
        if image.format == "TIFF" and _bits(image) > 8:  # Pillow keeps one channel of such at most
            return _upright(_deep_tiff(path), image.getexif().get(_ORIENTATION, 1))
        if image.mode in {"F", "I"}:
            raise ValueError(f"pixels of Pillow mode {image.mode} have no scale of brightness")
        orientation = image.getexif().get(_ORIENTATION, 1)
        if image.format == "JPEG" and image.mode == "RGB":
            pixels = _whole_jpeg(path)
            if pixels is not None and pixels.shape == (height, width, 3):
                return _upright(pixels, orientation)
        return _rgb(ImageOps.exif_transpose(image) if orientation != 1 else image)


def _whole_jpeg(path: Path) -> Rgb | None:
    """Decode a JPEG in less than half of Pillow's time, to the same pixels; None where in doubt.

    Of a file that is cut off the decoder would make grey. One that is not ends with its end mark.
    """
    data = path.read_bytes()
    if not data.endswith(_JPEG_END):
        return None
    try:
        return np.asarray(imagecodecs.jpeg8_decode(data), np.uint8)
    except imagecodecs.Jpeg8Error:
        return None


def _rgb(image: Image.Image) -> Rgb:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        return flattened(np.asarray(image.convert("RGBA")))
    return _copied(image if image.mode == "RGB" else image.convert("RGB"))


def _copied(image: Image.Image) -> Rgb:
    """Return the pixels of an RGB image; in bands, since Pillow copies each twice."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _BAND_PX):
        bottom = min(top + _BAND_PX, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    register_heif_opener()
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # up to twice its limit
        image = Image.open(path)
    with image:
        if image.format not in FORMATS:
            raise UnidentifiedImageError(f"{image.format} is no photo")
        yield image


def _bits(image: Image.Image) -> int:
    """Return how many bits a TIFF's channel has."""
    value = getattr(image, "tag_v2", {}).get(258, 8)
    return max(value) if isinstance(value, tuple) else int(value)


def _deep_tiff(path: Path) -> Rgb:
    """Read a TIFF of 16 bits a channel."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0].aspage()
        pixels = page.asarray()
        if page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, 2)
    if pixels.dtype != np.uint16:
        raise ValueError(f"pixels of type {pixels.dtype} have no scale of brightness")
    pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        return np.repeat(pixels.reshape(*pixels.shape[:2], -1)[..., :1], 3, axis=2)
    return pixels[..., :3]


def _upright(pixels: Rgb, orientation: int) -> NDArray[np.uint8]:
    """Turn and mirror pixels by their EXIF orientation, 1 to 8."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return pixels


def _too_large(path: Path) -> SlideError:
    return SlideError(
        f"Photo {path} has more than {LARGEST_MEGAPIXELS} megapixels and is not decoded. "
        "Save a smaller copy; whole slides are for `slidemask segment`."
    )
