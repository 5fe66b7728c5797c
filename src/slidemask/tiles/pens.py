"""Pen marks: ink that no H&E or Giemsa stain looks like, told by how it absorbs red, green, blue.

Haematoxylin, eosin and Giemsa absorb green most, and blue much less. Blue and green ink absorb red
more than green; red ink absorbs blue almost as much as green and lets red pass; black ink absorbs
all three alike, and blue no less than red, as dense haematoxylin would. Ink fades at its edges, so
a stroke is grown from its sure core into what is connected and still has its hue, however faint.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Mask


class Ink(NamedTuple):
    """Where one colour of ink surely is, and where it may be; (H, W) bool each."""

    sure: Mask
    maybe: Mask


def inks(density: NDArray[np.float32]) -> tuple[Ink, Ink, Ink]:
    """Find blue or green, red, and black ink.

    Parameters
    ----------
    density : (3, H, W) float32
        Optical density of red, green and blue against the glass.
    """
    red, green, blue = density
    most = density.max(axis=0)
    no_brown = blue < 1.1 * green
    return (
        Ink(
            (red > 1.12 * green + 0.06) | ((red > green) & (most > 0.5)),
            red > green + 0.01,
        ),
        Ink(
            no_brown
            & (red < 0.25 * green)
            & np.where(green > 0.6, blue > 0.68 * green, (blue > 0.74 * green) & (green > 0.25)),
            (blue > 0.63 * green) & no_brown & (red < 0.3 * green),
        ),
        Ink(
            (blue > 0.72 * green) & no_brown & (red > 0.35 * green) & (most > 0.45),
            (blue > 0.67 * green) & no_brown & (red > 0.3 * green) & (most > 0.1),
        ),
    )


# Of a huge slide each array of `strokes` takes 17 to 67 MB: what is made in a function of its own
# is gone before the next is made.


def strokes(ink: Ink, min_area_px: float, reach_px: int) -> Mask:
    """Grow the sure parts of at least `min_area_px` pixels into what may be the same stroke.

    What scattered pigment or red cells leave after an opening is too small to count. Growth ends
    `reach_px` from the core, for some tissue has nearly the hue of ink.
    """
    core = _core(ink.sure, max(1.0, min_area_px))
    if not core.any():
        return core
    grown = core | (ink.maybe & (_distance(core) <= reach_px))
    count, found = cv2.connectedComponents(grown.view(np.uint8), connectivity=8)
    parts = np.asarray(found, np.int32)
    reached = np.zeros(count, bool)
    reached[parts[core]] = True
    return reached[parts]


def _core(sure: Mask, least_px: float) -> Mask:
    """Return what an opening leaves of `sure`, parts of at least `least_px` pixels."""
    opened = cv2.morphologyEx(sure.view(np.uint8), cv2.MORPH_OPEN, _disc(2))
    _, found, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    large = np.asarray(stats)[:, cv2.CC_STAT_AREA] >= least_px
    large[0] = False
    return large[np.asarray(found, np.int32)]


def _distance(mask: Mask) -> NDArray[np.float32]:
    """Return how far each pixel is from `mask`."""
    away = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(away, np.float32)


def _disc(radius: int) -> NDArray[np.uint8]:
    side = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
