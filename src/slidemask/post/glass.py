"""Glass slides whose label and tissue were taken for two slides.

A glass slide is 76 x 26 mm (ISO 8037-1), and its label takes about a quarter of its length at one
end. Two outlines that together have that shape, parted there, are one slide: pictures printed side
by side are seldom so long, and seldom so unequal.
"""

from dataclasses import replace
from itertools import combinations

import numpy as np
import shapely
from numpy.typing import NDArray

from slidemask.post.outlines import Outline
from slidemask.post.quadrilateral import from_top_left

_LONG = (2.2, 3.6)
"""Length over width of a glass slide as seen: 2.9, seen at a slant."""
_LABEL = (0.15, 0.36)
"""Share of the length that a label takes."""
_APART = 0.04
"""How far apart label and tissue may be, over the length."""
_FLUSH = 0.15
"""How far their corners may be out of line, over the width."""


def glass_joined(outlines: list[Outline]) -> list[Outline]:
    """Return the outlines, those of a label and the glass beside it made one.

    Parameters
    ----------
    outlines : list of Outline
    """
    left, joined = list(outlines), list[Outline]()
    for one, other in combinations(outlines, 2):
        if one not in left or other not in left:
            continue
        whole = _glass_slide(*sorted((one, other), key=lambda each: each.polygon.area))
        if whole is not None:
            left.remove(one)
            left.remove(other)
            joined.append(whole)
    return left + joined


def is_label(share: float, long: float) -> bool:
    """Whether a part may be a glass slide's label.

    Parameters
    ----------
    share : float
        Of the length that the part takes, at one end.
    long : float
        Length over width of the whole.
    """
    return _LONG[0] < long < _LONG[1] and _LABEL[0] < share < _LABEL[1]


def _glass_slide(label: Outline, tissue: Outline) -> Outline | None:
    """Return the slide that a label and what lies beside it make; None where they make none."""
    if "quadrilateral" not in (label.kind, tissue.kind) or "box" in (label.kind, tissue.kind):
        return None
    ends, seam = _facing(tissue, label.corners.mean(axis=0))
    far, near = _facing(label, tissue.corners.mean(axis=0))
    seam_of_label, outer = near[::-1], far
    corners = np.array([*ends, *outer])
    width = (_length(ends) + _length(outer)) / 2
    length = (_length(corners[1:3]) + _length(corners[[3, 0]])) / 2
    gaps = np.hypot(*(seam - seam_of_label).T)
    if gaps.max() > _APART * length + _FLUSH * width or gaps.min() > _APART * length:
        return None
    share = np.mean(np.hypot(*(outer - seam_of_label).T)) / length
    if not is_label(float(share), length / max(width, 1e-9)):
        return None
    together = shapely.union_all([label.polygon, tissue.polygon])
    polygon = shapely.intersection(shapely.convex_hull(together), shapely.Polygon(corners))
    if polygon.geom_type != "Polygon" or together.area < 0.9 * polygon.area:
        return None
    weights = np.array([label.polygon.area, tissue.polygon.area])
    confidence = float(np.average([label.confidence, tissue.confidence], weights=weights))
    return replace(tissue, corners=from_top_left(corners), polygon=polygon, confidence=confidence)


def _facing(
    outline: Outline, towards: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the far side and the side that faces a point, each (2, 2), in the ring's order."""
    ring = outline.corners
    middles = (ring + np.roll(ring, -1, axis=0)) / 2
    side = int(np.hypot(*(middles - towards).T).argmin())
    turned = np.roll(ring, -side, axis=0)  # the facing side is corners 0 and 1
    return turned[2:], turned[:2]


def _length(side: NDArray[np.float64]) -> float:
    return float(np.hypot(*(side[1] - side[0])))
