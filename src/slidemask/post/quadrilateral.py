"""Four sides, straight or bent, laid along the edge of a region of pixels.

A side runs from one corner to the next: chord plus an offset along the chord's normal, to its right
(outwards, as corners run clockwise with y down the normal (dy, -dx) points out),

    offset(t) = t (1 - t) (c0 + c1 t),    t from 0 to 1 along the chord,

which is nothing at the corners, so a quadrilateral is four corners and four pairs of numbers.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon
from skimage.measure import find_contours

from slidemask.base.types import Mask

Points = NDArray[np.float64]
"""(N, 2), x and y in pixels; pixel (i, j) covers [j, j + 1) x [i, i + 1)."""

_ROUNDS = 4
_ENDS = 0.06
"""Share of a side beside each corner that is not looked at: corners may be rounded."""
_ON_FRAME_PX = 1.0
_BENT_STEPS = 16


@dataclass(frozen=True, eq=False)
class Quadrilateral:
    """Four corners, clockwise as seen, and the bend of the side that begins at each.

    Parameters
    ----------
    corners : (4, 2) float64
    bends : (4, 2) float64
        c0 and c1 of each side, in pixels; zeros: straight.

    Examples
    --------
    >>> square = Quadrilateral(np.array([[0.0, 0], [8, 0], [8, 8], [0, 8]]), np.zeros((4, 2)))
    >>> square.polygon().area, square.side(1, np.array([0.25])).tolist()
    (64.0, [[8.0, 2.0]])
    """

    corners: Points
    bends: NDArray[np.float64]

    def side(self, number: int, along: NDArray[np.float64]) -> Points:
        """Return the points of a side at shares `along` of its chord."""
        start, chord, normal = self.frame(number)
        away = _offset(self.bends[number], along)
        return start + along[:, None] * chord + away[:, None] * normal

    def frame(self, number: int) -> tuple[Points, Points, Points]:
        """Return a side's start, its chord and the chord's outward unit normal."""
        start, end = self.corners[number], self.corners[(number + 1) % 4]
        chord = end - start
        length = max(float(np.hypot(*chord)), 1e-9)
        return start, chord, np.array([chord[1], -chord[0]]) / length

    @property
    def lengths(self) -> NDArray[np.float64]:
        """(4,) lengths of the chords."""
        return np.hypot(*(np.roll(self.corners, -1, axis=0) - self.corners).T)

    @property
    def bend_shares(self) -> NDArray[np.float64]:
        """(4,) how far each side leaves its chord, as a share of the chord's length."""
        along = np.linspace(0, 1, 33)
        away = [np.abs(_offset(bend, along)).max() for bend in self.bends]
        return np.array(away) / np.maximum(self.lengths, 1e-9)

    def polygon(self) -> Polygon:
        """Return the outline, with vertices along bent sides."""
        parts = []
        for number in range(4):
            steps = _BENT_STEPS if self.bends[number].any() else 1
            parts.append(self.side(number, np.arange(steps) / steps))
        return Polygon(np.concatenate(parts))

    def scaled(self, by: Points) -> "Quadrilateral":
        """Return it with x and y multiplied by `by`."""
        sides = [self.side(number, _STATIONS) * by for number in range(4)]
        straight = Quadrilateral(self.corners * by, np.zeros((4, 2)))
        bends = [
            _bend_of(straight, number, points) if self.bends[number].any() else (0.0, 0.0)
            for number, points in enumerate(sides)
        ]
        return Quadrilateral(straight.corners, np.array(bends, np.float64))

    def is_sound(self) -> bool:
        """Whether it is convex, clockwise, and no corner is sharper than 25° or nearly flat."""
        chords = np.roll(self.corners, -1, axis=0) - self.corners
        unit = chords / np.maximum(self.lengths, 1e-9)[:, None]
        following = np.roll(unit, -1, axis=0)
        turns = unit[:, 0] * following[:, 1] - unit[:, 1] * following[:, 0]
        ahead = (unit * following).sum(axis=1)
        angles = np.degrees(np.arctan2(turns, ahead))
        return bool((angles > 15).all() and (angles < 155).all())


_STATIONS = np.linspace(0.02, 0.98, 25)


def _offset(bend: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.float64]:
    return along * (1 - along) * (bend[0] + bend[1] * along)


def contour(region: NDArray[np.float32]) -> Points:
    """Return the longest line along which a map of 0..1 crosses one half, (N, 2).

    What reaches the map's edge is closed along it.
    """
    padded = np.pad(region, 1)
    lines = find_contours(padded, 0.5)
    longest = max(lines, key=len)
    return longest[:, ::-1] - 0.5  # pixel centres, and the padding


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
    if best is None:
        raise ValueError("no four straight sides")
    straight, on_frame = best
    bent = _bent(straight, on_frame, points, bent_share)
    if bent is not None and agreement(bent.polygon(), mask) > best_iou:
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


def from_top_left(corners: Points) -> Points:
    """Return corners clockwise from the one whose side runs most nearly to the right.

    >>> from_top_left(np.array([[9.0, 9], [9, 0], [0, 0], [0, 9]])).tolist()
    [[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 9.0]]
    """
    x, y = corners.T
    if np.dot(x, np.roll(y, -1)) < np.dot(np.roll(x, -1), y):  # counter-clockwise as seen
        corners = corners[::-1]
    sides = np.roll(corners, -1, axis=0) - corners
    sides = sides / np.maximum(np.hypot(*sides.T), 1e-9)[:, None]
    # With the first side to the right the third runs to the left, the second down, the fourth up.
    right = [
        sides[k, 0] - sides[(k + 2) % 4, 0] + sides[(k + 1) % 4, 1] - sides[(k + 3) % 4, 1]
        for k in range(4)
    ]
    return np.roll(corners, -int(np.argmax(right)), axis=0)


def joined(quadrilateral: Quadrilateral, moves: NDArray[np.float64]) -> Quadrilateral:
    """Return the quadrilateral whose sides are moved along their normals, cut anew at the corners.

    Parameters
    ----------
    quadrilateral : Quadrilateral
    moves : (4, 4) float64
        Of each side a, b, c0, c1: the offset a (1 - t) + b t + t (1 - t) (c0 + c1 t) is added to
        the side's own.
    """
    bends = quadrilateral.bends + moves[:, 2:]

    def point(number: int, t: float) -> tuple[Points, Points]:
        start, chord, normal = quadrilateral.frame(number)
        (a, b), (c0, c1) = moves[number, :2], bends[number]
        away = a * (1 - t) + b * t + t * (1 - t) * (c0 + c1 * t)
        slope = b - a + (1 - 2 * t) * (c0 + c1 * t) + t * (1 - t) * c1
        return start + t * chord + away * normal, chord + slope * normal

    ends = np.array([[0.0, 1.0]] * 4)
    corners = np.empty((4, 2))
    for number in range(4):
        before = (number - 1) % 4
        for _ in range(6):  # Newton: where the tangents meet
            (p, along), (q, onward) = point(before, ends[before, 1]), point(number, ends[number, 0])
            steps = np.linalg.lstsq(np.stack([along, -onward], axis=1), q - p, rcond=None)[0]
            ends[before, 1] += np.clip(steps[0], -0.2, 0.2)
            ends[number, 0] += np.clip(steps[1], -0.2, 0.2)
        corners[number] = point(number, ends[number, 0])[0]
    moved = Quadrilateral(corners, np.zeros((4, 2)))
    new = np.zeros((4, 2))
    for number in range(4):
        if bends[number].any():
            first, last = ends[number]
            along = first + _STATIONS * (last - first)
            new[number] = _bend_of(moved, number, np.array([point(number, t)[0] for t in along]))
    return Quadrilateral(corners, new)


def robust(terms: Points, values: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Return least-squares coefficients that outliers hardly move (Tukey's biweight).

    Parameters
    ----------
    terms : (N, K)
    values : (N,)
    scale : float
        Residual beyond which a point counts for little; the spread of the residuals narrows it.
    """
    weight = np.ones(len(values))
    found = np.zeros(terms.shape[1])
    for _ in range(8):
        root = np.sqrt(weight)
        found = np.linalg.lstsq(terms * root[:, None], values * root, rcond=None)[0]
        left = np.abs(values - terms @ found)
        spread = min(scale, max(1.4826 * float(np.median(left)), 0.05 * scale))
        weight = np.clip(1 - (left / (4.7 * spread)) ** 2, 0, None) ** 2 + 1e-6
    return found


def _first_guesses(points: Points, mask: Mask) -> list[Points]:
    """Return some quadrilaterals (4, 2) to begin with, of the region without what sticks out."""
    radius = max(1, round(0.06 * float(np.count_nonzero(mask)) ** 0.5))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    frame = np.pad(mask.view(np.uint8), radius + 1, mode="edge")
    core = cv2.morphologyEx(frame, cv2.MORPH_OPEN, disc)[
        radius + 1 : -radius - 1, radius + 1 : -radius - 1
    ]
    lines, _ = cv2.findContours(core, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
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
    try:
        guesses.insert(0, cv2.approxPolyN(hull, 4, epsilon_percentage=-1, ensure_convex=True)[0])
    except cv2.error:  # hulls with hardly more than four corners
        pass
    return [from_top_left(np.asarray(guess, np.float64)) for guess in guesses]


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
                lines.append(_frame_line(np.bincount(edge[mine & (edge >= 0)]).argmax(), size))
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
        found = robust(side_terms(along[mine]), away[mine], max(1.0, 0.01 * lengths[number]))
        t = np.linspace(0, 1, 33)
        bow = float(np.abs(_offset(found[2:], t)).max())
        if bow > max(1.0, bent_share * lengths[number]):
            moves[number] = found
    return joined(straight, moves) if moves.any() else None


def side_terms(along: NDArray[np.float64]) -> Points:
    """Return the (N, 4) terms that a, b, c0, c1 of `joined` are multiplied by."""
    bow = along * (1 - along)
    return np.stack([1 - along, along, bow, bow * along], axis=1)


def _bend_of(straight: Quadrilateral, number: int, points: Points) -> NDArray[np.float64]:
    """Return the bend of a side that runs through points."""
    start, chord, normal = straight.frame(number)
    along = (points - start) @ chord / max(float(chord @ chord), 1e-9)
    away = (points - start) @ normal
    return np.linalg.lstsq(side_terms(along)[:, 2:], away, rcond=None)[0]
