"""Read mask pyramids back, a few rows at a time."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import tifffile

from slidemask.base.errors import SlideError
from slidemask.base.types import Labels
from slidemask.geometry.box import Size
from slidemask.io.ome import class_table
from slidemask.io.source import PerThread
from slidemask.io.tiff import check_whole, main_series, planes_of
from slidemask.io.tiffmpp import tiff_pixel_size


class MaskFile:
    """A label pyramid on disk; at most one row of tiles is held.

    Attributes
    ----------
    size : Size
        Pixels of the mask.
    names : tuple of str
        Class names by label, 'background' first; empty where the file names none.
    mpp : float or None
        Micrometres per pixel of the mask.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with tifffile.TiffFile(path) as tiff:
            series = main_series(tiff)
            page = series.keyframe
            if page.dtype != np.uint8 or page.samplesperpixel != 1 or len(series.pages) != 1:
                raise SlideError(
                    f"it holds {series.shape} {series.dtype} ({series.axes}), "
                    "but a mask is one plane of uint8 labels"
                )
            self._planes = [planes_of(level)[0] for level in series.levels]
            check_whole(path, self._planes)
            self.names = class_table(page.description).names
            self.mpp = tiff_pixel_size(page, series).mpp
        self._files = PerThread(lambda: path.open("rb", buffering=0))
        self._held: tuple[int, int] | None = None
        self._strip = np.empty((0, 0), np.uint8)

    @property
    def size(self) -> Size:
        """Pixels of the mask."""
        return self._planes[0].size

    def rows(self, top: int, height: int) -> Labels:
        """Return (height, W) labels from row `top` on.

        Raises
        ------
        SlideError
            If the rows are not all inside the mask, or the file is damaged.
        """
        return self._rows(0, top, height)

    def level(self, longest_px: int) -> Labels:
        """Return the finest stored level whose longer side is at most `longest_px`.

        Where even the coarsest is longer, every n-th pixel of it.
        """
        fitting = [n for n, plane in enumerate(self._planes) if max(plane.size) <= longest_px]
        number = fitting[0] if fitting else len(self._planes) - 1
        size = self._planes[number].size
        step = -(-max(size) // longest_px)
        return self._rows(number, 0, size.height)[::step, ::step]

    def close(self) -> None:
        """Close the file."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _rows(self, level: int, top: int, height: int) -> Labels:
        plane = self._planes[level]
        if not 0 <= top < top + height <= plane.size.height:
            raise SlideError(
                f"{self.path} has rows 0 to {plane.size.height}, not {top} to {top + height}"
            )
        out = np.empty((height, plane.size.width), np.uint8)
        done = 0
        while done < height:
            number, inside = divmod(top + done, plane.tile.height)
            part = self._tile_row(level, number)[inside : inside + height - done]
            out[done : done + len(part)] = part
            done += len(part)
        return out

    def _tile_row(self, level: int, number: int) -> Labels:
        if self._held != (level, number):
            self._held = None
            self._strip = self._decoded_row(level, number)
            self._held = level, number
        return self._strip

    def _decoded_row(self, level: int, number: int) -> Labels:
        plane = self._planes[level]
        rows = min(plane.tile.height, plane.size.height - number * plane.tile.height)
        strip = np.zeros((rows, plane.size.width), np.uint8)
        for column in range(plane.columns):
            left = column * plane.tile.width
            try:
                tile = plane.tile_at(self._read, number * plane.columns + column)
            except Exception as error:  # the codec's own error
                raise SlideError(
                    f"{self.path}: tile row {number}, column {column} of level {level} is damaged "
                    f"({error}); write the mask again."
                ) from error
            if tile is not None:
                part = tile[:rows, : plane.size.width - left, 0]
                strip[:, left : left + part.shape[1]] = part
        return strip

    def _read(self, offset: int, count: int) -> bytes:
        file = self._files.get()
        file.seek(offset)
        return file.read(count)


def open_mask(path: str | Path) -> MaskFile:
    """Open a mask that `write_label_pyramid` wrote, or any TIFF of uint8 labels.

    Raises
    ------
    SlideError
        If it cannot be read, or holds something else.
    """
    path = Path(path)
    try:
        return MaskFile(path)
    except OSError as error:
        raise SlideError(
            f"Mask {path} cannot be read ({error.strerror or error}); check its path and rights."
        ) from error
    except SlideError as error:
        raise SlideError(f"Mask {path} cannot be used: {error}.") from error
    except Exception as error:  # tifffile's parser raises whatever a damaged tag leads to
        raise SlideError(
            f"Mask {path} is no readable TIFF ({type(error).__name__}: {error}); write it again."
        ) from error
