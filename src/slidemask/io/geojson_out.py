"""GeoJSON out, by the rules under which QuPath 0.6 and later import a file whole.

One polygon that breaks them makes QuPath drop every object of the file, so each is made valid,
laid on a grid of 0.01 px as QuPath's reader will do, and checked again.
"""

import hashlib
import logging
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from slidemask.base.ahead import ahead
from slidemask.base.classes import ClassMap, Colour
from slidemask.base.errors import UnknownClassError
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.valid import polygon_parts, repaired
from slidemask.io.packed import writing_packed

log = logging.getLogger(__name__)

Measurements = Sequence[Mapping[str, float | None]]

_GRID_PX = 0.01
_ROUNDS = 20
_CHUNK = 2048
_NAMESPACE = uuid.UUID("5f8f2c0e-0f0b-5b3c-9a55-8b6f1d0f7f11").bytes
_REGION_COLOUR = (120, 120, 120)


def write_geojson(
    path: Path,
    annotations: Annotations,
    classes: ClassMap,
    *,
    measurements: Measurements | None = None,
    detections: bool = False,
    valid: bool = False,
) -> None:
    """Write polygons for QuPath 0.4 and later, one feature each.

    Parameters
    ----------
    path : Path
        Ends in .geojson; .geojson.gz or .zip packs it.
    annotations : Annotations
        Level-0 pixels. Labels are class names of `classes` (or what stands for them), its region
        class, or "" for unclassified. Polygons that vanish on a grid of 0.01 px are left out;
        one that falls apart there becomes several features.
    classes : ClassMap
        Names and colours.
    measurements : sequence of mapping, optional
        Figures shown beside each polygon, one mapping per polygon. NaN is kept, None left out.
    detections : bool
        Write detections instead of annotations: lighter for QuPath by far from some thousands on.
    valid : bool
        The polygons are known to be valid, as those of `vectorise` and `simplify` are.

    Raises
    ------
    UnknownClassError
        If a label is not in `classes`.
    ValueError
        If there are not as many measurements as polygons.
    OutputError
        If the file cannot be written.
    """
    if measurements is not None and len(measurements) != len(annotations):
        raise ValueError(f"{len(measurements)} measurements for {len(annotations)} polygons")
    kind = {"objectType": "detection" if detections else "annotation"}
    shared = {label: kind | _style(label, classes) for label in set(annotations.labels)}
    packed = {label: orjson.dumps(properties) for label, properties in shared.items()}
    with writing_packed(path) as file:
        file.write(b'{"type": "FeatureCollection", "features": [')
        number = 0
        for polygons, owners in _importable(annotations.polygons, valid=valid):
            features: list[bytes] = []
            for coordinates, owner in zip(_coordinates(polygons), owners, strict=True):
                label = annotations.labels[owner]
                properties = packed[label]
                if measurements is not None:
                    figures = {"measurements": _figures(measurements[owner])}
                    properties = orjson.dumps(shared[label] | figures)
                features.append(_feature(coordinates, properties, number))
                number += 1
            if features:  # of tiny polygons nothing may be left
                file.write((b",\n" if number > len(features) else b"\n") + b",\n".join(features))
        file.write(b"\n]}\n")


def _importable(
    polygons: NDArray[np.object_], *, valid: bool
) -> Iterator[tuple[NDArray[np.object_], list[int]]]:
    """Yield what QuPath will import of the polygons, and the index of each one's polygon."""
    starts = range(0, len(polygons), _CHUNK)
    chunks = ahead(_settled(polygons[start : start + _CHUNK], valid=valid) for start in starts)
    for start, (found, owner) in zip(starts, chunks, strict=True):
        yield found, (owner + start).tolist()


def _settled(
    polygons: NDArray[np.object_], *, valid: bool
) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Return what lies on the grid for good, and the index of each one's polygon, ascending."""
    stepped = _stepped(polygons)
    sure = np.flatnonzero(stepped if valid else stepped & shapely.is_valid(polygons))
    if sure.size == len(polygons):
        return _rounded(polygons), sure
    others = np.setdiff1d(np.arange(len(polygons)), sure)
    parts, inner = _on_grid(polygons[others])
    owner = np.concatenate([sure, others[inner]])
    order = np.argsort(owner, kind="stable")
    return np.concatenate([_rounded(polygons[sure]), parts])[order], owner[order]


def _stepped(polygons: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Say which are all right angles, as traced masks are: if valid, they survive any grid.

    Rounding moves whole rows and columns of corners, and as long as no two of them fall together
    it can neither cross edges nor make a corner vanish. The long way gives the same; it takes
    most of the time of writing.
    """
    rings, of_ring = shapely.get_rings(polygons, return_index=True)
    places, ring = shapely.get_coordinates(rings, return_index=True)
    columns, rows = np.unique(places[:, 0]), np.unique(places[:, 1])
    result = ~shapely.is_empty(polygons)
    if any((np.diff(values.round(2)) < _GRID_PX / 2).any() for values in (columns, rows)):
        return np.zeros_like(result)
    across, down = (np.diff(places, axis=0) != 0).T
    inside = ring[1:] == ring[:-1]
    wrong = inside & (across == down)
    wrong[1:] |= inside[1:] & inside[:-1] & (across[1:] == across[:-1])
    result[of_ring[ring[1:][wrong]]] = False
    result[of_ring[np.bincount(ring, minlength=len(rings)) % 2 == 0]] = False  # begun on an edge
    return result


def _on_grid(
    polygons: NDArray[np.object_],
) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Lay polygons on the grid until doing so once more, as QuPath will, changes nothing.

    Once is not enough: the first time may leave slivers that vanish the second time. What is
    returned is valid, has an area, and stays so in QuPath.
    """
    done: list[NDArray[np.object_]] = []
    owners: list[NDArray[np.intp]] = []
    parts, owner = polygon_parts(repaired(polygons))
    for _ in range(_ROUNDS):
        if len(parts) == 0:
            break
        parts = _rounded(parts)
        snapped = _rounded(shapely.set_precision(repaired(parts), _GRID_PX))
        settled = shapely.equals_exact(shapely.normalize(parts), shapely.normalize(snapped))
        done.append(parts[settled])
        owners.append(owner[settled])
        parts, inner = polygon_parts(snapped[~settled])
        owner = owner[~settled][inner]
    if len(parts):
        log.warning("%d polygons left out: no valid form on a 0.01 px grid", len(parts))
    found = np.concatenate([np.empty(0, np.intp), *owners])
    order = np.argsort(found, kind="stable")
    return np.concatenate([np.empty(0, object), *done])[order], found[order]


def _rounded(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    """Round coordinates as the file says them: 0.3, not 0.30000000000000004."""
    places = shapely.get_coordinates(geometries)
    if (places == np.rint(places)).all():  # as most traced ones are: no need to make new ones
        return geometries
    return np.asarray(shapely.transform(geometries, lambda places: places.round(2)))


def _style(label: str, classes: ClassMap) -> dict[str, Any]:
    """Return the properties that say an object's class."""
    if not label:
        return {}
    name, colour = _named(label, classes)
    return {"classification": {"name": name, "color": list(colour)}}


def _named(label: str, classes: ClassMap) -> tuple[str, Colour]:
    index = classes.index_of(label)
    if index is not None:
        return classes.names[index], classes.colours[index]
    if classes.region is not None and label.casefold() == classes.region.casefold():
        return classes.region, _REGION_COLOUR
    raise UnknownClassError(
        f"Class {label!r} is not among {list(classes.names[1:])}. "
        "Add it to the class map, or leave these polygons out."
    )


def _figures(values: Mapping[str, float | None]) -> dict[str, float | str]:
    """Return measurements as QuPath reads them: no nulls, what is not finite as text."""
    return {
        name: float(value) if math.isfinite(value) else _not_finite(value)
        for name, value in values.items()
        if value is not None
    }


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _coordinates(polygons: NDArray[np.object_]) -> Iterator[Sequence[NDArray[np.generic]]]:
    """Yield each polygon's closed rings, (n, 2); those of whole numbers as integers."""
    rings, of_ring = shapely.get_rings(polygons, return_index=True)
    places, ring = shapely.get_coordinates(rings, return_index=True)
    whole = places.astype(np.int64)
    broken = np.bincount(ring, (whole != places).any(axis=1)).tolist()
    ends = np.searchsorted(ring, np.arange(len(rings) + 1)).tolist()
    found = [
        (places if fractions else whole)[start:end]
        for (start, end), fractions in zip(pairwise(ends), broken, strict=True)
    ]
    for start, end in pairwise(np.searchsorted(of_ring, np.arange(len(polygons) + 1)).tolist()):
        yield found[start:end]


def _feature(coordinates: Sequence[NDArray[np.generic]], properties: bytes, number: int) -> bytes:
    """Return one Feature; its id follows from content and place, so that results repeat."""
    places = orjson.dumps(coordinates, option=orjson.OPT_SERIALIZE_NUMPY)
    body = b'"geometry":{"type":"Polygon","coordinates":%s},"properties":%s}' % (places, properties)
    identity = _named_id(b"%d {%s" % (number, body))
    return b'{"type":"Feature","id":"%s",%s' % (identity, body)


def _named_id(name: bytes) -> bytes:
    """Return the text of `uuid.uuid5`, which takes most of its time to make it."""
    text = hashlib.sha1(_NAMESPACE + name, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}".encode()
