"""Sides laid along the edge of a region of pixels, at the resolution of the network."""

from contextlib import suppress

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon
from skimage.measure import find_contours

from slidemask.base.types import Mask
from slidemask.post.quadrilateral import (
    Points,
    Quadrilateral,
    arc_height,
    arc_of,
    from_top_left,
    joined,
    robust,
)

_ROUNDS = 4
_ENDS = 0.06
"""Share of a side beside each corner that is not looked at: corners may be rounded."""
_ON_FRAME_PX = 1.0
_POINTS = 800
_GOOD = 0.97
"""Agreement from which on no other beginning is tried."""


def contour(region: NDArray[np.float32]) -> Points:
    """Return the longest line along which a map of 0..1 crosses one half, (N, 2).

    What reaches the map's edge is closed along it.
    """
    rows, columns = (np.nonzero((region > 0).any(axis=axis))[0] for axis in (1, 0))
    part = region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    longest = max(find_contours(np.pad(part, 1), 0.5), key=len)
    points = longest[:: max(1, len(longest) // _POINTS), ::-1]
    corner = np.array([columns[0], rows[0]])
    return points + corner - 0.5  # pixel centres, and the padding


def fit(region: NDArray[np.float32], bent_share: float) -> tuple[Quadrilateral, NDArray[np.bool_]]:
    """Lay a quadrilateral along a region's edge.

    Four lines are fitted to the contour without regard to what sticks out of it or is missing;
    where the contour leaves them in an arc, sides are bent. A side along the map's edge is that
    edge.

    Parameters
    ----------
    region : (H, W) float32
        About 1 inside, about 0 outside, one half on the edge.
    bent_share : float
        From which share of its length on a side's bow is a bend.

    Returns
    -------
    quadrilateral : Quadrilateral
        In the map's pixels, clockwise from the corner that is top left as seen.
    on_frame : (4,) bool
        Sides that are the map's own edge.

    Raises
    ------
    ValueError
        If there is nothing that four lines could be fitted to.
    """
    points = contour(region)
    height, width = region.shape
    best, best_iou = None, -1.0
    mask = region > 0.5
    for first in _first_guesses(points, mask):
        corners, on_frame = _four_lines(first, points, (width, height))
        guess = Quadrilateral(corners, np.zeros((4, 2)))
        if not guess.is_sound():
            continue
        iou = agreement(guess.polygon(), mask)
        if iou > best_iou + 0.005:
            best, best_iou = (guess, on_frame), iou
        if best_iou > _GOOD:
            break
    if best is None:
        raise ValueError("no four straight sides")
    straight, on_frame = best
    bent = _bent(straight, on_frame, points, bent_share)
    if bent is not None and bent.polygon().is_valid and agreement(bent.polygon(), mask) > best_iou:
        return bent, on_frame
    return straight, on_frame


def agreement(polygon: Polygon, mask: Mask) -> float:
    """Return the intersection over union of a polygon with a mask's pixels."""
    drawn = np.zeros(mask.shape, np.uint8)
    if not polygon.is_empty:
        ring = shapely.get_coordinates(polygon.exterior)
        fixed = np.round((ring - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(drawn, [fixed], (1,), shift=4)
    inside = drawn > 0
    union = np.count_nonzero(inside | mask)
    return np.count_nonzero(inside & mask) / union if union else 0.0


def _first_guesses(points: Points, mask: Mask) -> list[Points]:
    """Return some quadrilaterals (4, 2) to begin with, of the region without what sticks out."""
    radius = max(1, round(0.06 * float(np.count_nonzero(mask)) ** 0.5))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    corner, part = _around(mask)
    frame = np.pad(part.view(np.uint8), radius + 1, mode="edge")
    core = cv2.morphologyEx(frame, cv2.MORPH_OPEN, disc)[
        radius + 1 : -radius - 1, radius + 1 : -radius - 1
    ]
    lines, _ = cv2.findContours(core, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=corner)
    line = (
        max(lines, key=len).astype(np.float32) + 0.5
        if lines
        else points[:, None].astype(np.float32)
    )
    if len(line) < 8:
        raise ValueError("too few points for four sides")
    hull = cv2.convexHull(line)
    guesses = [cv2.boxPoints(cv2.minAreaRect(hull))]
    around = cv2.arcLength(hull, closed=True)
    for share in np.linspace(0.01, 0.1, 19):
        some = cv2.approxPolyDP(hull, share * around, closed=True)
        if len(some) <= 4:
            if len(some) == 4:
                guesses.insert(0, some[:, 0])
            break
    with suppress(cv2.error):  # hulls with hardly more than four corners
        guesses.insert(0, cv2.approxPolyN(hull, 4, epsilon_percentage=-1, ensure_convex=True)[0])
    return [from_top_left(np.asarray(guess, np.float64)) for guess in guesses]


def _around(mask: Mask) -> tuple[tuple[int, int], Mask]:
    """Return the part of a mask with a pixel of background round it, and the part's x and y."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    left, top = max(0, x - 1), max(0, y - 1)
    return (left, top), mask[top : y + height + 1, left : x + width + 1]


def _four_lines(
    corners: Points, points: Points, size: tuple[int, int]
) -> tuple[Points, NDArray[np.bool_]]:
    """Fit a line to the contour points of each side, and take their intersections."""
    x, y = points.T
    edges = np.stack([y, size[0] - x, size[1] - y, x], axis=1)  # distances to the frame's edges
    edge = np.where(edges.min(axis=1) < _ON_FRAME_PX, edges.argmin(axis=1), -1)
    on_frame = np.zeros(4, bool)
    for turn in range(_ROUNDS):
        guess = Quadrilateral(corners, np.zeros((4, 2)))
        side, along, away = _nearest_side(guess, points)
        wide = float(guess.lengths.min()) * (0.2, 0.1, 0.06, 0.05)[turn]
        near = (np.abs(away) < wide) & (along > _ENDS) & (along < 1 - _ENDS)
        moves = np.zeros((4, 4))
        lines = []
        for number in range(4):
            mine = near & (side == number)
            frame_share = np.mean(edge[mine] >= 0) if mine.any() else 0.0
            on_frame[number] = frame_share > 0.5
            if on_frame[number]:
                lines.append(_frame_line(int(np.bincount(edge[mine & (edge >= 0)]).argmax()), size))
                continue
            free = mine & (edge < 0)
            start, chord, normal = guess.frame(number)
            if np.count_nonzero(free) >= 6:
                t = along[free]
                terms = np.stack([1 - t, t], axis=1)
                moves[number, :2] = robust(terms, away[free], max(1.0, wide / 5))
            p = start + moves[number, 0] * normal
            q = start + chord + moves[number, 1] * normal
            lines.append((p, q - p))
        corners = np.array([_meet(lines[k - 1], lines[k]) for k in range(4)])
        if not np.isfinite(corners).all():
            raise ValueError("sides run beside each other")
    return corners, on_frame


def _frame_line(edge: int, size: tuple[int, int]) -> tuple[Points, Points]:
    """Return a frame edge (top, right, bottom, left) as point and direction."""
    width, height = map(float, size)
    starts = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    ways = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)]
    return np.array(starts[edge]), np.array(ways[edge])


def _meet(one: tuple[Points, Points], other: tuple[Points, Points]) -> Points:
    (p, along), (q, onward) = one, other
    cross = along[0] * onward[1] - along[1] * onward[0]
    if abs(cross) < 1e-3 * np.hypot(*along) * np.hypot(*onward):
        return np.full(2, np.nan)
    between = q - p
    return p + along * (between[0] * onward[1] - between[1] * onward[0]) / cross


def _nearest_side(
    guess: Quadrilateral, points: Points
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Return of each point the side it is nearest to, its place along it and how far it is out."""
    placed = []
    for number in range(4):
        start, chord, normal = guess.frame(number)
        from_start = points - start
        along = from_start @ chord / max(float(chord @ chord), 1e-9)
        away = from_start @ normal
        over = np.maximum(np.maximum(-along, along - 1), 0) * np.hypot(*chord)
        placed.append((np.hypot(away, over), along, away))
    distances, along, away = np.array(placed).transpose(1, 0, 2)
    side = distances.argmin(axis=0)
    own = np.arange(len(points))
    return side, along[side, own], away[side, own]


def _bent(
    straight: Quadrilateral, on_frame: NDArray[np.bool_], points: Points, bent_share: float
) -> Quadrilateral | None:
    """Return the quadrilateral with bent sides where the contour is bent; None where nowhere."""
    side, along, away = _nearest_side(straight, points)
    moves = np.zeros((4, 4))
    lengths = straight.lengths
    for number in range(4):
        mine = (side == number) & (along > _ENDS / 2) & (along < 1 - _ENDS / 2)
        mine &= np.abs(away) < 0.2 * lengths[number]
        if on_frame[number] or np.count_nonzero(mine) < 12:
            continue
        arc = arc_of(along[mine], away[mine], near=max(1.0, 0.01 * lengths[number]))
        if arc is not None and arc_height(arc) > max(1.0, bent_share * lengths[number]):
            moves[number] = arc
    return joined(straight, moves) if moves.any() else None
