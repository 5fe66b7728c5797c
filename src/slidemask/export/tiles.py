"""Real tiles to compare and to calibrate on, cut as the network's own tiling says."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import SettingsError
from slidemask.base.types import Views
from slidemask.data.cohort import read_cohort
from slidemask.geometry.box import Box
from slidemask.io.open import open_slide
from slidemask.io.slide import Slide
from slidemask.models.bundle import BundleInfo
from slidemask.tiles.grid import TileGrid, lay_grid
from slidemask.tiles.reading import read_around, read_tile
from slidemask.tiles.select import select

T = TypeVar("T")


def read_tiles(
    sources: Sequence[Path],
    info: BundleInfo,
    size: tuple[int, int],
    count: int,
    *,
    mpp: float | None = None,
) -> NDArray[np.uint8]:
    """Read tiles spread evenly over slides and pictures.

    Parameters
    ----------
    sources : sequence of Path
        Slides, pictures, cohort CSV files.
    info : BundleInfo
        Its tiling says at which resolution, its filters on which tissue.
    size : (int, int)
        Rows and columns of a tile.
    count : int
        How many at most; at least one of each slide, of so many slides.
    mpp : float, optional
        µm per full-resolution pixel where files are silent.

    Returns
    -------
    (N, rows, columns, 3 or 6) uint8
        In an order that mixes the slides.

    Raises
    ------
    SettingsError
        If no tile holds tissue.
    """
    return tiles_of_slides(_slides(sources, mpp), info, size, count)


def tiles_of_slides(
    slides: Sequence[tuple[Path, float | None]],
    info: BundleInfo,
    size: tuple[int, int],
    count: int,
) -> NDArray[np.uint8]:
    """Read tiles as `read_tiles` does, of slides each with its own mpp, where its file is silent.

    Raises
    ------
    SettingsError
        If no tile holds tissue.
    """
    slides = _spread(slides, count)
    each = -(-count // max(1, len(slides)))
    by_slide = [_tiles_of(path, info, size, count=each, mpp=one) for path, one in slides]
    mixed = [
        views for rank in range(each) for tiles in by_slide for views in tiles[rank : rank + 1]
    ]
    if not mixed:
        raise SettingsError(
            f"None of {len(slides)} slides has a tile with tissue, as the model's filters "
            "see it; give others with --tiles."
        )
    return np.stack(mixed[:count])


def _slides(sources: Sequence[Path], mpp: float | None) -> list[tuple[Path, float | None]]:
    slides: list[tuple[Path, float | None]] = []
    for source in sources:
        if source.suffix.lower() == ".csv":
            slides += [(case.slide, case.mpp or mpp) for case in read_cohort(source)]
        else:
            slides.append((source, mpp))
    return slides


def _tiles_of(
    path: Path, info: BundleInfo, size: tuple[int, int], *, count: int, mpp: float | None
) -> list[Views]:
    with open_slide(path, mpp=mpp) as slide:
        grid = lay_grid(slide, info.tiling)
        kept = list(select(slide, grid, info.filters))
        return [_views(slide, tile.box, grid, size) for tile in _spread(kept, count)]


def _views(slide: Slide, at: Box, grid: TileGrid, size: tuple[int, int]) -> Views:
    box = Box(at.x, at.y, size[1] * grid.downsample, size[0] * grid.downsample)
    tile = read_tile(slide, box, grid.downsample)
    if grid.context is None:
        return tile
    around = read_around(slide, box, grid.downsample, grid.context)
    return np.concatenate([tile, around], axis=2)


def _spread(items: Sequence[T], count: int) -> Sequence[T]:
    """Return `count` of the items, as evenly spread as can be, or all.

    >>> _spread([1, 2, 3, 4, 5, 6], 3)
    [1, 3, 5]
    """
    if len(items) <= count:
        return items
    return [items[index * len(items) // count] for index in range(count)]
