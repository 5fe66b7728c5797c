"""Label images: pictures whose pixel values are classes, read and written without loss."""

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from slidemask.base.errors import AnnotationError
from slidemask.base.files import written_whole

LabelImage = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W), values as stored."""

_LONGEST_PNG = 65_535
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def read_label_image(path: Path) -> LabelImage:
    """Read stored values; what a palette would make of them does not matter.

    Parameters
    ----------
    path : Path
        PNG, TIFF (first page), WebP, BMP or what else Pillow reads: grey, with a palette,
        two-valued (0 and 1), or coloured with equal channels.

    Returns
    -------
    (H, W) uint8 or uint16

    Raises
    ------
    AnnotationError
        If it cannot be read, holds different colours, or values that do not fit 16 bits.
    """
    try:
        values = _stored(path)
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AnnotationError(
            f"Label image {path} cannot be read ({reason}). Check the path and the file."
        ) from error
    if values.size == 0:
        raise AnnotationError(f"Label image {path} cannot be read (it holds no picture).")
    return _whole_numbers(_one_channel(values, path), path)


def write_label_image(path: Path, labels: LabelImage) -> Path:
    """Write labels without loss: PNG up to 65,535 pixels a side, tiled TIFF beyond.

    Parameters
    ----------
    path : Path
        Ends in .png; .tif or .tiff asks for TIFF at any size.
    labels : (H, W) uint8 or uint16

    Returns
    -------
    Path
        What was written: `path`, but ending in .tif where PNG cannot hold the size.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    as_tiff = path.suffix.lower() in {".tif", ".tiff"}
    if max(labels.shape) > _LONGEST_PNG and not as_tiff:
        path, as_tiff = path.with_suffix(".tif"), True
    with written_whole(path) as beside:
        if as_tiff:
            tifffile.imwrite(
                beside,
                labels,
                bigtiff=labels.nbytes > 2**31,
                tile=(512, 512),
                compression="deflate",
                photometric="minisblack",
            )
        else:
            Image.fromarray(labels).save(beside, format="PNG", compress_level=6)
    return path


def _stored(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(0)
        if start.startswith(_TIFF):
            return tifffile.imread(file, key=0)
        if start.startswith(b"\x89PNG"):
            # Opened by its class, a PNG has no size limit; label images of slides are large.
            with PngImagePlugin.PngImageFile(file) as image:
                return np.asarray(image)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                return np.asarray(image)


def _one_channel(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return (H, W); alpha is left out, other channels must be equal."""
    if values.ndim == 2:
        return values
    if values.ndim != 3:
        raise AnnotationError(f"Label image {path} has the shape {values.shape}, not rows, columns")
    colours = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
    if not (colours == colours[..., :1]).all():
        i, j = np.argwhere((colours != colours[..., :1]).any(axis=2))[0]
        raise AnnotationError(
            f"Label image {path} is coloured: pixel (row {i}, column {j}) holds "
            f"{tuple(colours[i, j].tolist())}. Save classes as one grey value each, without "
            "loss (PNG, not JPEG), or as a palette image."
        )
    return colours[..., 0]


def _whole_numbers(values: NDArray[Any], path: Path) -> LabelImage:
    """Return uint8 or uint16, or refuse."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    fits = values.size == 0 or (values.min() >= 0 and values.max() <= np.iinfo(np.uint16).max)
    if values.dtype.kind not in "ui" or not fits:
        raise AnnotationError(
            f"Label image {path} holds {values.dtype} from {values.min()} to {values.max()}. "
            "Save whole numbers from 0 to 65535."
        )
    return values.astype(np.uint16)
