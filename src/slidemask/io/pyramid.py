"""Write pyramids from bands of rows, in bounded memory, each pixel passed on once.

The tiles of level 0 go into the TIFF as the bands come. The coarser levels are made at the same
time; their encoded tiles wait in a nameless file beside the output and are copied behind it.
Equal input gives equal bytes.
"""

import itertools
import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from slidemask.base.classes import ClassMap
from slidemask.base.files import written_whole
from slidemask.base.types import IGNORE, Labels, Quantised, Rgb
from slidemask.geometry.box import Size
from slidemask.io.ome import ClassTable, ome_xml
from slidemask.io.tilestream import Planes, Spool, TileFormat, level_0_tiles, of_one_colour

JPEG_QUALITY = 90

_CLASSIC_BYTES = 3_500_000_000
"""Raw bytes from which on 32-bit offsets might not suffice, whatever the compression."""


def write_label_pyramid(
    path: Path,
    bands: Iterable[tuple[int, Labels]],
    size: Size,
    *,
    mpp: float | None,
    classes: ClassMap,
) -> None:
    """Write labels as a lossless OME-TIFF pyramid with class table and palette.

    Parameters
    ----------
    path : Path
        The file, usually `mask.ome.tif`.
    bands : iterable of (top row, (h, W) uint8)
        From top to bottom without gaps, of any heights.
    size : Size
        Pixels of the whole map.
    mpp : float or None
        Micrometres per pixel of this map.
    classes : ClassMap
        Names and colours; coarser levels keep every second pixel, so labels never mix.

    Raises
    ------
    OutputError
        If the file cannot be written, or the bands do not make up `size`.
    """
    table = ClassTable(
        classes.names, tuple("#{:02x}{:02x}{:02x}".format(*c) for c in classes.colours)
    )
    xml = ome_xml(path.name, size, ["class"], mpp=mpp, table=table)
    tags = {
        "photometric": "palette",
        "colormap": _palette(classes.colours),
        "compression": "adobe_deflate",
    }
    layout = TileFormat(size, 1, 1, 512, _deflated, _every_second, tags, sub_ifds=True)
    planes = ((top, band[None, ..., None]) for top, band in bands)
    _write(path, planes, layout, mpp=mpp, description=xml)


def write_probability_pyramid(
    path: Path,
    bands: Iterable[tuple[int, Quantised]],
    size: Size,
    *,
    mpp: float | None,
    names: Sequence[str],
) -> None:
    """Write foreground probabilities as an OME-TIFF pyramid, one channel per class.

    Parameters
    ----------
    path : Path
        The file, usually `probability.ome.tif`.
    bands : iterable of (top row, (K, h, W) uint8)
        From top to bottom without gaps; coarser levels are means.
    size : Size
        Pixels of the whole map.
    mpp : float or None
        Micrometres per pixel of this map.
    names : sequence of str
        The K foreground classes.

    Raises
    ------
    OutputError
        If the file cannot be written, or the bands do not make up `size`.
    """
    xml = ome_xml(path.name, size, names, mpp=mpp)
    tags = {"photometric": "minisblack", "compression": "adobe_deflate"}
    layout = TileFormat(size, len(names), 1, 512, _deflated, _halved, tags, sub_ifds=True)
    planes = ((top, band[..., None]) for top, band in bands)
    _write(path, planes, layout, mpp=mpp, description=xml)


def write_rgb_pyramid(
    path: Path,
    bands: Iterable[tuple[int, Rgb]],
    size: Size,
    *,
    mpp: float | None,
    description: str = "",
) -> None:
    """Write a slide: a tiled JPEG pyramid that OpenSlide reads as generic TIFF.

    Parameters
    ----------
    path : Path
        The file, usually `.tif`.
    bands : iterable of (top row, (h, W, 3) uint8)
        From top to bottom without gaps.
    size : Size
        Level-0 pixels.
    mpp : float or None
        Micrometres per level-0 pixel.
    description : str
        What the file says of itself (tag ImageDescription of level 0), in plain words: readers
        take markup, or a beginning such as "Aperio", for a vendor's format.

    Raises
    ------
    OutputError
        If the file cannot be written, or the bands do not make up `size`.
    """
    tags = {"photometric": "ycbcr", "subsampling": (2, 2), "compression": "jpeg"}
    layout = TileFormat(size, 1, 3, 256, _jpeg, _halved, tags, sub_ifds=False)
    planes = ((top, band[None]) for top, band in bands)
    _write(path, planes, layout, mpp=mpp, description=description.encode() or None)


def _write(
    path: Path,
    bands: Iterable[tuple[int, Planes]],
    layout: TileFormat,
    *,
    mpp: float | None,
    description: bytes | None = None,
) -> None:
    first, *coarser = layout.sizes
    common = {
        "dtype": np.uint8,
        "tile": (layout.tile, layout.tile),
        "metadata": None,
        "software": "slidemask",
        **layout.tags,
    }
    raw = layout.planes * layout.samples * math.prod(first) * 4 / 3
    with (
        written_whole(path) as beside,
        tempfile.TemporaryFile(dir=path.parent) as file,
        ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool,
        tifffile.TiffWriter(beside, bigtiff=raw > _CLASSIC_BYTES, ome=False) as tiff,
    ):
        spool = Spool(file)
        tiles = level_0_tiles(bands, layout, spool, pool)
        tiff.write(
            itertools.chain(tiles),  # tifffile would close a generator and with it the bands
            shape=layout.shape(first),
            description=description,
            subifds=len(coarser) if layout.sub_ifds else None,
            **_resolution(mpp, 1),
            **common,
        )
        for _ in tiles:  # the bands' own end, or rows too many
            pass
        for number, size in enumerate(coarser, start=1):
            tiff.write(
                spool.level(number, layout.planes),
                shape=layout.shape(size),
                subfiletype=1,
                **_resolution(mpp, 2**number),
                **common,
            )


def _deflated(tile: NDArray[np.uint8]) -> bytes:
    # libdeflate: less than half of zlib's time at that level, and smaller.
    return bytes(imagecodecs.deflate_encode(tile.tobytes(), level=6))


def _jpeg(tile: NDArray[np.uint8]) -> bytes:
    return bytes(
        imagecodecs.jpeg8_encode(
            tile,
            level=JPEG_QUALITY,
            colorspace="rgb",
            outcolorspace="ycbcr",
            subsampling=(2, 2),
            optimize=of_one_colour(tile),  # glass then takes a third of the bytes
        )
    )


def _every_second(rows: Planes) -> Planes:
    return rows[:, ::2, ::2]


def _halved(rows: Planes) -> Planes:
    """Return rounded means of 2 x 2 pixels; a begun block repeats its edge."""
    if rows.shape[1] % 2 or rows.shape[2] % 2:
        odd = [(0, 0), (0, rows.shape[1] % 2), (0, rows.shape[2] % 2), (0, 0)]
        rows = np.pad(rows, odd, mode="edge")
    planes, height, width, samples = rows.shape
    half = width // 2, height // 2
    small = [cv2.resize(plane, half, interpolation=cv2.INTER_AREA) for plane in rows]
    return (
        np.stack(small)
        .reshape(planes, height // 2, width // 2, samples)
        .astype(np.uint8, copy=False)
    )


def _palette(colours: Sequence[tuple[int, int, int]]) -> NDArray[np.uint16]:
    palette = np.zeros((256, 3), np.uint16)
    palette[: len(colours)] = colours
    palette[IGNORE] = 128
    return np.ascontiguousarray(palette.T * 257)


def _resolution(mpp: float | None, factor: int) -> dict[str, Any]:
    if mpp is None:
        return {}
    per_cm = 10_000 / (mpp * factor)
    return {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
