"""Hausdorff distances between objects: how far the worst place of one lies from the other.

The distance of two objects A and B is the greatest distance that a point of one has to the other
object. The GlaS challenge (Sirinukunwattana et al., Medical Image Analysis 35, 2017) takes the
points at the pixels of the two label images. Here they lie along the outlines, at every corner
and at least every 1/256 of an outline's length, and in the middle of the other's holes, while
distances go to the other's area, 0 inside it. So the value is continuous, needs no raster, and is
the challenge's within a pixel's diagonal and 1/512 of the outline, except where A fills a bay of
B that is wider inside than at its mouth: its middle may be farther away than any outline.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from shapely.geometry import MultiPolygon, Polygon

from slidemask.evaluate.overlaps import Polygons

Points = NDArray[np.float64]
"""(N, 2) x, y."""

_STEPS = 256
_ANCHORS = 16
_NOISE = 1e-6
"""Pixels by which rounding may put bounds wrong."""

_MANY = 5_000_000
"""Point-edge pairs from which on a tree of edges pays."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A polygon with the points at which its distance to others is taken."""

    polygon: Polygon | MultiPolygon

    @cached_property
    def points(self) -> Points:
        """Corners of all rings, and points between them."""
        step = max(shapely.length(self.polygon) / _STEPS, 1e-9)
        return shapely.get_coordinates(shapely.segmentize(self.polygon, step))

    @cached_property
    def anchors(self) -> Points:
        """A few of the points, to bound distances from above."""
        return self.points[:: -(-len(self.points) // _ANCHORS)]

    @cached_property
    def bounds(self) -> NDArray[np.float64]:
        """(4,) left, top, right, bottom."""
        return shapely.bounds(self.polygon)

    @cached_property
    def holes(self) -> NDArray[np.object_]:
        """Holes as polygons."""
        rings = [ring for part in shapely.get_parts(self.polygon) for ring in part.interiors]
        return np.array([*map(Polygon, rings), None], object)[:-1]

    @cached_property
    def widest_hole(self) -> float:
        """Return what no circle in a hole exceeds in radius."""
        return float(np.sqrt(shapely.area(self.holes).max(initial=0) / np.pi))

    @cached_property
    def middles(self) -> Points:
        """Centres of the greatest circles in the holes."""
        circles = [shapely.maximum_inscribed_circle(hole) for hole in self.holes]
        return shapely.get_coordinates(circles)[::2]

    @cached_property
    def edges(self) -> shapely.STRtree:
        """The outline's pieces."""
        points, ring = shapely.get_coordinates(
            shapely.get_rings(shapely.get_parts(self.polygon)), return_index=True
        )
        same = ring[:-1] == ring[1:]
        pieces = np.stack([points[:-1][same], points[1:][same]], axis=1)
        return shapely.STRtree(np.asarray(shapely.linestrings(pieces)))

    def distances(self, points: Points) -> NDArray[np.float64]:
        """Return the distance from each point to the polygon, 0 inside."""
        places = shapely.points(points)
        if len(points) * int(shapely.get_num_coordinates(self.polygon)) <= _MANY:
            return np.asarray(shapely.distance(places, self.polygon))
        _, found = self.edges.query_nearest(places, all_matches=False, return_distance=True)
        return np.where(self.covers(points), 0.0, found)

    def covers(self, points: Points) -> NDArray[np.bool_]:
        """Return which points lie in the polygon or on its outline."""
        shapely.prepare(self.polygon)
        return shapely.intersects_xy(self.polygon, points[:, 0], points[:, 1])


def hausdorff(one: Shape, other: Shape) -> float:
    """Return the distance between two objects.

    >>> square, moved = shapely.box(0, 0, 4, 4), shapely.box(3, 0, 7, 4)
    >>> hausdorff(Shape(square), Shape(moved))
    3.0
    """
    return max(directed(one, other), directed(other, one))


def directed(one: Shape, other: Shape) -> float:
    """Return how far `one` reaches away from `other`."""
    points = _far(one.points, other)
    points = points[~other.covers(points)]
    farthest = float(other.distances(points).max()) if len(points) else 0.0
    if other.widest_hole > farthest:
        filled = other.middles[one.covers(other.middles)]
        farthest = max(farthest, float(other.distances(filled).max(initial=0)))
    return farthest


def _far(points: Points, other: Shape) -> Points:
    """Keep the points that may be farthest from `other`, by bounds that are cheaper to have."""
    middle = (other.bounds[:2] + other.bounds[2:]) / 2
    away = np.hypot(*(points - middle).T)
    points = points[away >= away.max() - np.hypot(*(other.bounds[2:] - other.bounds[:2])) - _NOISE]
    beyond = np.maximum(other.bounds[:2] - points, points - other.bounds[2:]).clip(0)
    at_least = float(np.hypot(*beyond.T).max())
    at_most = cdist(points, other.anchors).min(1)
    return points[at_most >= at_least - _NOISE]


def nearest(one: Shape, bounds: NDArray[np.float64], shape_at: Callable[[int], Shape]) -> float:
    """Return the Hausdorff distance to that one of many objects for which it is least.

    Parameters
    ----------
    bounds : (N, 4) float64
        Their boxes; two objects are at least as far apart as the same side of their boxes.
    shape_at : callable
        The object of an index.
    """
    at_least = np.abs(bounds - one.bounds).max(1)
    least = hausdorff(one, shape_at(int(at_least.argmin())))
    near = np.flatnonzero(at_least < least)
    for index in near[np.argsort(at_least[near])].tolist():
        if at_least[index] >= least:
            break
        other = shape_at(index)
        there = directed(one, other)
        if there < least:
            least = min(least, max(there, directed(other, one)))
    return least


def shapes_of(polygons: Polygons, pieces: int = 4096) -> Callable[[int], Shape]:
    """Return a function from index to Shape that keeps the last `pieces` of them."""
    held: dict[int, Shape] = {}

    def at(index: int) -> Shape:
        shape = held.pop(index, None) or Shape(polygons.item(index))
        held[index] = shape
        if len(held) > pieces:
            del held[next(iter(held))]
        return shape

    return at
