"""A slide's outline made a rectangle, at the photo's own resolution.

The aspect ratio of the slide follows from the perspective of its four corners (Zhang and He,
"Whiteboard scanning and image enhancement", 2007): a pinhole camera with square pixels and the
principal point at the photo's centre sees a rectangle as this quadrilateral for one focal length
and one ratio only. Where two sides run parallel the focal length cannot be told, and a phone's
usual one is taken; the ratio then hardly depends on it, and not at all where all sides do. Of a
slide that the photo's edge cuts, the rectangle is worked out that is seen in part.
"""

from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from slidemask.base.types import Rgb
from slidemask.post.cut import USUAL_FOCAL, cut_sides, whole_corners
from slidemask.post.outlines import Outline

_FOCALS = (0.45, 4.0)
"""Focal lengths that phones have, over the longer side: others come from inexact corners."""
_MOST = 4.0
"""Pixels of the straightened slide over those in the photo, at most: nothing is gained by more."""
_BAND_PX = 256
"""Rows that are straightened at once: maps of a whole slide take many times its memory."""
_BLOCK_PX = 512
"""Side of what is cut out at once."""
_STEP_PX = 8
"""Pixels of a bent slide from one place that is worked out to the next."""

Points = NDArray[np.float64]


def rectify(photo: Rgb, outline: Outline) -> Rgb:
    """Cut a slide out and straighten it.

    Parameters
    ----------
    photo : (H, W, 3) uint8
    outline : Outline
        A box is cut out as it is. Bent sides are made straight: what lies between is moved by
        the four sides' deviations from their chords, mixed as in a Coons patch.

    Returns
    -------
    (h, w, 3) uint8
        As large as the slide is in the photo; what lies outside the photo is white, and of a slide
        that the photo's edge cuts, what lies outside the outline.
    """
    height, width = photo.shape[:2]
    corners = outline.corners
    if outline.kind == "box":
        x, y, right, bottom = np.rint([*corners[0], *corners[2]]).astype(int).clip(0)
        return photo[y : max(bottom, y + 1), x : max(right, x + 1)].copy()
    cut = outline.kind == "quadrilateral" and bool(cut_sides(corners, (width, height)))
    if cut:
        corners = whole_corners(corners, (width, height))
    size = output_size(corners, (width, height))
    bows = _bows(outline)
    to_photo = homography(size, corners)
    if bows is not None:
        return _straightened(photo, to_photo, bows, size)
    # Pixel centres are what cv2 counts by.
    centred = _shifted(-0.5, -0.5) @ to_photo @ _shifted(0.5, 0.5)
    pixels = _warped(photo, centred, size)
    if cut:
        ring = shapely.get_coordinates(outline.polygon.exterior)
        _whiten_outside(pixels, _mapped(np.asarray(np.linalg.inv(to_photo), np.float64), ring))
    return pixels


def output_size(corners: Points, photo_size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height in pixels: of the slide's ratio, with as many as it has in the photo.

    Parameters
    ----------
    corners : (4, 2) float64
        Clockwise from the top left.
    photo_size : (int, int)
        Width and height, of which the middle is the principal point.
    """
    ratio = aspect_ratio(corners, photo_size)
    top, right, bottom, left = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
    # The longest of opposite sides keeps its pixels, so that nothing is lost.
    width = max(top, bottom, max(left, right) * ratio)
    x, y = corners.T
    area = abs(float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y))) / 2
    shrink = min(1.0, (_MOST * area * ratio) ** 0.5 / width)
    return max(1, round(width * shrink)), max(1, round(width * shrink / ratio))


def aspect_ratio(corners: Points, photo_size: tuple[int, int]) -> float:
    """Return width over height of the rectangle that a camera sees as `corners`.

    Examples
    --------
    >>> flat = np.array([[0, 0], [30, 0], [30, 20], [0, 20.0]])
    >>> round(aspect_ratio(flat, (100, 100)), 6)
    1.5
    """
    scale = float(max(photo_size))
    centred = (corners - np.array(photo_size) / 2) / scale
    m1, m2, m4, m3 = np.concatenate([centred, np.ones((4, 1))], axis=1)  # as the paper counts
    k2 = _triple(m1, m4, m3) / _triple(m2, m4, m3)
    k3 = _triple(m1, m4, m2) / _triple(m3, m4, m2)
    n2, n3 = k2 * m2 - m1, k3 * m3 - m1
    focal = _focal(n2, n3)
    if not np.isfinite([*n2, *n3]).all():
        return 1.0
    ratio = np.hypot(np.hypot(n2[0], n2[1]) / focal, n2[2]) / np.hypot(
        np.hypot(n3[0], n3[1]) / focal, n3[2]
    )
    return float(np.clip(ratio, 0.02, 50))


def homography(size: tuple[int, int], corners: Points) -> NDArray[np.float64]:
    """Return the (3, 3) map from a rectangle 0..w, 0..h to the photo."""
    width, height = size
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    terms, values = [], []
    for (u, v), (x, y) in zip(flat.astype(np.float64), corners, strict=True):
        terms += [[u, v, 1, 0, 0, 0, -u * x, -v * x], [0, 0, 0, u, v, 1, -u * y, -v * y]]
        values += [x, y]
    return np.append(np.linalg.solve(np.array(terms), np.array(values)), 1.0).reshape(3, 3)


def _triple(a: Points, b: Points, c: Points) -> float:
    return float(np.cross(a, b) @ c)


def _focal(n2: Points, n3: Points) -> float:
    """Return the focal length over the photo's longer side; the usual one where it is not told."""
    depth = n2[2] * n3[2]
    if abs(depth) < 1e-9:
        return USUAL_FOCAL
    square = -(n2[0] * n3[0] + n2[1] * n3[1]) / depth
    if not _FOCALS[0] ** 2 <= square <= _FOCALS[1] ** 2:
        return USUAL_FOCAL
    return float(square**0.5)


def _shifted(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _warped(photo: Rgb, to_photo: NDArray[np.float64], size: tuple[int, int]) -> Rgb:
    """Return the picture of a size whose pixel centres lie in the photo where they are mapped to.

    In blocks of four channels, which takes cv2 half as long as three.
    """
    width, height = size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _BLOCK_PX):
        for left in range(0, width, _BLOCK_PX):
            block = pixels[top : top + _BLOCK_PX, left : left + _BLOCK_PX]
            here = to_photo @ _shifted(left, top)
            x, y, right, bottom = _around(here, block.shape[1::-1], photo.shape[1::-1])
            if x >= right or y >= bottom:
                block[:] = 255
                continue
            part = cv2.cvtColor(photo[y:bottom, x:right], cv2.COLOR_RGB2RGBA)
            from_part = _shifted(-x, -y) @ here
            sampled = cv2.warpPerspective(
                part, from_part, block.shape[1::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_CONSTANT, borderValue=(255, 255, 255, 255),
            )  # fmt: skip
            cv2.cvtColor(sampled, cv2.COLOR_RGBA2RGB, dst=block)
    return pixels


def _around(
    to_photo: NDArray[np.float64], size: tuple[int, int], photo_size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the photo's pixels that a block is sampled from."""
    width, height = size
    right, bottom = width - 1, height - 1
    ends = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float64)
    places = _mapped(to_photo, ends)
    x, y = np.clip(np.floor(places.min(axis=0)) - 1, 0, photo_size).astype(int)
    right, bottom = np.clip(np.ceil(places.max(axis=0)) + 2, 0, photo_size).astype(int)
    return int(x), int(y), int(right), int(bottom)


def _bows(outline: Outline) -> list[Points] | None:
    """Return the points of the four sides, corner to corner; None where all are straight."""
    ring = shapely.get_coordinates(outline.polygon.exterior)[:-1]
    if len(ring) <= 4 or outline.kind != "curved":
        return None
    away = np.hypot(*(ring[:, None] - outline.corners[None]).transpose(2, 0, 1))
    at, distance = away.argmin(axis=0), away.min(axis=0)
    if distance.max() > 1.0:  # a corner was cut off by the photo's edge
        return None
    signed = float(
        np.dot(ring[:, 0], np.roll(ring[:, 1], -1)) - np.dot(ring[:, 1], np.roll(ring[:, 0], -1))
    )
    if signed < 0:  # y down: clockwise as seen is positive
        ring, at = ring[::-1], len(ring) - 1 - at
    sides = []
    for number in range(4):
        first, last = at[number], at[(number + 1) % 4]
        count = (last - first) % len(ring)
        sides.append(ring[(first + np.arange(count + 1)) % len(ring)])
    return sides


def _straightened(
    photo: Rgb, to_photo: NDArray[np.float64], sides: list[Points], size: tuple[int, int]
) -> Rgb:
    """Sample the photo where the flat picture's pixels lie on the bent slide."""
    width, height = size
    back = np.asarray(np.linalg.inv(to_photo), np.float64)
    flat = [_mapped(back, side) for side in sides]
    x = _every_step(width)
    top, bottom = _deviation(flat[0], 0, x), _deviation(flat[2], 0, x) - [0, height]
    pixels = np.empty((height, width, 3), np.uint8)
    for first in range(0, height, _BAND_PX):
        band = pixels[first : first + _BAND_PX]
        y = first + _every_step(len(band))
        right, left = _deviation(flat[1], 1, y) - [width, 0], _deviation(flat[3], 1, y)
        across, down = x[None, :, None] / width, y[:, None, None] / height
        moved = (
            (1 - down) * top[None]
            + down * bottom[None]
            + (1 - across) * left[:, None]
            + across * right[:, None]
        )
        places = np.stack(np.broadcast_arrays(x, y[:, None]), axis=2) + moved
        places = _mapped(to_photo, places.reshape(-1, 2)).reshape(places.shape) - 0.5
        band[:] = _sampled(photo, np.asarray(places, np.float32))[: len(band), :width]
    return pixels


def _every_step(length: int) -> NDArray[np.float64]:
    """Return the middles of steps that hold so many pixels, and of one more at each end."""
    steps = -(-length // _STEP_PX)
    return np.arange(-0.5, steps + 1.0, dtype=np.float64) * _STEP_PX


def _sampled(photo: Rgb, places: NDArray[np.float32]) -> Rgb:
    """Return the photo's pixels at places known every `_STEP_PX`, and one step around; else white.

    Sides leave their chords, and rows their ways, so slowly that what lies between is on a line.
    """
    rows, columns = places.shape[:2]
    every = cv2.resize(
        places, (columns * _STEP_PX, rows * _STEP_PX), interpolation=cv2.INTER_LINEAR
    )
    inner = every[_STEP_PX:-_STEP_PX, _STEP_PX:-_STEP_PX]
    x, y = cv2.split(inner)
    pixels = cv2.remap(
        photo, x, y, cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=(255, 255, 255),
    )  # fmt: skip
    return np.asarray(pixels, np.uint8)


def _whiten_outside(pixels: Any, ring: Points) -> None:  # noqa: ANN401 - what cv2 draws on
    outside = np.ones(pixels.shape[:2], np.uint8)
    cv2.fillPoly(outside, [np.round((ring - 0.5) * 16).astype(np.int32)], 0, shift=4)
    cv2.add(pixels, (255, 255, 255, 0), dst=pixels, mask=outside)  # type: ignore[call-overload]  # takes a colour


def _mapped(by: NDArray[np.float64], points: Points) -> Points:
    whole = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ by.T
    return whole[:, :2] / whole[:, 2:]


def _deviation(side: Points, axis: int, at: NDArray[np.float64]) -> Points:
    """Return (n, 2): across `axis`, where a flat side lies at the places `at` along it.

    Beyond its ends it goes on as it came.
    """
    along, across = side[np.argsort(side[:, axis])].T[[axis, 1 - axis]]
    slope = np.diff(across)[[0, -1]] / np.maximum(np.diff(along)[[0, -1]], 1e-9)
    ends = [-_STEP_PX, _STEP_PX]
    along = np.insert(along, [0, len(along)], along[[0, -1]] + ends)
    across = np.insert(across, [0, len(across)], across[[0, -1]] + slope * ends)
    out = np.zeros((len(at), 2))
    out[:, 1 - axis] = np.interp(at, along, across)
    return out
