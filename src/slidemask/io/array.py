"""Arrays in memory as slides."""

from dataclasses import dataclass

import numpy as np

from slidemask.base.errors import SlideError
from slidemask.base.types import Rgb
from slidemask.geometry.box import Box, Size
from slidemask.io.resample import Window, levels_of, resampled


@dataclass(frozen=True, eq=False)
class ArraySlide:
    """A picture in memory, read like a slide.

    Parameters
    ----------
    id : str
        Name.
    pixels : (H, W, 3) uint8
        The only level.
    mpp : float, optional
        Micrometres per pixel.

    Raises
    ------
    SlideError
        If `pixels` has another shape or type.

    Examples
    --------
    >>> slide = ArraySlide("grey", np.full((4, 6, 3), 90, np.uint8))
    >>> slide.read(Box(0, 0, 6, 4), 2.0)[..., 0]
    array([[90, 90, 90],
           [90, 90, 90]], dtype=uint8)
    """

    id: str
    pixels: Rgb
    mpp: float | None = None

    def __post_init__(self) -> None:
        shape, kind = self.pixels.shape, self.pixels.dtype
        if kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise SlideError(f"Slide {self.id!r} needs (H, W, 3) uint8 pixels, got {shape} {kind}.")

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.pixels.shape[1], self.pixels.shape[0])

    @property
    def downsamples(self) -> tuple[float, ...]:
        """One level."""
        return (1.0,)

    def read(self, box: Box, downsample: float = 1.0) -> Rgb:
        """Read as `Slide.read` says."""
        return resampled(levels_of([self.size]), self._fetch, box, downsample)

    def _fetch(self, _level: int, window: Window) -> Rgb:
        x, y, width, height = window
        return self.pixels[y : y + height, x : x + width].copy()
