"""Fields without any object, sewn from what lies between the objects of annotated pictures.

Annotated fields are photographed where the objects are, so a network never sees a whole field of
stroma and marks it. A quilt is such a field: patches of one picture's own background, cut along
irregular borders. It is real tissue in an artificial arrangement, and is called that.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Labels, Mask, Rgb

SEAM_PX = 2.0
"""Width over which patches fade into each other."""
GLASS = 222
"""Brighter pixels are glass or lumen, not stroma."""
FEWEST_PLACES = 40
"""A picture with fewer places to cut a patch from would only repeat itself."""


def stroma(picture: Rgb, labels: Labels, margin_px: int = 4) -> Mask:
    """Return where a picture shows background tissue, off every object by `margin_px`."""
    bright = cv2.GaussianBlur(picture, (0, 0), 3).mean(axis=2) > GLASS
    other = (bright | (labels != 0)).astype(np.uint8)
    size = 2 * margin_px + 1
    return cv2.dilate(other, np.ones((size, size), np.uint8)) == 0


def quilt(
    picture: Rgb,
    background: Mask,
    side: int,
    rng: np.random.Generator,
    *,
    patch: int = 44,
    densest: float = 1.0,
) -> Rgb | None:
    """Sew a (side, side) field from patches of a picture's background.

    Parameters
    ----------
    picture : (H, W, 3) uint8
        Where patches come from.
    background : (H, W) bool
        What may be in a patch.
    side : int
        Of the quilt, pixels.
    rng : Generator
        Draws places, patches and borders.
    patch : int
        Side of the square patches.
    densest : float
        Share of the places that are used, the darkest: 0.1 gives fields as dense as a lymphoid
        follicle where the stroma holds lymphocytes.

    Returns
    -------
    (side, side, 3) uint8 or None
        None where the background is too small to cut from.
    """
    rows, columns = _places(background, patch)
    if len(rows) < FEWEST_PLACES:
        return None
    if densest < 1:
        grey = cv2.boxFilter(picture.mean(axis=2), -1, (patch, patch), anchor=(0, 0))[rows, columns]
        chosen = np.argsort(grey, kind="stable")[: max(FEWEST_PLACES, round(densest * len(rows)))]
        rows, columns = rows[chosen], columns[chosen]
    centres = _centres(side, patch, rng)
    shares = _shares(centres, side, rng)
    total = np.zeros((side, side, 3), np.float32)
    weight = np.zeros((side, side, 1), np.float32)
    for (y, x), share in zip(centres, shares, strict=True):
        place = rng.integers(len(rows))
        square = picture[rows[place] :, columns[place] :][:patch, :patch]
        turned = np.rot90(square, int(rng.integers(4)))
        top, left = y - patch // 2, x - patch // 2
        into = tuple(slice(max(0, a), min(side, a + patch)) for a in (top, left))
        part = tuple(slice(s.start - a, s.stop - a) for s, a in zip(into, (top, left), strict=True))
        total[into] += turned[part] * share[into][..., None]
        weight[into] += share[into][..., None]
    filled = total / np.maximum(weight, 1e-6)
    return np.clip(np.rint(filled), 0, 255).astype(np.uint8)


def write_picture_pair(picture: Rgb, path: Path, labels_path: Path) -> None:
    """Write a field and its empty label image, both as PNG."""
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(labels_path), np.zeros(picture.shape[:2], np.uint8))


def _places(background: Mask, patch: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return top left corners of all squares that are background throughout."""
    height, width = background.shape
    if min(height, width) < patch:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    sums = np.asarray(cv2.integral(background.astype(np.uint8)), np.int64)
    whole = (
        sums[patch:, patch:]
        - sums[:-patch, patch:]
        - sums[patch:, :-patch]
        + sums[:-patch, :-patch]
    )
    rows, columns = np.nonzero(whole == patch**2)
    return rows, columns


def _centres(side: int, patch: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return patch centres on a shaken lattice, dense enough to leave no gap."""
    step = patch // 2
    lattice = np.arange(0, side + step, step)
    shake = step // 5
    return [
        (int(y + rng.integers(-shake, shake + 1)), int(x + rng.integers(-shake, shake + 1)))
        for y in lattice
        for x in lattice
    ]


def _shares(
    centres: list[tuple[int, int]], side: int, rng: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Return a soft (side, side) share of each patch: cells around the centres, borders wavy."""
    grid = np.mgrid[:side, :side].astype(np.float32)
    wave = np.stack([cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), 5) for _ in range(2)])
    wavy = grid + 30 * wave.astype(np.float32)
    nearest = np.full((side, side), np.inf, np.float32)
    owner = np.zeros((side, side), np.int32)
    for number, (y, x) in enumerate(centres):
        far = (wavy[0] - y) ** 2 + (wavy[1] - x) ** 2
        closer = far < nearest
        nearest[closer], owner[closer] = far[closer], number
    return [
        cv2.GaussianBlur((owner == number).astype(np.float32), (0, 0), SEAM_PX / 2)
        for number in range(len(centres))
    ]
