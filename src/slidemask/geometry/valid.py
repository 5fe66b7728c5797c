"""Repair of polygons that cross or touch themselves."""

import numpy as np
import shapely
from numpy.typing import NDArray


def repaired(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return valid geometries; what is valid already stays as it is.

    Shapely's "structure" method: shells that overlap are merged (a pathologist who drew a place
    twice meant it twice), both sides of a bow tie stay, spikes vanish. What has no area left
    becomes empty; nothing but polygons remains of a polygon.

    Examples
    --------
    >>> bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    >>> repaired(np.array([bow_tie]))[0].area
    2.0
    """
    wrong = ~shapely.is_valid(geometries)
    if not wrong.any():
        return geometries
    result = geometries.copy()
    result[wrong] = shapely.make_valid(geometries[wrong], method="structure", keep_collapsed=False)
    return result


def polygon_parts(geometries: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Return the polygons in `geometries` that have an area, and the index of each one's owner.

    Examples
    --------
    >>> parts, owner = polygon_parts(np.array([shapely.Point(0, 0), shapely.box(0, 0, 1, 1)]))
    >>> parts[0].area, owner
    (1.0, array([1]))
    """
    parts, owner = shapely.get_parts(geometries, return_index=True)
    while np.any(shapely.get_num_geometries(parts) > 1):  # collections of multipolygons
        parts, inner = shapely.get_parts(parts, return_index=True)
        owner = owner[inner]
    kept = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & (shapely.area(parts) > 0)
    return parts[kept], owner[kept]
