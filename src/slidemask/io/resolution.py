"""At which resolution to look: four ways to say it, one number that comes out.

Magnification m means an mpp of 10/m, so 40x is 0.25 µm per pixel.
"""

from dataclasses import dataclass
from typing import TypeAlias

from slidemask.base.errors import ResolutionUnknownError
from slidemask.io.slide import Slide


@dataclass(frozen=True)
class Mpp:
    """Micrometres per pixel of the network's input."""

    um_per_px: float


@dataclass(frozen=True)
class Power:
    """Magnification, 10x = 1 µm per pixel."""

    magnification: float


@dataclass(frozen=True)
class Downsample:
    """Level-0 pixels per input pixel, whatever their size."""

    factor: float


@dataclass(frozen=True)
class LongestSide:
    """Pixels of the slide's longer side after rescaling; smaller slides stay as they are."""

    px: int


Resolution: TypeAlias = Mpp | Power | Downsample | LongestSide


def downsample_for(slide: Slide, resolution: Resolution) -> float:
    """Return level-0 pixels per input pixel.

    Raises
    ------
    ResolutionUnknownError
        If `resolution` is physical and the slide's pixel size is unknown.

    Examples
    --------
    >>> from slidemask.io.array import ArraySlide
    >>> import numpy as np
    >>> slide = ArraySlide("a", np.zeros((500, 1000, 3), np.uint8), mpp=0.25)
    >>> downsample_for(slide, Power(10)), downsample_for(slide, LongestSide(400))
    (4.0, 2.5)
    """
    if isinstance(resolution, Downsample):
        return resolution.factor
    if isinstance(resolution, LongestSide):
        return max(1.0, max(slide.size) / resolution.px)
    wanted = resolution.um_per_px if isinstance(resolution, Mpp) else 10 / resolution.magnification
    if slide.mpp is None:
        reason = getattr(slide, "mpp_reason", "nothing names one")  # files know why
        raise ResolutionUnknownError(
            f"Slide {slide.id!r} has no believable pixel size ({reason}), and {wanted:g} µm per "
            "pixel was asked for. "
            "Fill the cohort's mpp column, or pass --mpp with the slide's own µm per level-0 pixel."
        )
    return wanted / slide.mpp
