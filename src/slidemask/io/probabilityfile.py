"""Read probability maps back, a few rows at a time."""

from pathlib import Path

import numpy as np
import tifffile

from slidemask.base.errors import SlideError
from slidemask.base.types import Quantised
from slidemask.geometry.box import Size
from slidemask.io.ome import channel_names
from slidemask.io.planerows import PlaneRows
from slidemask.io.source import OpenFile
from slidemask.io.tiff import TiffPlane, check_whole, main_series
from slidemask.io.tiffmpp import tiff_pixel_size


class ProbabilityFile(OpenFile):
    """Foreground probabilities on disk; at most one row of tiles of each class is held.

    Attributes
    ----------
    size : Size
        Pixels of the map.
    names : tuple of str
        The K foreground classes; empty where the file names none.
    mpp : float or None
        Micrometres per pixel of the map.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with tifffile.TiffFile(path) as tiff:
            series = main_series(tiff)
            page = series.keyframe
            pages = [page for page in series.levels[0].pages if page is not None]
            if page.dtype != np.uint8 or page.samplesperpixel != 1:
                raise SlideError(
                    f"it holds {series.shape} {series.dtype} ({series.axes}), "
                    "but probabilities are one plane of uint8 for each class"
                )
            planes = [TiffPlane(page) for page in pages]
            check_whole(path, planes)
            self.size: Size = planes[0].size
            self.names = channel_names(page.description)
            self.mpp = tiff_pixel_size(page, series).mpp
        self._planes = [PlaneRows(path, plane, self._read) for plane in planes]

    def rows(self, top: int, height: int) -> Quantised:
        """Return (K, height, W) uint8 from row `top` on.

        Raises
        ------
        SlideError
            If the rows are not all inside the map, or the file is damaged.
        """
        return np.stack([plane.rows(top, height) for plane in self._planes])


def open_probability(path: str | Path) -> ProbabilityFile:
    """Open what `slidemask.io.pyramid.write_probability_pyramid` wrote.

    Raises
    ------
    SlideError
        If it cannot be read, or holds something else.
    """
    path = Path(path)
    try:
        return ProbabilityFile(path)
    except OSError as error:
        raise SlideError(
            f"Probabilities {path} cannot be read ({error.strerror or error}); "
            "check the path and its rights."
        ) from error
    except SlideError as error:
        raise SlideError(f"Probabilities {path} cannot be used: {error}.") from error
    except Exception as error:  # tifffile's parser raises whatever a damaged tag leads to
        raise SlideError(
            f"Probabilities {path} are no readable TIFF ({type(error).__name__}: {error}); "
            "segment the slide again with --probability."
        ) from error
