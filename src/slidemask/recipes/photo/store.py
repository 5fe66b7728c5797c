"""What was found in photos, kept in a file that a stopped study goes on from."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry import Polygon

from slidemask.base.errors import OutputError
from slidemask.base.files import write_json
from slidemask.base.settings import digest
from slidemask.evaluate.outlines import Shape
from slidemask.io.photograph import read_photo
from slidemask.models.backends import Name
from slidemask.models.bundle import Bundle
from slidemask.post.outlines import Outline, Outlines
from slidemask.recipes.photo.find import equipped, look

SAVE_S: Final = 20.0
"""Seconds between two savings of what was found so far."""


@dataclass(frozen=True, eq=False)
class FoundIn:
    """What one model found in one photo.

    Parameters
    ----------
    size : (width, height)
        Of the photo, pixels.
    shapes : tuple of Shape
    seconds : float
        From pixels to outlines.
    refused : int
        Outlines that it saw and did not give out.
    """

    size: tuple[int, int]
    shapes: tuple[Shape, ...]
    seconds: float
    refused: int


def digest_of(bundle: Bundle, settings: Outlines) -> str:
    """Return what tells one way of finding from another."""
    return digest({"bundle": bundle.digest, "photo": settings.model_dump(mode="json")})


def search(photo: Path, bundle: Bundle, settings: Outlines, backend: Name = "torch") -> FoundIn:
    """Find the slides of one photo."""
    pixels = read_photo(photo)
    bundle = equipped(bundle, pixels, settings, backend)
    began = time.perf_counter()
    found = look(pixels, bundle, settings)
    seconds = time.perf_counter() - began
    shapes = tuple(shape_of(outline) for outline in found.outlines)
    return FoundIn((pixels.shape[1], pixels.shape[0]), shapes, seconds, len(found.refused))


def shape_of(outline: Outline) -> Shape:
    """Return an outline in the terms of scoring."""
    return Shape(outline.polygon, outline.corners)


class Store:
    """What one model found, by photo.

    Parameters
    ----------
    path : Path
        Of the file.
    key : str
        What tells this way of finding from others.
    overwrite : bool
        Begin anew.

    Raises
    ------
    OutputError
        If the file holds what another model, or one of other settings, has found.
    """

    def __init__(self, path: Path, key: str, *, overwrite: bool) -> None:
        self._path, self._key = path, key
        self._photos: dict[str, Any] = {}
        self._saved = time.monotonic()
        if path.exists() and not overwrite:
            self._photos = self._kept()

    def get(self, photo: Path) -> FoundIn | None:
        """Return what was found in a photo, unless it has changed since."""
        kept = self._photos.get(_name(photo))
        return _parsed(kept) if kept and photo.exists() and kept["file"] == _stamp(photo) else None

    def put(
        self, photo: Path, bundle: Bundle, settings: Outlines, backend: Name = "torch"
    ) -> FoundIn:
        """Search a photo and keep what was found."""
        found = search(photo, bundle, settings, backend)
        self._photos[_name(photo)] = _plain(found) | {"file": _stamp(photo)}
        if time.monotonic() - self._saved > SAVE_S:
            self.save()
        return found

    def save(self) -> None:
        """Write all that was found so far."""
        write_json(self._path, {"found by": self._key, "photos": self._photos})
        self._saved = time.monotonic()

    def _kept(self) -> dict[str, Any]:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            key, photos = kept["found by"], dict(kept["photos"])
        except (ValueError, TypeError, KeyError) as error:
            raise OutputError(
                f"{self._path} is damaged ({error}). Remove it, or choose another --out."
            ) from error
        if key != self._key:
            raise OutputError(
                f"{self._path} holds what another model, or one of other settings, has found. "
                "Choose another --out, or pass --overwrite to search again."
            )
        return photos


def _name(photo: Path) -> str:
    return photo.resolve().as_posix()


def _stamp(photo: Path) -> list[int]:
    state = photo.stat()
    return [state.st_size, state.st_mtime_ns]


def _plain(found: FoundIn) -> dict[str, Any]:
    shapes = [
        {
            "polygon": shapely.get_coordinates(shape.polygon.exterior).round(3).tolist(),
            "corners": None if shape.corners is None else shape.corners.round(3).tolist(),
        }
        for shape in found.shapes
    ]
    return {
        "size": list(found.size), "shapes": shapes, "seconds": found.seconds,
        "refused": found.refused,
    }  # fmt: skip


def _parsed(kept: Mapping[str, Any]) -> FoundIn:
    shapes = tuple(
        Shape(Polygon(each["polygon"]), each["corners"] and np.array(each["corners"], np.float64))
        for each in kept["shapes"]
    )
    width, height = kept["size"]
    return FoundIn((width, height), shapes, kept["seconds"], kept["refused"])
