"""Tiled and stripped TIFF: plain pyramids, OME-TIFF with SubIFDs, Aperio.

Tags are parsed once by tifffile; after that only the tiles of a window are read and decoded, so
that threads share nothing but the store of decoded tiles.
"""

import logging
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tifffile
from numpy.typing import NDArray
from openslide import OpenSlide

from slidemask.base.errors import SlideError
from slidemask.base.types import Rgb
from slidemask.geometry.box import Size
from slidemask.io.cache import TILES, new_owner
from slidemask.io.resample import Window
from slidemask.io.source import PerThread, flattened
from slidemask.io.tiffmpp import tiff_pixel_size

# What is wrong with a file is said once, in the error; tifffile's log lines would repeat it.
logging.getLogger("tifffile").propagate = False
logging.getLogger("tifffile").addHandler(logging.NullHandler())

OURS = {None, "generic-tiff", "aperio"}
"""What OpenSlide may call a TIFF that is read here; other vendors' have rules of their own."""

SEGMENT_PX = 1 << 28
"""The largest strip or tile that is decoded, in pixels."""

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GREY, _RGB, _PALETTE = {0, 1}, {2, 6}, {3}
_APERIO_YCBCR = 33003
"""JPEG 2000 whose colours are YCbCr without saying so; OpenSlide converts them."""


Table: TypeAlias = "array[int]"


class TiffPlane:
    """One page: a grid of compressed tiles (or strips), and how to decode them."""

    def __init__(self, page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
        key: Any = page.keyframe  # typed as if it might be missing
        self.size = Size(key.imagewidth, key.imagelength)
        self.tile = (
            Size(key.tilewidth, key.tilelength)
            if key.is_tiled
            else Size(key.imagewidth, key.rowsperstrip)
        )
        self.columns = -(-self.size.width // self.tile.width)
        self.rows = -(-self.size.height // self.tile.height)
        self.samples = key.samplesperpixel if key.planarconfig == 2 else 1
        self.offsets, self.counts = _tables(page)
        if min(len(self.offsets), len(self.counts)) < self.columns * self.rows * self.samples:
            raise SlideError("it is cut short: its table of tiles is incomplete")
        self._decode: Callable[..., tuple[Any, Any, Any]] = key.decode
        self._tables = {} if page.jpegtables is None else {"jpegtables": page.jpegtables}

    @property
    def end(self) -> int:
        """First byte after the last tile's data."""
        return max((o + n for o, n in zip(self.offsets, self.counts, strict=False)), default=0)

    def tile_at(self, read: Callable[[int, int], bytes], index: int) -> NDArray[Any] | None:
        """Return tile `index` as (height, width, samples), None where nothing is stored."""
        parts = []
        for sample in range(self.samples):
            number = index + sample * self.rows * self.columns
            if number >= len(self.counts) or not self.counts[number]:
                return None
            data = read(self.offsets[number], self.counts[number])
            parts.append(self._decode(data, number, **self._tables)[0][0])
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def _tables(page: tifffile.TiffPage | tifffile.TiffFrame) -> tuple[Table, Table]:
    """Take where each tile is and how long from a page: its own tables are nine times as large."""
    tables = array("Q", page.dataoffsets), array("Q", page.databytecounts)
    page.dataoffsets = page.databytecounts = ()
    if isinstance(page, tifffile.TiffPage):
        for name in ("TileOffsets", "TileByteCounts", "StripOffsets", "StripByteCounts"):
            if name in page.tags:
                del page.tags[name]
    return tables


class TiffSource:
    """A TIFF pyramid of brightness values."""

    def __init__(self, path: Path, series: tifffile.TiffPageSeries) -> None:
        self._levels = [planes_of(level) for level in series.levels]
        self.sizes = tuple(level[0].size for level in self._levels)
        first = series.keyframe
        self.reader = f"tiff ({series.kind})"
        self.pixel_size = tiff_pixel_size(first, series)
        self._to_rgb = _colour_rule(first)
        check_whole(path, [plane for level in self._levels for plane in level])
        self._handles = PerThread(lambda: path.open("rb", buffering=0))
        self._owner = new_owner()

    def fetch(self, level: int, window: Window) -> Rgb:
        """Give stored pixels; tiles that were left out are white."""
        plane = self._levels[level][0]
        out = np.empty((window.height, window.width, 3), np.uint8)
        bottom, right = window.y + window.height, window.x + window.width
        for row in range(window.y // plane.tile.height, -(-bottom // plane.tile.height)):
            top = row * plane.tile.height
            ys = slice(max(top, window.y), min(top + plane.tile.height, bottom))
            for column in range(window.x // plane.tile.width, -(-right // plane.tile.width)):
                left = column * plane.tile.width
                xs = slice(max(left, window.x), min(left + plane.tile.width, right))
                index = row * plane.columns + column
                tile = TILES.get((self._owner, level, index), partial(self._decoded, level, index))
                out[_moved(ys, window.y), _moved(xs, window.x)] = tile[
                    _moved(ys, top), _moved(xs, left)
                ]
        return out

    def forget(self) -> None:
        """Drop decoded tiles."""
        TILES.forget(self._owner)

    def close(self) -> None:
        """Close every thread's handle."""
        self._handles.close()
        self.forget()

    def _decoded(self, level: int, index: int) -> Rgb:
        parts = [plane.tile_at(self._read, index) for plane in self._levels[level]]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            width, height = self._levels[level][0].tile
            return np.full((height, width, 3), 255, np.uint8)
        return self._to_rgb(found[0] if len(found) == 1 else np.concatenate(found, axis=-1))

    def _read(self, offset: int, count: int) -> bytes:
        file = self._handles.get()
        file.seek(offset)
        return file.read(count)


def open_tiff(path: Path) -> TiffSource | str:
    """Open a TIFF; else say why another reader should try, '' if it is none of ours.

    Raises
    ------
    SlideError
        If it is not one RGB image, or was cut short.
    """
    with path.open("rb") as file:
        if file.read(4) not in _MAGIC or OpenSlide.detect_format(path) not in OURS:
            return ""
    try:
        with tifffile.TiffFile(path) as tiff:
            series = main_series(tiff)
            return _foreign(series.keyframe) or TiffSource(path, series)
    except SlideError:
        raise
    except Exception as error:  # tifffile's parser raises whatever a damaged tag leads to
        raise SlideError(f"its tags make no sense ({type(error).__name__}: {error})") from error


def main_series(tiff: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """Return the series with the most pixels; labels and macro pictures have fewer."""
    if not tiff.series:
        raise SlideError("this TIFF holds no image")
    return max(tiff.series, key=lambda series: _area(series.keyframe))


def _area(page: tifffile.TiffPage) -> int:
    return page.imagewidth * page.imagelength


def planes_of(level: tifffile.TiffPageSeries) -> list[TiffPlane]:
    """Return the planes of a level: one, or three of one sample each."""
    extra = {axis: n for axis, n in zip(level.axes, level.shape, strict=True) if axis not in "YXS"}
    pages = [page for page in level.pages if page is not None]
    if len(pages) not in (1, 3) or (len(pages) == 3 and extra != {"C": 3}):
        raise SlideError(
            f"this TIFF holds {len(pages)} planes (axes {level.axes}), not one RGB image; "
            "fluorescence channels, stacks and time series are not read"
        )
    planes = [TiffPlane(page) for page in pages]
    if planes[0].tile.width * planes[0].tile.height > SEGMENT_PX:
        raise SlideError(
            f"this TIFF's strips of {planes[0].tile} would be decoded at once; make it a tiled "
            "pyramid first, for instance with `vips tiffsave IN OUT.tif --tile --pyramid`"
        )
    return planes


def check_whole(path: Path, planes: Sequence[TiffPlane]) -> None:
    """Raise SlideError if the file ends before its pixels do."""
    needed = max(plane.end for plane in planes)
    found = path.stat().st_size
    if needed > found:
        raise SlideError(
            f"it is cut short: its pixels reach to byte {needed}, the file has {found}"
        )


def _colour_rule(page: tifffile.TiffPage) -> Callable[[NDArray[Any]], Rgb]:
    """Return what turns decoded tiles of this page's kind into RGB."""
    _check_samples(page)
    kind = int(page.photometric)
    samples = page.samplesperpixel

    def to_rgb(tile: NDArray[Any]) -> Rgb:
        if tile.dtype == np.uint16:
            tile = (tile >> 8).astype(np.uint8)
        if kind in _PALETTE:
            return palette[tile[..., 0]]
        if tile.shape[-1] < 3:
            grey = tile[..., :1] if kind else 255 - tile[..., :1]
            return np.repeat(grey, 3, axis=-1)
        if with_alpha:
            return flattened(tile[..., :4])
        return np.ascontiguousarray(tile[..., :3])

    with_alpha = samples == 4 and any(int(extra) in (1, 2) for extra in page.extrasamples)
    palette = (
        np.ascontiguousarray((np.asarray(page.colormap) >> 8).astype(np.uint8).T)
        if kind in _PALETTE
        else np.empty((0, 3), np.uint8)
    )
    return to_rgb


def _foreign(page: tifffile.TiffPage) -> str:
    """Say what of this page another reader may know."""
    code, kind = int(page.compression), int(page.photometric)
    if code != 1 and code not in tifffile.TIFF.DECOMPRESSORS:
        return f"TIFF compression {code} is not known"
    if kind not in _GREY | _RGB | _PALETTE or code == _APERIO_YCBCR:
        return f"TIFF colours of kind {kind} in compression {code} are not known"
    if page.tags.valueof(274, default=1) != 1:
        return "the TIFF orientation tag turns the picture"
    return ""


def _check_samples(page: tifffile.TiffPage) -> None:
    if page.dtype is None or page.dtype not in (np.uint8, np.uint16) or page.bitspersample % 8:
        raise SlideError(
            f"samples of {page.bitspersample} bits ({page.dtype}) have no agreed brightness; "
            "8-bit RGB, or 16-bit of which the upper half is taken, are read"
        )
    if page.dtype == np.uint16 and page.photometric not in _RGB:
        raise SlideError("16-bit grey has no agreed brightness; convert it to 8 bits first")


def _moved(part: slice, by: int) -> slice:
    return slice(part.start - by, part.stop - by)
