"""Slides side by side that seem one: the straight seams between them.

Pictures that touch have nothing to do with one another. Along the line between them colours change
everywhere at once and more than elsewhere, what lies on its two sides does not vary together, and
the network has at least an inkling of a border. These signs are weighed by a logistic regression,
which `scripts/fit_seams.py` fits to composed, and so synthetic, photos.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Mask, Rgb

Points = NDArray[np.float64]
Plane = NDArray[np.float32]
SIGNS = ("change", "change of the weakest sixths", "likeness", "border")
WEIGHTS = (14.3, 0.5, -1.0, 9.5)
BIAS = -15.9
"""Of the logistic regression; its own bias of -14.9 made lower by one, so that a slide is rarely
cut in two."""
_LONGEST_PX = 256
"""Longer side of the straightened picture in which seams are looked for."""
_SLANT_PX = 2
"""A seam's ends may lie so far apart across it: outlines are not exact."""
_STRETCHES = 6
_NEAR_PX = 2
_ENDS = 0.12
"""Share of a picture's side in which no seam is looked for."""
_LEAST_PX = 24
_FILLED = 0.3
"""Share of each part that the region fills, over that of the whole outline, at least."""


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
    region: Mask, border: Plane, photo: Rgb, corners: Points, *, band_share: float
) -> list[Mask]:
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

    Returns
    -------
    list of (h, w) bool
        The region itself where there is no seam.
    """
    scale = np.array([photo.shape[1] / region.shape[1], photo.shape[0] / region.shape[0]])
    find = straightened(photo, border, corners, band_share=band_share)
    height, width = find.border.shape
    parts = _parts(find, (0, 0, width, height))
    if len(parts) == 1:
        return [region]
    rows, columns = np.nonzero(region)
    places = np.stack([columns + 0.5, rows + 0.5], axis=1) * scale
    flat = cv2.perspectiveTransform(places[None], _to_flat(corners, (width, height)))[0]
    x, y = np.clip(flat, 0, np.array([width, height]) - 1e-6).T
    per_px = len(rows) / (width * height)
    masks = list[Mask]()
    for left, top, right, bottom in parts:
        within = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        if np.count_nonzero(within) < _FILLED * per_px * (right - left) * (bottom - top):
            return [region]  # ragged: no pictures side by side
        mask = np.zeros_like(region)
        mask[rows[within], columns[within]] = True
        masks.append(mask)
    return masks


def straightened(photo: Rgb, border: Plane, corners: Points, *, band_share: float) -> Straightened:
    """Make a find a small rectangle, about as wide and high as it is seen."""
    top, right, bottom, left = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
    wide, high = max(top, bottom), max(left, right)
    shrink = min(1.0, _LONGEST_PX / max(wide, high))
    size = max(1, round(wide * shrink)), max(1, round(high * shrink))
    scale = np.array([border.shape[1] / photo.shape[1], border.shape[0] / photo.shape[0]])
    return Straightened(
        _flat(photo, corners, size),
        _flat(border, corners * scale, size),
        band_share * max(photo.shape) * shrink,
    )


def signs(find: Straightened) -> NDArray[np.float64]:
    """Return what speaks for a seam at each column, over `SIGNS`; (4, w) in 0..1, or -1..1.

    Of the slants in reach each column has the one that speaks most for it.
    """
    colours = np.asarray(cv2.cvtColor(find.pixels, cv2.COLOR_RGB2LAB), np.float32)
    # The border may run a little beside the seam.
    border = np.asarray(cv2.dilate(find.border, np.ones((1, 5), np.uint8)), np.float32)
    ranks = _ranks(_changes(colours))
    varying = colours - cv2.blur(colours, (1, 61))
    together, left, right = _products(varying)
    best = np.full((4, border.shape[1]), -np.inf)
    for slant in range(-_SLANT_PX, _SLANT_PX + 1):
        leaning = _leaning(ranks, slant)
        stretches = [part.mean(axis=0) for part in np.array_split(leaning, _STRETCHES)]
        weakest = np.sort(stretches, axis=0)[:2].mean(axis=0)
        sums = [_leaning(plane, slant).sum(axis=0) for plane in (together, left, right)]
        likeness = sums[0] / np.maximum(np.sqrt(sums[1] * sums[2]), 1e-3)
        likeness[:_NEAR_PX] = likeness[-_NEAR_PX:] = 1  # beyond the ends there is nothing
        told = np.stack(
            [leaning.mean(axis=0), weakest, likeness, _leaning(border, slant).mean(axis=0)]
        )
        better = score(told) > score(best)
        best[:, better] = told[:, better]
    return best


def score(told: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logit of a seam at each column, from its signs (4, w)."""
    return np.asarray(np.array(WEIGHTS) @ np.nan_to_num(told, neginf=-1e3) + BIAS, np.float64)


def sought(find: Straightened) -> slice:
    """Return the columns where a seam may be: not so near to the sides that theirs is meant."""
    width = find.border.shape[1]
    ends = max(_LEAST_PX / 3, _ENDS * width, 2 * find.band_px + 2)
    return slice(round(ends), max(round(ends), round(width - ends)))


def _parts(find: Straightened, at: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """Return boxes x, y, right, bottom: cut along the best seam, and each part again."""
    left, top, right, bottom = at
    upright, across = _best(find), _best(find.turned)
    if max(upright[0], across[0]) <= 0:
        return [at]
    if upright[0] >= across[0]:
        cut = upright[1]
        first, second = find.columns(0, cut), find.columns(cut, right - left)
        return [
            *_parts(first, (left, top, left + cut, bottom)),
            *_parts(second, (left + cut, top, right, bottom)),
        ]
    cut = across[1]
    turned = find.turned
    first, second = turned.columns(0, cut).turned, turned.columns(cut, bottom - top).turned
    return [
        *_parts(first, (left, top, right, top + cut)),
        *_parts(second, (left, top + cut, right, bottom)),
    ]


def _best(find: Straightened) -> tuple[float, int]:
    """Return the logit and the column of the best upright seam."""
    columns = sought(find)
    if min(find.border.shape) < _LEAST_PX or columns.start >= columns.stop:
        return -np.inf, 0
    logits = score(signs(find))[columns]
    return float(logits.max()), int(columns.start + logits.argmax())


def _leaning(plane: NDArray[np.float32], slant: int) -> NDArray[np.float32]:
    """Shift rows so that a line leaning by so many columns over the whole height is upright."""
    if slant == 0:
        return plane
    height, width = plane.shape[:2]
    shift = np.rint(slant * ((np.arange(height) + 0.5) / height - 0.5)).astype(int)
    columns = np.clip(np.arange(width)[None] + shift[:, None], 0, width - 1)
    return plane[np.arange(height)[:, None], columns]


def _changes(colours: NDArray[np.float32]) -> Plane:
    """Return how much colours differ from column to column, and across two, the larger."""
    changes = np.zeros(colours.shape[:2], np.float32)
    for step in (1, 2):
        differences = colours[:, 2 * step :] - colours[:, : -2 * step]
        inner = changes[:, step:-step]
        np.maximum(inner, np.sqrt(_dot(differences, differences)), out=inner)
    return changes


def _ranks(values: Plane) -> Plane:
    """Return each value's rank among all, from 0 to 1."""
    ranks = np.empty(values.size, np.float32)
    ranks[np.argsort(values, axis=None)] = np.arange(values.size) / values.size
    return ranks.reshape(values.shape)


def _products(varying: NDArray[np.float32]) -> tuple[Plane, Plane, Plane]:
    """Return what lies left of each column times what lies right, and the squares of both."""
    planes = np.zeros((3, *varying.shape[:2]), np.float32)
    left, right = varying[:, : -2 * _NEAR_PX], varying[:, 2 * _NEAR_PX :]
    inner = planes[:, :, _NEAR_PX:-_NEAR_PX]
    inner[0], inner[1], inner[2] = _dot(left, right), _dot(left, left), _dot(right, right)
    return planes[0], planes[1], planes[2]


def _dot(one: NDArray[np.float32], other: NDArray[np.float32]) -> Plane:
    """Return the products of two pictures' channels, added up: much faster than `sum(axis=2)`."""
    return np.asarray(np.einsum("ijk,ijk->ij", one, other), np.float32)


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
