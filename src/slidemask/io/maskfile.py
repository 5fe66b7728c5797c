"""Read mask pyramids back, a few rows at a time."""

from pathlib import Path

import numpy as np
import tifffile

from slidemask.base.errors import SlideError
from slidemask.base.types import Labels
from slidemask.geometry.box import Size
from slidemask.io.ome import class_table
from slidemask.io.planerows import PlaneRows
from slidemask.io.source import OpenFile
from slidemask.io.tiff import check_whole, main_series, planes_of
from slidemask.io.tiffmpp import tiff_pixel_size


class MaskFile(OpenFile):
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
        super().__init__(path)
        with tifffile.TiffFile(path) as tiff:
            series = main_series(tiff)
            page = series.keyframe
            if page.dtype != np.uint8 or page.samplesperpixel != 1 or len(series.pages) != 1:
                raise SlideError(
                    f"it holds {series.shape} {series.dtype} ({series.axes}), "
                    "but a mask is one plane of uint8 labels"
                )
            planes = [planes_of(level)[0] for level in series.levels]
            check_whole(path, planes)
            self.names = class_table(page.description).names
            self.mpp = tiff_pixel_size(page, series).mpp
        self._levels = [
            PlaneRows(path, plane, self._read, level) for level, plane in enumerate(planes)
        ]

    @property
    def size(self) -> Size:
        """Pixels of the mask."""
        return self._levels[0].size

    def rows(self, top: int, height: int) -> Labels:
        """Return (height, W) labels from row `top` on.

        Raises
        ------
        SlideError
            If the rows are not all inside the mask, or the file is damaged.
        """
        return self._levels[0].rows(top, height)

    def level(self, longest_px: int) -> Labels:
        """Return the finest stored level whose longer side is at most `longest_px`.

        Where even the coarsest is longer, every n-th pixel of it.
        """
        fitting = [level for level in self._levels if max(level.size) <= longest_px]
        level = fitting[0] if fitting else self._levels[-1]
        step = -(-max(level.size) // longest_px)
        return level.rows(0, level.size.height)[::step, ::step]


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
