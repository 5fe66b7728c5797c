"""Slides in a photo, from a network's probabilities: regions that touch are told apart."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from shapely.geometry import Polygon

from slidemask.base.settings import Settings
from slidemask.base.types import Mask
from slidemask.geometry.components import Ids, label, merged

Plane = NDArray[np.float32]
"""(H, W), one class's probabilities, 0..1."""
_PARTING = 0.6
"""Mean probability of a border along a seam from which on it parts two slides."""
Kind = Literal["quadrilateral", "curved", "box"]


class Outlines(Settings):
    """How slides are found in a photo.

    Parameters
    ----------
    method : {"outline", "boxes"}
        Quadrilaterals along the slides' own edges; or upright boxes round connected pixels
        (Mohamed 2024).
    longest_px : int
        Longer side of what the network sees.
    squash : bool
        Make the photo a square of that side, whatever its shape.
    pad_px : int
        Black added on every side; the whole is then brought back to its size.
    threshold : float
        Probability from which a pixel is part of a slide.
    min_share : float
        Smallest slide, as a share of the photo's area; of "boxes", of what the network sees.
    border_share : float
        Width of the class "border" inside each outline, as a share of the photo's longer side.
    min_confidence : float
        Outlines below are refused: see `Outline`.
    seams : bool
        Look for straight seams within each find, and part it there.
    look_closer : bool
        Search finds a second time, alone and from near: slides that touch are told apart. With
        `seams`, finds in which one is unlikely are not searched again.
    glass : bool
        Make one of a label and a tissue side by side that have the shape of a glass slide.
    refine : bool
        Move the sides to the strongest edges nearby, at the photo's full resolution.
    bent_share, max_bend_share : float
        A side that leaves its chord by more than the first share of its length is curved; by
        more than the second it is too bent to be straightened, and the outline is refused.
    """

    method: Literal["outline", "boxes"] = "outline"
    longest_px: int = Field(default=640, ge=32, le=4096)
    squash: bool = False
    pad_px: int = Field(default=0, ge=0)
    threshold: float = Field(default=0.5, gt=0, lt=1)
    min_share: float = Field(default=0.003, ge=0, lt=1)
    border_share: float = Field(default=0.01, gt=0, lt=0.2)
    min_confidence: float = Field(default=0.7, ge=0, le=1)
    seams: bool = False
    look_closer: bool = False
    glass: bool = False
    refine: bool = True
    bent_share: float = Field(default=0.008, gt=0, lt=1)
    max_bend_share: float = Field(default=0.15, gt=0, lt=1)


@dataclass(frozen=True, eq=False)
class Outline:
    """One slide in a photo.

    Parameters
    ----------
    corners : (4, 2) float64
        (x, y) in the photo's pixels, clockwise from the one that is top left as seen. Pixel (i, j)
        covers [j, j + 1) x [i, i + 1). Corners may lie outside the photo.
    polygon : Polygon
        The outline within the photo; of "curved" ones with vertices along the bent sides.
    confidence : float
        0..1: mean probability of the slide inside, times the agreement (IoU) of the outline with
        the region of pixels that the network marks. Text and other ragged regions have little.
    kind : {"quadrilateral", "curved", "box"}
        Four straight sides; at least one bent side; an upright box.
    """

    corners: NDArray[np.float64]
    polygon: Polygon
    confidence: float
    kind: Kind


def separate(inside: Plane, border: Plane, settings: Outlines) -> tuple[Ids, int]:
    """Give the slides of a photo numbers from 1 up, also where they touch.

    Confident interiors are the seeds, and what is enclosed all round: a pale middle within a clear
    border. Seeds are cut at their necks, so that a border with gaps still parts two slides; parts
    between which no border runs are one again. Each other pixel belongs to the nearest seed, as far
    as a border can reach.

    Parameters
    ----------
    inside, border : (H, W) float32
        Probabilities of "slide" and "border"; zeros where a network knows no border.
    settings : Outlines
        `threshold`, `min_share`, `border_share`.

    Returns
    -------
    ids : (H, W) int32
        0 outside all slides.
    count : int

    Examples
    --------
    >>> inside, border = np.zeros((2, 60, 60), np.float32)
    >>> border[10:50, 5:55] = 1
    >>> inside[12:48, 7:29] = inside[12:48, 31:53] = 1
    >>> border[inside > 0] = 0
    >>> ids, count = separate(inside, border, Outlines(border_share=0.04))
    >>> count, (ids == ids[20, 20]).sum(), ids[30, 29] == ids[30, 30]
    (2, np.int64(1000), np.False_)
    """
    smallest_px = settings.min_share * inside.size
    marked = inside + border > settings.threshold
    enclosed = _holes(marked)
    seeds = (inside > settings.threshold) & (inside >= border) | enclosed
    seeds = _without_small(seeds, smallest_px / 4)
    if not seeds.any():
        return np.zeros(inside.shape, np.int32), 0
    seed_ids, seed_count = label(seeds, 8)
    width_px = settings.border_share * max(inside.shape)
    away = cv2.distanceTransform((~seeds).view(np.uint8), cv2.DIST_L2, 5)
    kept = (marked | enclosed) & (away <= 2 * width_px + 1)
    _, nearest = cv2.distanceTransformWithLabels(
        (~_cores(seeds, seed_ids, seed_count, radius_px=round(0.75 * width_px))).view(np.uint8),
        cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP,
    )  # fmt: skip
    parts = np.where(kept, nearest, 0).astype(np.int32)
    count = int(parts.max())
    if count > seed_count:  # else each seed is in one part
        parts, count = _rejoined(parts, seed_ids, border, reach_px=round(width_px))
    return _renumbered(parts, count, smallest_px)


def boxes(inside: Plane, settings: Outlines) -> NDArray[np.float64]:
    """Return (N, 4) boxes x, y, right, bottom round 8-connected pixels above the threshold.

    Small ones are dropped (Mohamed 2024). Without `pad_px`, coordinates are those of `inside`.
    """
    mask = (inside > settings.threshold).view(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    x, y, width, height, _ = stats[1:count].T.astype(np.float64)
    kept = (width - 1) * (height - 1) >= settings.min_share * inside.size
    return np.stack([x, y, x + width, y + height], axis=1)[kept]


def _holes(mask: Mask) -> Mask:
    """Return what lies outside a mask and cannot reach the edge of the map."""
    outside = np.pad(~mask, 1, constant_values=True).view(np.uint8)
    _, ids = cv2.connectedComponents(outside, connectivity=4)
    return ((ids > 0) & (ids != ids[0, 0]))[1:-1, 1:-1]


def _cores(seeds: Mask, ids: Ids, count: int, *, radius_px: int) -> Mask:
    """Return seeds without their rims and necks; those that are nothing else stay whole."""
    if radius_px < 1:
        return seeds
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1,) * 2)
    cores = cv2.erode(seeds.view(np.uint8), disc, borderType=cv2.BORDER_REPLICATE) > 0
    lost = np.ones(count + 1, bool)
    lost[ids[cores]] = False
    lost[0] = False
    return cores | lost[ids] if lost.any() else cores


def _rejoined(ids: Ids, seeds: Ids, border: Plane, *, reach_px: int) -> tuple[Ids, int]:
    """Give parts of one seed one number where no border runs between them."""
    count = int(ids.max())
    owner = np.zeros(count + 1, np.int32)
    owner[ids[seeds > 0]] = seeds[seeds > 0]
    side = 2 * max(1, reach_px // 2) + 1  # the seam may lie a little beside the border
    near = cv2.dilate(border, np.ones((side, side), np.uint8))
    pairs, strengths = list[NDArray[np.int64]](), list[NDArray[np.float32]]()
    for one, other in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
    ):
        differ = np.nonzero(ids[one] != ids[other])
        first, second = ids[one][differ], ids[other][differ]
        low, high = np.minimum(first, second), np.maximum(first, second)
        seam = (low > 0) & (owner[low] == owner[high])
        pairs.append(low[seam].astype(np.int64) * (count + 1) + high[seam])
        strengths.append(np.asarray(near[one][differ][seam], np.float32))
    keys, which = np.unique(np.concatenate(pairs), return_inverse=True)
    mean = np.bincount(which, np.concatenate(strengths)) / np.maximum(np.bincount(which), 1)
    joined = keys[mean < _PARTING]
    table = np.stack([joined // (count + 1), joined % (count + 1)], axis=1).astype(np.int32)
    renumbered, remaining = merged(count, table)
    return renumbered[ids], remaining


def _without_small(mask: Mask, smallest_px: float) -> Mask:
    count, ids, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    kept = np.asarray(stats[:, cv2.CC_STAT_AREA] >= smallest_px)
    kept[0] = False
    return kept[np.asarray(ids, np.int32)] if count > 1 else mask


def _renumbered(ids: Ids, count: int, smallest_px: float) -> tuple[Ids, int]:
    """Keep each number's largest part, where that is large enough."""
    out, found = np.zeros_like(ids), 0
    for number in range(1, count + 1):
        mask = ids == number
        x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
        here = slice(y, y + height), slice(x, x + width)
        parts, some = label(mask[here], 8)
        if not some:
            continue
        areas = np.bincount(parts.ravel())[1:]
        if areas.max() >= smallest_px:
            found += 1
            out[here][parts == areas.argmax() + 1] = found
    return out, found
