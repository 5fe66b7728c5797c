"""Where a sheet's points come to lie in a photo, and the sheet's pixels there.

All positions have a pixel's edges on whole numbers: pixel (i, j) covers [j, j + 1) x [i, i + 1).
OpenCV counts from pixel centres, so half a pixel is added and taken off around its calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from slidemask.base.types import Rgb

Points = NDArray[np.float64]
_KNOTS = 1025
_STEPS = 24


class View(NamedTuple):
    """A pinhole camera above a plane, principal point in the frame's middle.

    Parameters
    ----------
    size : (width, height)
        Of the frame.
    focal_px : float
        Focal length in pixels.
    tilt : (float, float)
        Radians about the frame's x and y axes.
    roll : float
        Radians about the optical axis.
    zoom : float
        Frame pixels per unit of the plane, in the middle.
    aim : (x, y)
        The plane's point that is seen in the middle.
    """

    size: tuple[int, int]
    focal_px: float
    tilt: tuple[float, float] = (0.0, 0.0)
    roll: float = 0.0
    zoom: float = 1.0
    aim: tuple[float, float] = (0.0, 0.0)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The homography from the plane to the frame, (3, 3)."""
        turn = _turn(0, self.tilt[0]) @ _turn(1, self.tilt[1]) @ _turn(2, self.roll)
        width, height = self.size
        lens = np.array([(self.focal_px, 0, width / 2), (0, self.focal_px, height / 2), (0, 0, 1)])
        shift = np.array([0, 0, self.focal_px / self.zoom]) - turn[:, :2] @ np.array(self.aim)
        return lens @ np.column_stack([turn[:, :2], shift])


@dataclass(frozen=True, eq=False)
class Bend:
    """A page bent about an axis along its height, as open books are.

    The page's width is laid along a curve (arc length), whose height is seen from above or below
    and so shifts the lines: (u, v) comes to (u', v + slant * height(u')).

    Parameters
    ----------
    width : float
        Of the page, its pixels.
    heights : (n,) float
        Of the curve at equal steps of u' from 0 to `width`.
    slant : float
        Shift of the lines for each pixel of height.
    """

    width: float
    heights: NDArray[np.float64]
    slant: float

    @property
    def along(self) -> NDArray[np.float64]:
        """U at equal steps of u', from 0 to the width."""
        step = self.width / (len(self.heights) - 1)
        way = np.append(0, np.cumsum(np.hypot(step, np.diff(self.heights))))
        return way * (self.width / way[-1])

    def forward(self, points: Points) -> Points:
        """Bend points of the page, (n, 2)."""
        level = np.linspace(0, self.width, len(self.heights))
        across = np.interp(points[:, 0], self.along, level)
        height = np.interp(across, level, self.heights)
        return np.stack([across, points[:, 1] + self.slant * height], axis=1)

    def back(
        self, across: NDArray[np.floating], down: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return where on the page bent places lie; beyond its sides it goes on straight."""
        level = np.linspace(0, self.width, len(self.heights))
        u = np.interp(across, level, self.along)
        u = u + np.minimum(across, 0) + np.maximum(across - self.width, 0)
        return u, down - self.slant * np.interp(across, level, self.heights)

    @property
    def shade(self) -> NDArray[np.float32]:
        """Light at equal steps of u, about 1: slopes towards the left are darker."""
        slope = np.gradient(self.heights) / (self.width / (len(self.heights) - 1))
        return np.clip(1 - 0.45 * slope, 0.55, 1.15).astype(np.float32)


def draw_bend(width: float, rng: np.random.Generator) -> Bend:
    """Draw a bend: steep towards a spine at one side, or an arch."""
    at = np.linspace(0, 1, _KNOTS)
    if rng.uniform() < 0.7:
        curve = np.exp(-at / rng.uniform(0.12, 0.4)) * -1 + 0.25 * np.sin(np.pi * at)
    else:
        curve = np.sin(np.pi * at)
    curve = curve if rng.integers(2) else curve[::-1]
    heights = width * rng.uniform(0.03, 0.14) * curve
    return Bend(width, heights, float(rng.uniform(0.15, 0.6) * rng.choice([-1, 1])))


@dataclass(frozen=True, eq=False)
class Pose:
    """How a sheet lies in the frame.

    Parameters
    ----------
    matrix : (3, 3) float
        From the sheet, after bending, to the frame.
    bend : Bend, optional
    """

    matrix: NDArray[np.float64]
    bend: Bend | None = None

    def forward(self, points: Points) -> Points:
        """Return where points (n, 2) of the sheet are seen."""
        bent = self.bend.forward(points) if self.bend else points
        seen = np.column_stack([bent, np.ones(len(bent))]) @ self.matrix.T
        return seen[:, :2] / seen[:, 2:]

    def outline(self, corners: Points, radius: float = 0.0) -> Polygon:
        """Return what a figure's outline looks like; bent sides have many corners."""
        ring = corners
        if radius > 0:
            ring = shapely.get_coordinates(Polygon(corners).buffer(-radius).buffer(radius))[:-1]
        if self.bend is not None:
            ring = densified(ring)
        return Polygon(self.forward(ring))

    def render(self, frame: Rgb, pixels: Rgb, alpha: NDArray[np.uint8] | None) -> "Cast":
        """Draw a sheet into `frame`, in place, smooth at its rim; return where it came to lie."""
        height, width = pixels.shape[:2]
        window = self._window((width, height), frame.shape)
        if window is None:
            return Cast((slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.uint8))
        cover = np.full((height, width), 255, np.uint8) if alpha is None else alpha
        colour = self._warped(pixels, window, cv2.BORDER_REPLICATE)
        inside = self._warped(cover, window, cv2.BORDER_CONSTANT)
        part = frame[window]
        share = inside.astype(np.float32) / 255
        part[:] = cv2.blendLinear(colour, np.ascontiguousarray(part), share, 1 - share)
        return Cast(window, inside)

    def where(self, window: tuple[slice, slice]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return x and y on the sheet of each of a window's pixel centres."""
        rows, columns = window
        x = np.arange(columns.start, columns.stop)[None, :] + 0.5
        y = np.arange(rows.start, rows.stop)[:, None] + 0.5
        back = np.linalg.inv(self.matrix)
        u, v, w = (line[0] * x + line[1] * y + line[2] for line in back)
        u, v = u / w, v / w
        if self.bend is not None:
            u, v = self.bend.back(u, v)
        return u.astype(np.float32), v.astype(np.float32)

    def _warped(
        self, pixels: NDArray[np.uint8], window: tuple[slice, slice], border: int
    ) -> NDArray[np.uint8]:
        rows, columns = window
        size = (columns.stop - columns.start, rows.stop - rows.start)
        pixels, scale = _shrunk(pixels, self._scale(pixels.shape))
        if self.bend is not None:
            u, v = self.where(window)
            grid = (u / np.float32(scale[0]) - 0.5, v / np.float32(scale[1]) - 0.5)
            moved = cv2.remap(pixels, *grid, cv2.INTER_LINEAR, borderMode=border)
            return np.asarray(moved, np.uint8)
        matrix = _shift(-columns.start - 0.5, -rows.start - 0.5) @ self.matrix
        matrix = matrix @ np.diag([*scale, 1.0]) @ _shift(0.5, 0.5)
        moved = cv2.warpPerspective(pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
        return np.asarray(moved, np.uint8)

    def _scale(self, shape: Sequence[int]) -> float:
        """Return frame pixels per sheet pixel in the sheet's middle."""
        middle = np.array((shape[1] / 2, shape[0] / 2))
        seen = self.forward(middle + np.array([(0, 0), (1, 0), (0, 1)]))
        (a, b), (c, d) = seen[1] - seen[0], seen[2] - seen[0]
        return float(np.sqrt(abs(a * d - b * c)))

    def _window(self, size: tuple[int, int], shape: Sequence[int]) -> tuple[slice, slice] | None:
        """Return the part of a frame that a sheet of this size can reach."""
        seen = self.forward(densified(rectangle(*size)))
        low, high = np.floor(seen.min(axis=0)) - 1, np.ceil(seen.max(axis=0)) + 1
        left, top = np.maximum(low, 0).astype(int)
        right, bottom = np.minimum(high, (shape[1], shape[0])).astype(int)
        if right <= left or bottom <= top:
            return None
        return slice(int(top), int(bottom)), slice(int(left), int(right))


class Cast(NamedTuple):
    """Where a sheet was drawn: a window of the frame, and how much it covers there, 0..255."""

    window: tuple[slice, slice]
    cover: NDArray[np.uint8]


def rectangle(width: float, height: float) -> Points:
    """Return a sheet's corners, clockwise from its top left."""
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)


def densified(ring: Points, steps: int = _STEPS) -> Points:
    """Put `steps` points on each side of a ring instead of one.

    >>> densified(rectangle(2, 2), 2).tolist()[:3]
    [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]
    """
    at = np.arange(steps)[None, :, None] / steps
    sides = ring[:, None] + (np.roll(ring, -1, axis=0) - ring)[:, None] * at
    return sides.reshape(-1, 2)


def laid(
    size: tuple[int, int], at: tuple[float, float] = (0, 0), angle: float = 0, scale: float = 1
) -> NDArray[np.float64]:
    """Return the map that puts a sheet's middle at a plane's point, turned and scaled."""
    x, y = at
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([(cosine, -sine, x), (sine, cosine, y), (0, 0, 1)])
    return turn @ _shift(-size[0] / 2, -size[1] / 2)


def _shrunk(
    pixels: NDArray[np.uint8], scale: float
) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Average what will be seen much smaller, as a camera does; return by how much."""
    if scale > 0.7:
        return pixels, (1.0, 1.0)
    height, width = pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), (width / size[0], height / size[1])


def _shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([(1, 0, x), (0, 1, y), (0, 0, 1)], np.float64)


def _turn(axis: int, angle: float) -> NDArray[np.float64]:
    one, other = (number for number in range(3) if number != axis)
    turn = np.eye(3)
    turn[one, one] = turn[other, other] = np.cos(angle)
    turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
    return turn
