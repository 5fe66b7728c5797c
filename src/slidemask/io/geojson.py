"""QuPath's GeoJSON in; `write_geojson` for the way out is found here too.

What any QuPath version accepts is accepted: FeatureCollection, array, Feature or bare geometry,
plain, .gz or .zip, with or without a byte order mark, duplicate keys, NaN, nested children, both
forms of colours. One thing more: a class given by name without a colour. QuPath refuses the whole
file then, but other tools write it and only the name is read here.
"""

import ast
import gc
import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import GeometryCollection, MultiPolygon, Polygon

from slidemask.base.errors import AnnotationError
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.valid import polygon_parts, repaired
from slidemask.io.geojson_out import write_geojson
from slidemask.io.packed import read_packed

__all__ = ["read_geojson", "write_geojson"]

log = logging.getLogger(__name__)

Json: TypeAlias = Any
"""What json.loads gives: checked where it is used."""

_ENDINGS = (".geojson", ".json")
_WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")
_WITH_AREA = ("Polygon", "MultiPolygon", "GeometryCollection")


def read_geojson(path: Path) -> Annotations:
    """Read the polygons of a QuPath export.

    Parameters
    ----------
    path : Path
        .geojson or .json, plain or packed as .gz or .zip.

    Returns
    -------
    Annotations
        Level-0 pixels as QuPath shows the slide, in the file's order, children after their
        parent. Invalid outlines are repaired as QuPath 0.5 does it, a MultiPolygon becomes one
        polygon per part, cells give their boundary. A derived class reads "A: B"; what has no
        class has the label "". Points and lines have no area: they are passed over, and the log
        says how many.

    Raises
    ------
    AnnotationError
        If the file is unreadable, no GeoJSON, or a feature is broken; the message says which.
    """
    found = _Found(path)
    for shape, name in _shapes(_parsed(path), found):
        found.shapes.append(shape)
        found.names.append(name)
    array = np.array([*found.shapes, None], dtype=object)[:-1]
    polygons, owner = polygon_parts(repaired(array))
    found.skipped["outlines without area"] += len(array) - len(np.unique(owner))
    found.tell()
    return Annotations(polygons, tuple(found.names[index] for index in owner))


@dataclass
class _Found:
    """What reading one file has brought together, and what it passed over."""

    path: Path
    number: int = 0
    shapes: list[shapely.Geometry] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    colourless: int = 0

    def wrong(self, what: str, advice: str) -> AnnotationError:
        """Return the error for the feature at hand."""
        return AnnotationError(f"{self.path}, feature {self.number}: {what}. {advice}")

    def tell(self) -> None:
        """Log once what was passed over."""
        skipped = ", ".join(f"{count} {what}" for what, count in self.skipped.items() if count)
        if skipped:
            log.warning("%s: passed over %s (no area to segment)", self.path, skipped)
        if self.colourless:
            log.warning(
                "%s: %d objects have a class without a colour; it was read, QuPath would refuse it",
                self.path,
                self.colourless,
            )


def _parsed(path: Path) -> Json:
    content = read_packed(path, _ENDINGS)
    try:
        with _garbage_kept():
            return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f"{path} is not UTF-8 text (byte {error.start}). Export it from QuPath as GeoJSON."
        ) from error
    except json.JSONDecodeError as error:
        what = "is empty" if not content.strip() else "is no JSON, or cut off"
        raise AnnotationError(
            f"{path} {what}: {error.msg} at line {error.lineno}, column {error.colno}. "
            "Export it again."
        ) from error
    except RecursionError as error:
        raise AnnotationError(f"{path} is nested too deeply to be GeoJSON.") from error


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Keep the collector from visiting millions of new lists: six times faster on a big file."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _shapes(document: Json, found: _Found) -> Iterator[tuple[shapely.Geometry, str]]:
    """Yield geometry and class name of every object in the file."""
    kind = document.get("type") if isinstance(document, dict) else None
    if isinstance(document, list):
        features = document
    elif kind == "FeatureCollection" and isinstance(document.get("features"), list):
        features = document["features"]
    elif kind == "Feature":
        features = [document]
    elif kind in _WITH_AREA + _WITHOUT_AREA:
        features = [{"geometry": document}]
    else:
        keys = list(document)[:8] if isinstance(document, dict) else type(document).__name__
        raise AnnotationError(
            f"{found.path} is JSON but not GeoJSON: found {keys} with type {kind!r}. "
            "Export from QuPath with File > Export objects as GeoJSON."
        )
    yield from _features(features, found)


def _features(features: Json, found: _Found) -> Iterator[tuple[shapely.Geometry, str]]:
    for feature in features:
        found.number += 1
        if not isinstance(feature, dict):
            raise found.wrong(f"expected an object, found {feature!r:.60}", "Export it again.")
        if feature.get("type") in _WITH_AREA + _WITHOUT_AREA:
            feature = {"geometry": feature}  # noqa: PLW2901 - a bare geometry in an array
        properties = feature.get("properties", {})
        if not isinstance(properties, dict):
            raise found.wrong(
                f"properties are {properties!r:.60}, not an object",
                'Write "properties": {} where there are none.',
            )
        name = _class_name(properties.get("classification"), found)
        shape = _shape(feature.get("geometry"), found)
        if shape is not None:
            yield shape, name
        for holder in (properties, feature):
            for key in ("childObjects", "children"):
                yield from _features(holder.get(key) or [], found)


def _class_name(classification: Json, found: _Found) -> str:
    """Return the name of a class in any of QuPath's forms, "" for none."""
    if isinstance(classification, str) and classification.lstrip().startswith("{"):
        classification = _unquoted(classification)
    if not classification:
        return ""
    if isinstance(classification, str):
        return classification
    if not isinstance(classification, dict):
        raise found.wrong(
            f"classification is {classification!r:.60}",
            'Write it as {"name": "...", "color": [r, g, b]}.',
        )
    names = classification.get("names") or [classification.get("name") or ""]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise found.wrong(f"class name is {names!r:.60}", "Names are text.")
    found.colourless += not {"color", "colorRGB"} & classification.keys()
    return ": ".join(names)


def _unquoted(text: str) -> Json:
    """Read an object that a table tool (GDAL, GeoPandas) wrote as text, JSON's way or Python's."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _shape(geometry: Json, found: _Found) -> shapely.Geometry | None:
    """Build one geometry, perhaps invalid; None where it has no area by its kind."""
    if not isinstance(geometry, dict):
        raise found.wrong(
            f"geometry is {geometry!r:.60}, not an object",
            "Remove the feature, or draw it again.",
        )
    kind = geometry.get("type")
    if kind in _WITHOUT_AREA:
        found.skipped[f"{kind}s"] += 1
        return None
    try:
        return _with_area(geometry)
    except (KeyError, TypeError, ValueError) as error:
        raise found.wrong(
            f"its {kind} cannot be read ({error.__class__.__name__}: {error})",
            f"Geometry is one of {', '.join(_WITH_AREA)} with coordinates [[[x, y], ...]].",
        ) from error


def _with_area(geometry: Json) -> shapely.Geometry:
    if geometry["type"] == "Polygon":
        return _polygon(geometry["coordinates"])
    if geometry["type"] == "MultiPolygon":
        return MultiPolygon([_polygon(rings) for rings in geometry["coordinates"]])
    if geometry["type"] == "GeometryCollection":
        members = [m for m in geometry["geometries"] if m["type"] not in _WITHOUT_AREA]
        polygons, _ = polygon_parts(np.array([*map(_with_area, members), None], object)[:-1])
        return MultiPolygon(list(polygons)) if len(polygons) else GeometryCollection()
    raise ValueError(f"unknown geometry type {geometry['type']!r}")


def _polygon(rings: Json) -> Polygon:
    """Build a polygon from rings; those of fewer than three places enclose nothing."""
    usable = [points for points in map(_points, rings) if len(points) >= 4]
    if not usable or len(_points(rings[0])) < 4:
        return Polygon()
    return Polygon(usable[0], usable[1:])


def _points(ring: Json) -> NDArray[np.float64]:
    """Return (n, 2) x, y of a ring, closed; a third coordinate (height) is left out."""
    if not ring:
        return np.empty((0, 2))
    points = np.array(ring, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] < 2:
        raise ValueError(f"a ring has the shape {points.shape}, not (points, 2)")
    points = points[:, :2]
    if not np.isfinite(points).all():
        raise ValueError("a coordinate is not finite")
    return points if np.array_equal(points[0], points[-1]) else np.vstack([points, points[:1]])
