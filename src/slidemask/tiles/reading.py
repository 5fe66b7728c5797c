"""Read tiles whose outside mirrors the inside."""

import numpy as np

from slidemask.base.types import Rgb
from slidemask.geometry.box import Box
from slidemask.io.slide import Slide


def read_tile(slide: Slide, box: Box, downsample: float) -> Rgb:
    """Read like `slide.read`, but mirror the slide where `box` reaches over its edge.

    A slide's own white outside is right for glass; in a picture whose tissue runs to the edge it
    would be an edge that no tissue has. The mirror repeats where the box is larger than the slide.

    Parameters
    ----------
    slide : Slide
    box : Box
        Level-0 pixels; must touch the slide for more than white to come back.
    downsample : float
        Level-0 pixels per output pixel.

    Returns
    -------
    (H, W, 3) uint8
        Of shape `box.shape_at(downsample)`.
    """
    height, width = box.shape_at(downsample)
    above, rows = _inside(box.y, height, slide.size.height, downsample)
    left, columns = _inside(box.x, width, slide.size.width, downsample)
    if rows == height and columns == width:
        return slide.read(box, downsample)
    if not rows or not columns:
        return np.full((height, width, 3), 255, np.uint8)
    inner = Box(
        box.x + left * downsample,
        box.y + above * downsample,
        columns * downsample,
        rows * downsample,
    )
    pixels = slide.read(inner, downsample)
    margins = ((above, height - above - rows), (left, width - left - columns), (0, 0))
    return np.pad(pixels, margins, mode="symmetric")


def _inside(start: float, count: int, length: int, downsample: float) -> tuple[int, int]:
    """Return the first output pixel whose centre lies inside 0..length, and how many do."""
    centres = start + (np.arange(count) + 0.5) * downsample
    inside = np.flatnonzero((centres > 0) & (centres < length))
    if inside.size:
        return int(inside[0]), int(inside.size)
    # A slide smaller than one output pixel: the pixel that holds it counts.
    holds = (np.arange(count) * downsample + start < length) & (centres > -downsample / 2)
    return (int(np.argmax(holds)), 1) if holds.any() else (0, 0)
