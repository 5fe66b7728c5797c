"""Rows of one plane of a tiled TIFF, one row of tiles at a time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import SlideError
from slidemask.geometry.box import Size
from slidemask.geometry.squeezed import blank, is_blank, zeros
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
        self._tiles: dict[int, NDArray[np.uint8]] = {}
        self._empty = b""

    def rows(self, top: int, height: int) -> NDArray[np.uint8]:
        """Return (height, W) values from row `top` on, read-only where all are 0.

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
        out, done = blank((height, size.width)), 0
        while done < height:
            number, inside = divmod(top + done, tile.height)
            rows = slice(inside, min(inside + height - done, tile.height))
            for left, part in self._tile_row(number).items():
                if is_blank(out):
                    out = zeros(out.shape)
                here = part[rows, : size.width - left]
                out[done : done + len(here), left : left + here.shape[1]] = here
            done += rows.stop - rows.start
        return out

    def _tile_row(self, number: int) -> dict[int, NDArray[np.uint8]]:
        """Return the tiles of a row that hold something, by their first columns."""
        if self._held != number:
            self._held = None
            self._tiles = self._decoded_row(number)
            self._held = number
        return self._tiles

    def _decoded_row(self, number: int) -> dict[int, NDArray[np.uint8]]:
        tiles: dict[int, NDArray[np.uint8]] = {}
        for column in range(self._plane.columns):
            try:
                tile = self._decoded(number * self._plane.columns + column)
            except Exception as error:  # the codec's own error
                raise SlideError(
                    f"{self._path}: tile row {number}, column {column} of level {self._level} "
                    f"is damaged ({error}); write the file again."
                ) from error
            if tile is not None:
                tiles[column * self._plane.tile.width] = tile[..., 0]
        return tiles

    def _decoded(self, index: int) -> NDArray[np.uint8] | None:
        """Return a tile, or None where all is 0: equal bytes are not decoded again to see that."""
        plane = self._plane
        if index >= len(plane.counts) or not plane.counts[index]:
            return None
        data = self._read(plane.offsets[index], plane.counts[index])
        if data == self._empty:
            return None
        tile = plane.tile_at(lambda *_: data, index)
        if tile is None or tile.any():
            return tile
        self._empty = data
        return None
