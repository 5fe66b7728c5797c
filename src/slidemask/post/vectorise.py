"""Labels to polygons, band by band, and fewer corners where they are asked for."""

from collections.abc import Iterable

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from slidemask.base.types import IGNORE, Labels
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.components import merged, slabs
from slidemask.geometry.squeezed import squeezed_bands
from slidemask.geometry.trace import Tracer, in_reading_order
from slidemask.geometry.valid import polygon_parts, repaired
from slidemask.post.components import present

_CHUNK = 500
"""Polygons simplified at a time."""


def vectorise(
    bands: Iterable[tuple[int, Labels]], names: tuple[str, ...], downsample: float
) -> Annotations:
    """Outline every 4-connected part of every class along pixel edges.

    Parts are joined across bands exactly: however the rows are cut, the result is that of the
    whole map. Beside the polygons, memory holds the corners of parts that the last row cuts.

    Parameters
    ----------
    bands : iterable of (top row, (h, W) uint8)
        The whole canvas, top to bottom, without gaps. 255 (not annotated) is no class.
    names : tuple of str
        Class names by index, "background" first, as in `ClassMap.names`.
    downsample : float
        Level-0 pixels per canvas pixel, fractions allowed.

    Returns
    -------
    Annotations
        Level-0 pixels; by class, then by top row and leftmost column.

    Raises
    ------
    ValueError
        If bands leave a gap, or a label has no name.
    """
    tracers: dict[int, Tracer] = {}
    polygons: dict[int, list[Polygon]] = {}
    row = 0
    for top, labels, thin in squeezed_bands(bands):
        if top != row:
            raise ValueError(f"expected a band that starts in row {row}, got row {top}")
        for rows in slabs(thin.values.shape):
            some = thin.values[rows]
            for value in {*present(some)} - {IGNORE} - tracers.keys():
                tracers[value] = Tracer(labels.shape[1], downsample, first_row=top + rows.start)
            for value, tracer in tracers.items():
                polygons.setdefault(value, []).extend(tracer.add(some == value, thin.edges))
        row += len(labels)
    if tracers and max(tracers) >= len(names):
        raise ValueError(f"label {max(tracers)} occurs, but there are only the names {names}")
    result: list[Polygon] = []
    labels_of: list[str] = []
    for value in sorted(tracers):
        found = in_reading_order(polygons[value] + tracers[value].finish())
        result += found
        labels_of += [names[value]] * len(found)
    return Annotations.of(result, labels_of)


def simplify(annotations: Annotations, tolerance_px: float) -> Annotations:
    """Remove corners that matter less than a triangle of `tolerance_px` squared.

    Borders that two polygons share stay shared (coverage simplification after Visvalingam and
    Whyatt), as far as both have corners at the same places.

    Parameters
    ----------
    annotations : Annotations
        Polygons that do not overlap, as `vectorise` gives them.
    tolerance_px : float
        Level-0 pixels; 0 leaves all as it is.

    Returns
    -------
    Annotations
        Valid polygons; what vanishes is left out.
    """
    if tolerance_px <= 0 or len(annotations) == 0:
        return annotations
    simple = annotations.polygons.copy()
    for chunk in _neighbourhoods(annotations):
        simple[chunk] = shapely.coverage_simplify(simple[chunk], tolerance_px)
    polygons, owner = polygon_parts(repaired(simple))
    return Annotations(polygons, tuple(annotations.labels[index] for index in owner))


def _neighbourhoods(annotations: Annotations) -> list[NDArray[np.intp]]:
    """Return numbers of polygons in chunks, such that those that touch stand in one chunk.

    Simplifying all at once costs more than its parts.
    """
    touching = shapely.STRtree(annotations.polygons).query(
        annotations.polygons, predicate="intersects"
    )
    group, _ = merged(len(annotations), (touching.T + 1).astype(np.int32))
    ordered = np.argsort(group[1:], kind="stable")
    ends = np.cumsum(np.bincount(group)[1:])
    cuts = np.unique(ends[np.searchsorted(ends, np.arange(_CHUNK, ends[-1], _CHUNK))])
    return [chunk for chunk in np.split(ordered, cuts) if chunk.size]
