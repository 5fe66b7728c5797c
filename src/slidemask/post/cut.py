"""Slides that the photo's edge cuts: which rectangle it is that is seen in part.

A side along the photo's edge is none of the slide's, so that the four corners are not those of a
rectangle seen in perspective. Three sides tell it all the same, for a phone's usual focal length:
two of them meet in a vanishing point, and the other vanishing point is where the third meets the
line of all directions at right angles to the first (R. Hartley and A. Zisserman, *Multiple View
Geometry in Computer Vision*, 2nd edition, 2004, section 8.6).
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
USUAL_FOCAL = 0.8
"""Focal length over the photo's longer side: 28 mm on a 36 mm wide film."""
_NEAR = 0.006
"""How near to the photo's edge a side along it lies, as a share of the photo's longer side."""
_MOST = 2.5
"""Area of a slide over that of the part that is seen, at most; more comes from inexact sides."""


def cut_sides(corners: Points, photo_size: tuple[int, int]) -> list[int]:
    """Return the numbers of the sides that run along the photo's edge.

    Side k joins corners k and k + 1.

    Examples
    --------
    >>> cut_sides(np.array([[0.1, 20], [50, 20], [50, 60], [0, 60.0]]), (200, 100))
    [3]
    """
    near = _NEAR * max(photo_size)
    width, height = photo_size
    x, y = corners.T
    beyond = np.stack([x <= near, y <= near, x >= width - near, y >= height - near])
    along = beyond & np.roll(beyond, -1, axis=1)
    return [int(side) for side in np.flatnonzero(along.any(axis=0))]


def whole_corners(corners: Points, photo_size: tuple[int, int]) -> Points:
    """Return the corners of a rectangle, seen in perspective, that holds all that is seen of it.

    Parameters
    ----------
    corners : (4, 2) float64
        Of what is seen, clockwise.
    photo_size : (int, int)
        Width and height.

    Returns
    -------
    (4, 2) float64
        As given where no side, or only one, is cut and the others do tell; where more are cut, of
        the box round them that lies along the longest side that is whole: no tilt is told then.
    """
    cut = cut_sides(corners, photo_size)
    if not cut:
        return corners
    made = _from_three_sides(corners, cut[0], photo_size) if len(cut) == 1 else None
    return _box_along(corners, cut) if made is None else made


def _from_three_sides(corners: Points, cut: int, photo_size: tuple[int, int]) -> Points | None:
    """Return the corners that three sides tell; None where they are too inexact for it."""
    scale, middle = float(max(photo_size)), np.array(photo_size) / 2
    start, *others = np.roll((corners - middle) / scale, -cut - 1, axis=0)
    a, b, c, d = (np.append(point, 1.0) for point in (start, *others))  # the cut side is d to a
    before, across, after = np.cross(a, b), np.cross(b, c), np.cross(c, d)
    vanishing = np.cross(before, after)
    other = np.cross(across, vanishing * (USUAL_FOCAL**-2, USUAL_FOCAL**-2, 1.0))
    far_d = np.cross(np.cross(other, a), after)
    far_a = np.cross(np.cross(other, d), before)
    found = [
        np.roll(np.array([(p[:2] / p[2]) for p in four]) * scale + middle, cut + 1, axis=0)
        for four in ((a, b, c, far_d), (far_a, b, c, d))
        if all(abs(p[2]) > 1e-9 * np.linalg.norm(p) for p in four)  # any multiple is the point
    ]
    seen = _area(corners)
    sound = [each for each in found if _is_convex(each) and seen * 0.999 <= _area(each)]
    best = max(sound, key=_area, default=None)
    return best if best is not None and _area(best) <= _MOST * seen else None


def _box_along(corners: Points, cut: list[int]) -> Points:
    sides = np.roll(corners, -1, axis=0) - corners
    lengths = np.hypot(*sides.T)
    lengths[cut] = 0
    longest = int(lengths.argmax())
    right = sides[longest] / lengths[longest] if lengths[longest] else np.array([1.0, 0.0])
    right = right @ np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), longest)  # as side 0 runs
    axes = np.stack([right, [-right[1], right[0]]])
    turned = corners @ axes.T
    (left, top), (far, bottom) = turned.min(axis=0), turned.max(axis=0)
    return np.array([[left, top], [far, top], [far, bottom], [left, bottom]]) @ axes


def _area(corners: Points) -> float:
    x, y = corners.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2


def _is_convex(corners: Points) -> bool:
    sides = np.roll(corners, -1, axis=0) - corners
    after = np.roll(sides, -1, axis=0)
    return bool((sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0] > 0).all())
