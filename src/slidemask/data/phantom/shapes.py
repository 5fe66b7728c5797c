"""Outlines of pieces, glands, clusters and pen strokes."""

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, Polygon

GRID_PX = 0.01  # what annotation files keep, so that what is drawn is what is written


def blob(
    rng: np.random.Generator, radius: float, *, roughness: float, corners: int, aspect: float = 1.0
) -> NDArray[np.float64]:
    """Return the corners of a round outline whose radius wavers, centred on (0, 0), (N, 2).

    Low harmonics of falling strength bend the circle; its area is that of the ellipse with
    semi-axes radius * sqrt(aspect) along x and radius / sqrt(aspect) along y, within some percent.
    """
    angle = np.arange(corners) * (2 * np.pi / corners)
    order = np.arange(2, max(3, min(40, corners // 3)))
    strength = roughness * rng.normal(size=order.size) / order**1.1
    phase = rng.uniform(0, 2 * np.pi, order.size)
    waver = (strength[:, None] * np.cos(order[:, None] * angle + phase[:, None])).sum(axis=0)
    r = radius * np.clip(1 + waver, 0.35, 1.8)
    stretch = np.array([aspect**0.5, aspect**-0.5])
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * r[:, None] * stretch


def placed(corners: NDArray[np.float64], angle: float, x: float, y: float) -> Polygon:
    """Turn an outline, move it to (x, y) and make it a valid polygon."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return gridded(Polygon(corners @ turn + (x, y)))


def gridded(shape: shapely.Geometry) -> Polygon:
    """Lay a shape on the grid of annotation files and return its largest part."""
    parts = shapely.get_parts(shapely.set_precision(shapely.make_valid(shape), GRID_PX))
    areas = shapely.area(parts)
    return parts[int(np.argmax(areas))] if areas.size and areas.max() > 0 else Polygon()


def stroke(
    rng: np.random.Generator, start: tuple[float, float], *, length: float, width: float
) -> Polygon:
    """Return a smoothly curved pen stroke."""
    turns = rng.normal(0, 0.05, 60) + rng.normal(0, 0.05)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(turns)
    moves = np.stack([np.cos(heading), np.sin(heading)], axis=1) * length / 60
    points = np.vstack([start, start + np.cumsum(moves, axis=0)])
    return gridded(LineString(points).buffer(width / 2, quad_segs=8))
