"""Rows of one plane of a tiled TIFF, one row of tiles at a time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import SlideError
from slidemask.geometry.box import Size
from slidemask.io.tiff import TiffPlane


class PlaneRows:
    """A plane of uint8 values with one sample a pixel; the last row of tiles is kept.

    Parameters
    ----------
    path : Path
        The file, for messages.
    plane : TiffPlane
    read : callable of (offset, count)
        Gives the file's bytes.
    level : int
        Of the pyramid, for messages.
    """

    def __init__(
        self, path: Path, plane: TiffPlane, read: Callable[[int, int], bytes], level: int = 0
    ) -> None:
        self.size: Size = plane.size
        self._path, self._plane, self._read, self._level = path, plane, read, level
        self._held: int | None = None
        self._strip = np.empty((0, 0), np.uint8)

    def rows(self, top: int, height: int) -> NDArray[np.uint8]:
        """Return (height, W) values from row `top` on.

        Raises
        ------
        SlideError
            If the rows are not all inside the plane, or the file is damaged.
        """
        size, tile = self.size, self._plane.tile
        if not 0 <= top < top + height <= size.height:
            raise SlideError(
                f"{self._path} has rows 0 to {size.height}, not {top} to {top + height}"
            )
        out = np.empty((height, size.width), np.uint8)
        done = 0
        while done < height:
            number, inside = divmod(top + done, tile.height)
            part = self._tile_row(number)[inside : inside + height - done]
            out[done : done + len(part)] = part
            done += len(part)
        return out

    def _tile_row(self, number: int) -> NDArray[np.uint8]:
        if self._held != number:
            self._held = None
            self._strip = self._decoded_row(number)
            self._held = number
        return self._strip

    def _decoded_row(self, number: int) -> NDArray[np.uint8]:
        plane = self._plane
        rows = min(plane.tile.height, plane.size.height - number * plane.tile.height)
        strip = np.zeros((rows, plane.size.width), np.uint8)
        for column in range(plane.columns):
            left = column * plane.tile.width
            try:
                tile = plane.tile_at(self._read, number * plane.columns + column)
            except Exception as error:  # the codec's own error
                raise SlideError(
                    f"{self._path}: tile row {number}, column {column} of level {self._level} "
                    f"is damaged ({error}); write the file again."
                ) from error
            if tile is not None:
                part = tile[:rows, : plane.size.width - left, 0]
                strip[:, left : left + part.shape[1]] = part
        return strip
