"""Vendor formats and DICOM through OpenSlide."""

from pathlib import Path

import numpy as np
from openslide import OpenSlide, OpenSlideCache, OpenSlideError

from slidemask.base.errors import SlideError
from slidemask.base.types import Rgb
from slidemask.geometry.box import Size
from slidemask.io.cache import HELD_BYTES
from slidemask.io.mpp import NOTHING, PixelSize, from_power, judged
from slidemask.io.resample import Window
from slidemask.io.source import PerThread, flattened

_TILES = OpenSlideCache(HELD_BYTES)
"""One store for all slides and threads; OpenSlide's own would be 32 MB for each handle."""


class OpenSlideSource:
    """A file that OpenSlide knows. Positions are level 0's, also where a slide has bounds."""

    def __init__(self, path: Path, vendor: str) -> None:
        self.reader = f"openslide ({vendor})"
        self._handles = PerThread(lambda: _opened(path))
        first = self._handles.get()
        self.sizes = tuple(Size(*size) for size in first.level_dimensions)
        self._downsamples = first.level_downsamples
        self.pixel_size = _pixel_size(dict(first.properties))
        colour = first.properties.get("openslide.background-color", "FFFFFF")
        red, green, blue = bytes.fromhex(colour)
        self._background = red, green, blue

    def fetch(self, level: int, window: Window) -> Rgb:
        """Give stored pixels, transparent ones on the slide's background colour."""
        # OpenSlide wants whole level-0 pixels; it rounds them back to the level's own.
        down = self._downsamples[level]
        corner = round(window.x * down), round(window.y * down)
        try:
            image = self._handles.get().read_region(corner, level, (window.width, window.height))
        except OpenSlideError:
            self._handles.drop()  # a handle that failed once refuses every later read
            raise
        return flattened(np.asarray(image), self._background)

    def forget(self) -> None:
        """Keep what there is: OpenSlide's store is one for all slides."""

    def close(self) -> None:
        """Close every thread's handle."""
        self._handles.close()


def open_openslide(path: Path) -> OpenSlideSource | str:
    """Open with OpenSlide; else say why another reader should try, '' if it knows no reason.

    Raises
    ------
    SlideError
        If the file is of a vendor's format that nothing else reads, and damaged.
    """
    vendor = OpenSlide.detect_format(path)
    if vendor is None:
        return ""
    try:
        return OpenSlideSource(path, vendor)
    except OpenSlideError as error:
        reason = f"OpenSlide takes it for {vendor} and says: {error}"
        if vendor == "generic-tiff":
            return reason
        raise SlideError(reason) from error


def _opened(path: Path) -> OpenSlide:
    handle = OpenSlide(path)
    handle.set_cache(_TILES)
    return handle


def _pixel_size(properties: dict[str, str]) -> PixelSize:
    def number(key: str) -> float | None:
        try:
            return float(properties[key])
        except (KeyError, ValueError):
            return None

    x, y = number("openslide.mpp-x"), number("openslide.mpp-y")
    if x is not None and y is not None:
        return judged(x, y, "openslide.mpp-x/y")
    power = number("openslide.objective-power")
    return NOTHING if power is None else from_power(power)
