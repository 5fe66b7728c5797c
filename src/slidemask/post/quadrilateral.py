"""Four sides, straight or bent: places along them, and how they are moved.

A side runs from one corner to the next: chord plus an offset along the chord's outward normal,

    offset(t) = t (1 - t) (c0 + c1 t),    t from 0 to 1 along the chord,

which is nothing at the corners, so a quadrilateral is four corners and four pairs of numbers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import Polygon

Points = NDArray[np.float64]
"""(N, 2), x and y in pixels; pixel (i, j) covers [j, j + 1) x [i, i + 1)."""

_BENT_STEPS = 16
_FOLLOWED, _CLEARLY = 0.65, 1.2
"""Share of points on an arc, alone and against a line, before a side counts as bent."""
_STATIONS = np.linspace(0.02, 0.98, 25)
_MET = 1e-9
"""Shares of a side below which nothing is left to go."""
_BESIDE = 1e-6
"""Sine of the angle below which two directions run beside each other."""


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
        away = bow(self.bends[number], along)
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
        away = [np.abs(bow(bend, along)).max() for bend in self.bends]
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


def bow(bend: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far a side with such a bend is out of its chord at shares `along`."""
    return along * (1 - along) * (bend[0] + bend[1] * along)


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
            steps = np.clip(_meeting(along, onward, q - p), -0.2, 0.2)
            ends[before, 1] += steps[0]
            ends[number, 0] += steps[1]
            if np.abs(steps).max() < _MET:
                break
        corners[number] = point(number, ends[number, 0])[0]
    moved = Quadrilateral(corners, np.zeros((4, 2)))
    new = np.zeros((4, 2))
    for number in range(4):
        if bends[number].any():
            first, last = ends[number]
            along = first + _STATIONS * (last - first)
            new[number] = _bend_of(moved, number, np.array([point(number, t)[0] for t in along]))
    return Quadrilateral(corners, new)


def side_terms(along: NDArray[np.float64]) -> Points:
    """Return the (N, 4) terms that a, b, c0, c1 of `joined` are multiplied by."""
    arc = along * (1 - along)
    return np.stack([1 - along, along, arc, arc * along], axis=1)


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
    middle = len(values) // 2
    for _ in range(8):
        before, found = found, _least_squares(terms, values, weight)
        if np.abs(found - before).max() < 1e-3 * scale:
            break
        left = np.abs(values - terms @ found)
        median = float(np.partition(left, middle)[middle])
        spread = min(scale, max(1.4826 * median, 0.05 * scale))
        weight = np.maximum(1 - (left / (4.7 * spread)) ** 2, 0) ** 2 + 1e-6
    return found


def arc_of(
    along: NDArray[np.float64], away: NDArray[np.float64], *, near: float
) -> NDArray[np.float64] | None:
    """Return a, b, c0, c1 of the arc that points follow; None where a line does as well.

    Parameters
    ----------
    along, away : (N,)
        Place along the chord, 0..1, and offset from it in pixels.
    near : float
        Pixels within which a point lies on a curve. Most must lie on the arc, and clearly more
        than on the line: else it is what sticks out of a straight side that would be followed.
    """
    return line_or_arc(along, away, near=near)[1]


def line_or_arc(
    along: NDArray[np.float64], away: NDArray[np.float64], *, near: float
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return a, b of the line that points follow, and their arc: see `arc_of`."""
    terms = side_terms(along)
    line = robust(terms[:, :2], away, near)
    on_line = float(np.mean(np.abs(terms[:, :2] @ line - away) < near))
    if _CLEARLY * on_line >= 1:  # no arc can do so much better
        return line, None
    arc = robust(terms, away, near)
    on_arc = float(np.mean(np.abs(terms @ arc - away) < near))
    return line, arc if on_arc > _FOLLOWED and on_arc > _CLEARLY * on_line else None


def arc_height(arc: NDArray[np.float64]) -> float:
    """Return how far an arc a, b, c0, c1 leaves its chord."""
    return float(np.abs(bow(arc[2:], np.linspace(0, 1, 33))).max())


def _bend_of(straight: Quadrilateral, number: int, points: Points) -> NDArray[np.float64]:
    """Return the bend of a side that runs through points."""
    start, chord, normal = straight.frame(number)
    along = (points - start) @ chord / max(float(chord @ chord), 1e-9)
    away = (points - start) @ normal
    return _least_squares(side_terms(along)[:, 2:], away, np.ones(len(away)))


def _least_squares(
    terms: Points, values: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solve the normal equations: there are four unknowns at most, and all terms are about one."""
    weighted = terms.T * weight
    square, right = weighted @ terms, weighted @ values
    if len(square) == 2:  # by hand: much faster
        (a, b), (_, d), (p, q) = *square.tolist(), right.tolist()
        more = 1e-9 * max(a + d, 1e-9)
        a, d = a + more, d + more
        return np.array([d * p - b * q, a * q - b * p]) / (a * d - b * b)
    diagonal = square.ravel()[:: len(square) + 1]
    diagonal += 1e-9 * max(float(diagonal.sum()), 1e-9)
    return np.asarray(np.linalg.solve(square, right), np.float64)


def _meeting(along: Points, onward: Points, between: Points) -> NDArray[np.float64]:
    """Return how far to go along two directions from two points to where they meet."""
    (a, c), (b, d), (x, y) = along.tolist(), onward.tolist(), between.tolist()
    cross = b * c - a * d
    if abs(cross) < _BESIDE * np.hypot(a, c) * np.hypot(b, d):
        sides = np.stack([along, -onward], axis=1)
        return np.asarray(np.linalg.lstsq(sides, between, rcond=None)[0], np.float64)
    return np.array([b * y - d * x, a * y - c * x]) / cross
