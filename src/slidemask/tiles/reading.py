"""Read tiles whose outside mirrors the inside, and their surroundings."""

import math

import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Rgb
from slidemask.geometry.box import Box
from slidemask.io.slide import Slide


def read_tile(slide: Slide, box: Box, downsample: float) -> Rgb:
    """Read like `slide.read`, but mirror the slide where `box` reaches over its edge.

    A slide's own white outside is right for glass; in a picture whose tissue runs to the edge it
    would be an edge that no tissue has. Mirrors face each other, so a box may be larger than the
    slide, or lie beside it.

    Parameters
    ----------
    slide : Slide
    box : Box
        Level-0 pixels.
    downsample : float
        Level-0 pixels per output pixel.

    Returns
    -------
    (H, W, 3) uint8
        Of shape `box.shape_at(downsample)`.
    """
    height, width = box.shape_at(downsample)
    rows = _mirrored(box.y, height, slide.size.height, downsample)
    columns = _mirrored(box.x, width, slide.size.width, downsample)
    if rows[0] == columns[0] == 0 and rows[-1] == height - 1 and columns[-1] == width - 1:
        return slide.read(box, downsample)
    top, left = int(rows.min()), int(columns.min())
    seen = Box(
        box.x + left * downsample,
        box.y + top * downsample,
        (int(columns.max()) - left + 1) * downsample,
        (int(rows.max()) - top + 1) * downsample,
    )
    return slide.read(seen, downsample)[np.ix_(rows - top, columns - left)]


def surroundings(box: Box, context: float) -> Box:
    """Return the box about the same centre that is `context` times as wide and as high.

    >>> surroundings(Box(100, 0, 20, 10), 4)
    Box(x=70.0, y=-15.0, width=80, height=40)
    """
    width, height = box.width * context, box.height * context
    return Box(box.x + (box.width - width) / 2, box.y + (box.height - height) / 2, width, height)


def read_around(slide: Slide, box: Box, downsample: float, context: float) -> Rgb:
    """Read the surroundings of a tile, `context` times as wide and as much coarser.

    They have as many pixels as the tile that `read_tile` reads of `box`, the same centre, and
    mirror the slide alike where they reach over its edge.
    """
    return read_tile(slide, surroundings(box, context), downsample * context)


def _mirrored(start: float, count: int, length: int, downsample: float) -> NDArray[np.int64]:
    """Return for each output pixel the one, on the same lattice, that it mirrors.

    Only pixels that lie inside 0..length as a whole are mirrored, since one that the edge cuts
    holds some white; a slide smaller than a pixel has but such a one.
    """
    slack = 1e-6
    first = math.ceil(-start / downsample - slack)
    inside = math.floor((length - start) / downsample + slack) - first
    if inside < 1:
        first, inside = math.floor((length / 2 - start) / downsample), 1
    turned = np.mod(np.arange(count) - first, 2 * inside)
    return np.minimum(turned, 2 * inside - 1 - turned) + first
