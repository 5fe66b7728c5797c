"""Slides side by side that seem one: the straight seams between them.

Pictures that touch have nothing to do with one another. Along the line between them colours change
everywhere at once and more than beside it, what lies on its two sides does not vary together, and
the network has at least an inkling of a border. These signs are weighed by a logistic regression,
which `scripts/fit_seams.py` fits to composed, and so synthetic, photos. The panels of a figure are
mostly of one size, so a seam is likelier at a half or a third than elsewhere.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Mask, Rgb
from slidemask.post.glass import is_label
from slidemask.post.halves import Halves

Points = NDArray[np.float64]
Plane = NDArray[np.float32]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""
SIGNS = ("change", "likeness", "border")
WEIGHTS = (8.3, -1.5, 7.0)
BIAS = -5.3
"""Of the logistic regression, which gives 8.3, -1.3, 6.5 and -6.8, and with the narrow network 8.7,
-1.2, 7.5 and -6.8; a higher bias leaves fewer of the slides in composed photos merged."""
_PLACES = (1 / 3, 1 / 2, 2 / 3)
_PLACE_SHARE = 0.015
"""How near to such a place, as a share of the side."""
_AT_PLACE, _ELSEWHERE = 1.1, -0.5
"""Added to the logit at places where panels of one size meet, and at others: as if two of five
seams lay there, in an eighth of the columns. Not fitted: composed panels are always of one size.
"""
_NO_SEAM = -2.0
"""Logit of the likeliest seam below which a find is taken to be whole: looked at from near, none of
258 such finds in 700 composed photos came apart, and 5 of 80 in 120 photos of glass slides."""
_LONGEST_PX = 256
"""Longer side of the straightened picture in which seams are looked for."""
_SLANT_PX = 2
"""A seam's ends may lie so far apart across it: outlines are not exact."""
_NEAR_PX = 2
_AROUND_PX = 8
_NOISE = 2.0
"""Of colours, in units of L*a*b*'s 8 bits: what changes by less, such as an even ground from one
JPEG block to the next, hardly counts."""
_ENDS = 0.12
"""Share of a picture's side in which no seam is looked for."""
_LEAST_PX = 24
_FILLED = 0.3
"""Share of each part that the region fills, over that of the whole outline, at least."""


@dataclass(frozen=True, eq=False)
class Part:
    """What lies between seams.

    Parameters
    ----------
    mask : (h, w) bool
        In the network's map.
    whole : bool
        Whether a further seam in it is unlikely.
    """

    mask: Mask
    whole: bool


@dataclass(frozen=True, eq=False)
class Straightened:
    """A find made a rectangle, small.

    Parameters
    ----------
    pixels : (h, w, 3) uint8
    border : (h, w) float32
        Probability of "border".
    band_px : float
        Width of that class along the find's sides.
    """

    pixels: Rgb
    border: Plane
    band_px: float

    @property
    def turned(self) -> "Straightened":
        """Rows for columns."""
        return Straightened(self.pixels.swapaxes(0, 1), self.border.T, self.band_px)

    def columns(self, first: int, last: int) -> "Straightened":
        """Return some columns."""
        return Straightened(self.pixels[:, first:last], self.border[:, first:last], self.band_px)


def parted(
    region: Mask,
    border: Plane,
    photo: Rgb | Halves,
    corners: Points,
    *,
    band_share: float,
    glass: bool = False,
) -> list[Part]:
    """Cut a region along the seams between the slides in it.

    Parameters
    ----------
    region : (h, w) bool
        In the network's map.
    border : (h, w) float32
        Probability of the class "border".
    photo : (H, W, 3) uint8
    corners : (4, 2) float64
        The region's outline, in the photo's pixels, clockwise from the top left.
    band_share : float
        Width of the class "border", as a share of the photo's longer side.
    glass : bool
        Leave a glass slide's label where it is.

    Returns
    -------
    list of Part
        The region itself where there is no seam.
    """
    photo = Halves.of(photo)
    scale = np.array(photo.size) / region.shape[::-1]
    find = straightened(photo, border, corners, band_share=band_share)
    height, width = find.border.shape
    parts = _parts(find, (0, 0, width, height), glass=glass)
    if len(parts) == 1:
        return [Part(region, parts[0][1])]
    rows, columns = np.nonzero(region)
    places = np.stack([columns + 0.5, rows + 0.5], axis=1) * scale
    flat = cv2.perspectiveTransform(places[None], _to_flat(corners, (width, height)))[0]
    x, y = np.clip(flat, 0, np.array([width, height]) - 1e-6).T
    per_px = len(rows) / (width * height)
    found = list[Part]()
    for (left, top, right, bottom), whole in parts:
        within = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        if np.count_nonzero(within) < _FILLED * per_px * (right - left) * (bottom - top):
            return [Part(region, whole=False)]  # ragged: no pictures side by side
        mask = np.zeros_like(region)
        mask[rows[within], columns[within]] = True
        found.append(Part(mask, whole))
    return found


def straightened(
    photo: Rgb | Halves, border: Plane, corners: Points, *, band_share: float
) -> Straightened:
    """Make a find a small rectangle, about as wide and high as it is seen."""
    photo = Halves.of(photo)
    top, right, bottom, left = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
    wide, high = max(top, bottom), max(left, right)
    shrink = min(1.0, _LONGEST_PX / max(wide, high))
    size = max(1, round(wide * shrink)), max(1, round(high * shrink))
    pixels, number = photo.shrunk(2 * shrink)
    return Straightened(
        _flat(pixels, corners / 2**number, size),
        _flat(border, corners * border.shape[::-1] / photo.size, size),
        band_share * max(photo.size) * shrink,
    )


def signs(find: Straightened) -> NDArray[np.float64]:
    """Return what speaks for a seam at the left end of each column, over `SIGNS`; (3, w).

    Of the slants in reach each column has the one that speaks most for it.
    """
    lab = np.asarray(cv2.cvtColor(find.pixels, cv2.COLOR_RGB2LAB), np.float32)
    varying = lab - cv2.blur(lab, (1, 61))
    # The border may run a little beside the seam.
    border = np.asarray(cv2.dilate(find.border, np.ones((1, 5), np.uint8)), np.float32)
    changes = _changes(_channels(lab))
    groups = _Groups.of(len(changes))
    sums = groups.sums(np.stack([changes, *_products(_channels(varying)), border], axis=1))
    best = np.full((len(SIGNS), border.shape[1]), -np.inf)
    for way in (-1, 0, 1):
        leaning = groups.leaning(sums, way)
        change, together, left, right, inkling = leaning.sum(axis=0)
        likeness = together / np.maximum(np.sqrt(left * right), 1e-3)
        likeness[:_NEAR_PX] = likeness[-_NEAR_PX:] = 1  # beyond the ends there is nothing
        told = np.stack([change / len(changes), likeness, inkling / len(changes)])
        better = score(told) > score(best)
        best[:, better] = told[:, better]
    return best


def score(told: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logit of a seam at each column, from its signs (3, w) and its place."""
    weighed = np.array(WEIGHTS) @ np.nan_to_num(told, neginf=-1e3) + BIAS
    return np.asarray(weighed + expected(told.shape[1]), np.float64)


def expected(width: int) -> NDArray[np.float64]:
    """Return what is added to the logit at each column for where it lies."""
    shares = np.arange(width) / width
    near = np.abs(shares[:, None] - _PLACES).min(axis=1) < _PLACE_SHARE
    return np.where(near, _AT_PLACE, _ELSEWHERE)


def sought(find: Straightened) -> slice:
    """Return the columns where a seam may be: not so near to the sides that theirs is meant."""
    width = find.border.shape[1]
    ends = max(_LEAST_PX / 3, _ENDS * width, 2 * find.band_px + 2)
    return slice(round(ends), max(round(ends), round(width - ends)))


def _parts(find: Straightened, at: Box, *, glass: bool) -> list[tuple[Box, bool]]:
    """Cut along the best seam, and each part again; return also what is surely whole."""
    left, top, right, bottom = at
    upright, across = _best(find), _best(find.turned)
    if (likeliest := max(upright[0], across[0])) <= 0:
        return [(at, -np.inf < likeliest < _NO_SEAM)]
    is_upright = upright[0] >= across[0]
    cut, lying = (upright[1], find) if is_upright else (across[1], find.turned)
    width, length = lying.border.shape
    halves = lying.columns(0, cut), lying.columns(cut, length)
    if is_upright:
        boxes = (left, top, left + cut, bottom), (left + cut, top, right, bottom)
    else:
        halves = halves[0].turned, halves[1].turned
        boxes = (left, top, right, top + cut), (left, top + cut, right, bottom)
    first, second = (
        _parts(half, box, glass=glass) for half, box in zip(halves, boxes, strict=True)
    )
    rest = first if 2 * cut > length else second
    if glass and len(rest) == 1 and is_label(min(cut, length - cut) / length, length / width):
        return [(at, False)]  # the label itself may hold lines of writing, and so seams
    return [*first, *second]


def _best(find: Straightened) -> tuple[float, int]:
    """Return the logit and the column of the best upright seam."""
    columns = sought(find)
    if min(find.border.shape) < _LEAST_PX or columns.start >= columns.stop:
        return -np.inf, 0
    logits = score(signs(find))[columns]
    return float(logits.max()), int(columns.start + logits.argmax())


def _channels(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return channels one after the other: sums over them are then much faster."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


@dataclass(frozen=True, eq=False)
class _Groups:
    """Rows that are added up together: those shifted alike by a line that leans.

    Parameters
    ----------
    members : (groups, h) float32
        1 where a row belongs to a group.
    shift : (groups,) intp
        Columns by which a line that leans to the right is off.
    """

    members: NDArray[np.float32]
    shift: NDArray[np.intp]

    @classmethod
    def of(cls, height: int) -> "_Groups":
        shifts = np.rint(_SLANT_PX * ((np.arange(height) + 0.5) / height - 0.5)).astype(np.intp)
        shift = np.unique(shifts)
        return cls(np.asarray(shifts == shift[:, None], np.float32), shift)

    def sums(self, planes: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return (groups, n, w) of planes (h, n, w)."""
        sums = self.members @ planes.reshape(len(planes), -1)
        return sums.reshape(-1, *planes.shape[1:]).astype(np.float64)

    def leaning(self, sums: NDArray[np.float64], way: int) -> NDArray[np.float64]:
        """Return the sums along lines that lean to the left, -1, or right, 1; 0: upright."""
        if way == 0:
            return sums
        width = sums.shape[2]
        columns = np.clip(np.arange(width) + way * self.shift[:, None], 0, width - 1)
        return np.take_along_axis(sums, columns[:, None], axis=2)


def _changes(channels: NDArray[np.float32]) -> Plane:
    """Return how much colours differ from the column before: the log of its ratio to around it."""
    changes = np.zeros(channels.shape[1:], np.float32)
    differences = channels[:, :, 1:] - channels[:, :, :-1]
    np.sqrt((differences * differences).sum(axis=0), out=changes[:, 1:])
    changes += _NOISE
    around = np.asarray(cv2.blur(changes, (2 * _AROUND_PX + 1, 1)), np.float32)
    return np.asarray(np.log(changes / around), np.float32)


def _products(varying: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what lies left of each column times what lies right, and the squares of both."""
    planes = np.zeros((3, *varying.shape[1:]), np.float32)
    left, right = varying[:, :, : -2 * _NEAR_PX], varying[:, :, 2 * _NEAR_PX :]
    inner = planes[:, :, _NEAR_PX:-_NEAR_PX]
    for plane, (one, other) in zip(
        inner, ((left, right), (left, left), (right, right)), strict=True
    ):
        np.sum(one * other, axis=0, out=plane)
    return planes


def _to_flat(corners: Points, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the homography from the photo to a rectangle 0..w, 0..h."""
    width, height = size
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners.astype(np.float32), flat), np.float64)


def _flat(plane: NDArray[Any], corners: Points, size: tuple[int, int]) -> NDArray[Any]:
    """Return what lies between four corners of a plane as a rectangle."""
    rows, columns = plane.shape[:2]
    low = np.clip(np.floor(corners.min(axis=0)) - 2, 0, (columns - 1, rows - 1)).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 2, low + 1, (columns, rows)).astype(int)
    part = plane[low[1] : high[1], low[0] : high[0]]
    # No finer than twice what is asked for: otherwise fine tissue becomes noise.
    shrink = min(1.0, 2 * max(size) / max(part.shape[:2]))
    if shrink < 1:
        part = cv2.resize(part, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    scale = np.array([part.shape[1], part.shape[0]]) / (high - low)
    to_flat = _to_flat((corners - low) * scale, size)
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    centred = np.linalg.inv(half) @ to_flat @ half  # pixel centres are what cv2 counts by
    return cv2.warpPerspective(part, centred, size, borderMode=cv2.BORDER_REPLICATE)
