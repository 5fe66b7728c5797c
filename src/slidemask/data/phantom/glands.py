"""Glands: the wall's texture wound along a polygon, from its outline inwards."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from shapely.geometry import Polygon

from slidemask.base.types import Mask
from slidemask.data.phantom.atlas import WALL_UM, Atlas, Bytes
from slidemask.data.phantom.nuclei import UNIT
from slidemask.geometry.box import Box
from slidemask.geometry.raster import rasterise

CLEFT_UM = 10.0
LUMEN = (0.015, 0.02)  # haematoxylin and eosin of the mucus inside


class GlandPatch(NamedTuple):
    """One gland painted, with the stroma next to it: (H, W) from pixel (x, y).

    Parameters
    ----------
    inside : bool
        Pixel centres inside the polygon.
    haematoxylin, eosin : bytes
    paleness : bytes
        How much of the stroma's stain the cleft around the gland takes away, 0..255.
    nuclei : uint16
        Numbers in the wall's texture.
    """

    x: int
    y: int
    inside: Mask
    haematoxylin: Bytes
    eosin: Bytes
    paleness: Bytes
    nuclei: NDArray[np.uint16]


def gland_patch(polygon: Polygon, atlas: Atlas, mpp: float, rng: np.random.Generator) -> GlandPatch:
    """Paint one gland."""
    margin = int(CLEFT_UM / mpp) + 2
    left, top, right, bottom = polygon.bounds
    x, y = int(left) - margin, int(top) - margin
    width, height = int(right) + margin + 1 - x, int(bottom) + margin + 1 - y
    inside = rasterise(polygon, Box(x, y, width, height))
    depth, along = _unrolled(inside, polygon, (x, y))
    wall = min(rng.uniform(0.85, 1.15) * WALL_UM, rng.uniform(0.66, 0.85) * depth.max() * mpp)
    rows = (depth - 0.5) * np.float32(WALL_UM / wall)
    columns = np.mod(along + rng.uniform(0, atlas.period), atlas.period).astype(np.float32)
    last = len(atlas.wall.haematoxylin) - 1
    layers = [_wound(layer, np.minimum(rows, last), columns) for layer in atlas.wall]
    lumen = rows > last
    for layer, amount in zip(layers, (*LUMEN, 0), strict=True):
        layer[lumen] = round(amount * UNIT) if amount else 0
    haematoxylin, eosin, nuclei = layers
    pale = _paleness(inside, mpp, rng)
    return GlandPatch(x, y, inside, haematoxylin, eosin, pale, nuclei)


def _unrolled(
    inside: Mask, polygon: Polygon, origin: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return each pixel's distance from the outline and the way along it of its nearest point."""
    depth, labels = cv2.distanceTransformWithLabels(
        inside.view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = np.asarray(labels, np.int32)
    edge = np.zeros(int(labels.max()) + 1, np.float32)
    used = ~inside & (cv2.dilate(inside.view(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    rows, columns = np.nonzero(used)
    edge[labels[rows, columns]] = _way(polygon, columns + 0.5 + origin[0], rows + 0.5 + origin[1])
    return np.asarray(depth, np.float32), edge[labels]


def _way(
    polygon: Polygon, x: NDArray[np.floating], y: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return how far along the outline the corner angle of each point lies, in pixels."""
    corners = np.asarray(polygon.exterior.coords)[:-1]
    middle = corners.mean(axis=0)
    angles = np.arctan2(*(corners - middle).T[::-1])
    order = np.argsort(angles)
    steps = np.linalg.norm(np.diff(corners[np.append(order, order[0])], axis=0), axis=1)
    way = np.append(0, np.cumsum(steps))
    first = angles[order[0]]
    turned = np.append(angles[order] - first, 2 * np.pi)
    at = np.mod(np.arctan2(y - middle[1], x - middle[0]) - first, 2 * np.pi)
    return np.interp(at, turned, way)


def _wound(layer: NDArray, rows: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray:
    """Sample a layer of the wall; stains between pixels, numbers of nuclei at the nearest."""
    way = cv2.INTER_LINEAR if layer.dtype == np.uint8 else cv2.INTER_NEAREST
    return np.asarray(cv2.remap(layer, columns, rows, way, borderMode=cv2.BORDER_WRAP))


def _paleness(inside: Mask, mpp: float, rng: np.random.Generator) -> Bytes:
    """Return the cleft that fixing tears around some glands, fading outwards."""
    width, strength = rng.uniform(1.5, CLEFT_UM) / mpp, rng.uniform(0.1, 0.95) ** 2
    away = np.asarray(cv2.distanceTransform((~inside).view(np.uint8), cv2.DIST_L2, 5))
    fade = np.clip(1.5 * (1 - away / width), 0, 1) * (away > 0)
    return np.rint(255 * strength * fade).astype(np.uint8)
