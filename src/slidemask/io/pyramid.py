"""Write pyramids from bands of rows, in bounded memory, each pixel passed on once.

The tiles of level 0 go into the TIFF as the bands come. The coarser levels are made at the same
time; their encoded tiles wait in a nameless file beside the output and are copied behind it.
Equal input gives equal bytes.
"""

import math
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from slidemask.base.classes import ClassMap
from slidemask.base.errors import OutputError
from slidemask.base.files import written_whole
from slidemask.base.types import IGNORE, Labels, Quantised, Rgb
from slidemask.geometry.box import Size
from slidemask.io.ome import ClassTable, ome_xml

Planes: TypeAlias = NDArray[np.uint8]
"""(C, H, W, S): C planes stored apart, S samples stored side by side."""

JPEG_QUALITY = 90

_CLASSIC_BYTES = 3_500_000_000
"""Raw bytes from which on 32-bit offsets might not suffice, whatever the compression."""


@dataclass(frozen=True)
class _Format:
    """How tiles of one kind of pyramid are encoded, shrunk and tagged."""

    size: Size
    planes: int
    samples: int
    tile: int
    encode: Callable[[NDArray[np.uint8]], bytes]
    shrink: Callable[[Planes], Planes]
    tags: dict[str, Any]
    sub_ifds: bool

    @property
    def sizes(self) -> list[Size]:
        """Sizes of the levels, halved until one tile holds all; a begun pixel counts."""
        sizes = [self.size]
        while max(sizes[-1]) > self.tile:
            sizes.append(Size(-(-sizes[-1].width // 2), -(-sizes[-1].height // 2)))
        return sizes

    def shape(self, size: Size) -> tuple[int, ...]:
        """Shape of a level as tifffile wants it."""
        inner = (size.height, size.width, *((self.samples,) if self.samples > 1 else ()))
        return (self.planes, *inner) if self.planes > 1 else inner


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
    layout = _Format(size, 1, 1, 512, _deflated, _every_second, tags, sub_ifds=True)
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
    layout = _Format(size, len(names), 1, 512, _deflated, _halved, tags, sub_ifds=True)
    planes = ((top, band[..., None]) for top, band in bands)
    _write(path, planes, layout, mpp=mpp, description=xml)


def write_rgb_pyramid(
    path: Path, bands: Iterable[tuple[int, Rgb]], size: Size, *, mpp: float | None
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

    Raises
    ------
    OutputError
        If the file cannot be written, or the bands do not make up `size`.
    """
    tags = {"photometric": "ycbcr", "subsampling": (2, 2), "compression": "jpeg"}
    layout = _Format(size, 1, 3, 256, _jpeg, _halved, tags, sub_ifds=False)
    _write(path, ((top, band[None]) for top, band in bands), layout, mpp=mpp)


def _write(
    path: Path,
    bands: Iterable[tuple[int, Planes]],
    layout: _Format,
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
        spool = _Spool(file)
        tiles = _level_0(bands, layout, spool, pool)
        tiff.write(
            tiles,
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


def _level_0(
    bands: Iterable[tuple[int, Planes]], layout: _Format, spool: "_Spool", pool: ThreadPoolExecutor
) -> Iterator[bytes]:
    """Yield the encoded tiles of level 0, plane by plane; put the coarser ones on the spool."""
    encode = _Encoding(layout, pool)
    level: _LevelRows | None = None
    for number in reversed(range(len(layout.sizes))):
        level = _LevelRows(number, layout, _Sink(encode, spool, level))
    assert level is not None  # noqa: S101 - there is always a level 0
    for _, band in _checked(bands, layout):
        level.push(band)
        yield from spool.ready()
    for plane in range(1, layout.planes):
        yield from spool.tiles(0, plane)


def _checked(bands: Iterable[tuple[int, Planes]], layout: _Format) -> Iterator[tuple[int, Planes]]:
    width, height = layout.size
    reached = 0
    for top, band in bands:
        planes, rows, columns, samples = band.shape if band.ndim == 4 else (0, 0, 0, 0)
        right = (planes, columns, samples) == (layout.planes, width, layout.samples)
        if not right or band.dtype != np.uint8 or top != reached or reached + rows > height:
            raise OutputError(
                f"the next band should start at row {reached} of {height}, be {width} wide and "
                f"uint8; got one at row {top} of shape {band.shape}, {band.dtype}"
            )
        reached += rows
        yield top, band
    if reached != height:
        raise OutputError(f"the bands ended at row {reached} of {height}")


class _Spool:
    """Encoded tiles that wait for their turn, all but those of level 0's first plane."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._end = file, 0
        self._places: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._ready: deque[bytes] = deque()

    def put(self, level: int, plane: int, tiles: Iterable[bytes]) -> None:
        """Take the next tiles of a plane."""
        if (level, plane) == (0, 0):
            self._ready.extend(tiles)
            return
        places = self._places.setdefault((level, plane), [])
        for tile in tiles:
            places.append((self._end, len(tile)))
            self._end += self._file.write(tile)

    def ready(self) -> Iterator[bytes]:
        """Give away what can be written at once."""
        while self._ready:
            yield self._ready.popleft()

    def tiles(self, level: int, plane: int) -> Iterator[bytes]:
        """Read a plane's tiles back in their order."""
        for offset, length in self._places[level, plane]:
            self._file.seek(offset)
            yield self._file.read(length)

    def level(self, level: int, planes: int) -> Iterator[bytes]:
        """Read the tiles of all planes of a level."""
        for plane in range(planes):
            yield from self.tiles(level, plane)


class _Encoding:
    """Encode tiles on several threads; a tile of one colour is encoded once."""

    def __init__(self, layout: _Format, pool: ThreadPoolExecutor) -> None:
        self._layout, self._pool = layout, pool
        self._blanks: dict[bytes, bytes] = {}

    def row(self, rows: NDArray[np.uint8]) -> list[bytes]:
        """Encode (≤ tile, W, S) pixels as one row of tiles, the last ones padded."""
        side = self._layout.tile
        parts = (rows[:, left : left + side] for left in range(0, rows.shape[1], side))
        return list(self._pool.map(self._encoded, parts))

    def _encoded(self, part: NDArray[np.uint8]) -> bytes:
        key, blank = part[0, 0].tobytes(), _of_one_colour(part)
        if blank and key in self._blanks:
            return self._blanks[key]
        side = self._layout.tile
        padding = [(0, side - part.shape[0]), (0, side - part.shape[1]), (0, 0)]
        tile = self._layout.encode(np.pad(part, padding, mode="edge"))
        if blank:
            self._blanks[key] = tile
        return tile


@dataclass(frozen=True)
class _Sink:
    """Where a level's full rows of tiles go: to the spool, and halved to the next level."""

    encode: _Encoding
    spool: _Spool
    coarser: "_LevelRows | None"


class _LevelRows:
    """Rows of one level, gathered until they fill a row of tiles."""

    def __init__(self, number: int, layout: _Format, sink: _Sink) -> None:
        self._number, self._layout, self._sink = number, layout, sink
        size = layout.sizes[number]
        self._rows = np.empty((layout.planes, layout.tile, size.width, layout.samples), np.uint8)
        self._filled, self._missing = 0, size.height

    def push(self, rows: Planes) -> None:
        """Take the next rows."""
        while rows.shape[1]:
            part = rows[:, : self._layout.tile - self._filled]
            self._rows[:, self._filled : self._filled + part.shape[1]] = part
            self._filled += part.shape[1]
            self._missing -= part.shape[1]
            if self._filled == self._layout.tile or not self._missing:
                self._pass_on(self._rows[:, : self._filled])
                self._filled = 0
            rows = rows[:, part.shape[1] :]

    def _pass_on(self, rows: Planes) -> None:
        for plane in range(self._layout.planes):
            self._sink.spool.put(self._number, plane, self._sink.encode.row(rows[plane]))
        if self._sink.coarser is not None:
            self._sink.coarser.push(self._layout.shrink(rows))


def _of_one_colour(part: NDArray[np.uint8]) -> bool:
    first = np.tile(part[0, 0], part.shape[1])  # long rows compare quicker than single pixels
    rows = part.reshape(len(part), -1)
    return bool((rows[0] == first).all() and (rows == first).all())


def _deflated(tile: NDArray[np.uint8]) -> bytes:
    return bytes(imagecodecs.zlib_encode(tile.tobytes(), level=6))


def _jpeg(tile: NDArray[np.uint8]) -> bytes:
    return bytes(
        imagecodecs.jpeg8_encode(
            tile, level=JPEG_QUALITY, colorspace="rgb", outcolorspace="ycbcr", subsampling=(2, 2)
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
    return np.stack(small).reshape(planes, height // 2, width // 2, samples).astype(np.uint8, copy=False)


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
