"""Write composed photos: pictures, outlines, a cohort, and what is in each."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely
from shapely.geometry import Polygon

from slidemask.base.errors import OutputError, SettingsError
from slidemask.base.files import output_folder, write_json, written_whole
from slidemask.base.process import end_with_parent
from slidemask.base.progress import track
from slidemask.base.settings import digest
from slidemask.data.case import Case
from slidemask.data.cohort import write_cohort
from slidemask.data.photo.compose import Photo, compose
from slidemask.data.photo.settings import BORDER, PHOTO_CLASSES, SLIDE, PhotoSettings
from slidemask.data.photo.sheets import Stock
from slidemask.data.photo.sources import Shelf
from slidemask.geometry.annotations import Annotations
from slidemask.io.geojson import write_geojson

NOTE = (
    "SYNTHETIC: composed photos; the slide pictures in them may be real, the photos are not. "
    "Outlines are exact."
)


@dataclass(frozen=True)
class PhotoSet:
    """Any number of photos, each of them drawn from its own number alone.

    Parameters
    ----------
    shelf : Shelf
        Slide pictures in groups, and scenes.
    settings : PhotoSettings
    seed : int
    """

    shelf: Shelf
    settings: PhotoSettings
    seed: int = 0

    @cached_property
    def origin(self) -> str:
        """What tells photos of other sources, settings or seeds apart."""
        plain = self.settings.model_dump(mode="json")
        names = [[source.name for source in group] for group in self.shelf.groups]
        scenes = [path.name for path in self.shelf.scenes]
        return digest({"seed": self.seed, "settings": plain, "sources": names, "scenes": scenes})

    def photo(self, number: int) -> tuple[Photo, str]:
        """Compose the photo of a number; return it and the name of its group of sources.

        Scenes are dealt to the groups too, where there are enough of them.
        """
        rng = np.random.default_rng([self.seed, number])
        group = int(rng.integers(len(self.shelf.groups)))
        scenes = self._scenes(number, group)
        kind = self._kind(number, rng)
        stock = Stock(self.settings, self.shelf.groups[group], scenes, rng)
        return compose(stock, kind), f"sources-{group:02d}"

    def _scenes(self, number: int, group: int) -> tuple[Path, ...]:
        scenes, groups = self.shelf.scenes, len(self.shelf.groups)
        if self.settings.whole_scenes and scenes:
            return (scenes[number % len(scenes)],)
        return scenes[group::groups] if len(scenes) >= groups else scenes

    def _kind(self, number: int, rng: np.random.Generator) -> str:
        kinds = dict(self.settings.kinds)
        if self.settings.whole_scenes and kinds.pop("photograph", 0) and kinds:
            if number < len(self.shelf.scenes):
                return "photograph"
        elif not self.shelf.scenes and len(kinds) > 1:
            kinds.pop("photograph", 0)
        weights = np.array([*kinds.values()])
        return str(rng.choice([*kinds], p=weights / weights.sum()))


def write_photos(
    folder: Path,
    count: int,
    shelf: Shelf,
    settings: PhotoSettings | None = None,
    *,
    seed: int = 0,
    workers: int = 1,
) -> Path:
    """Compose and write photos; return the path of their `cohort.csv`.

    Beside it lie `photos/NNNN.jpg`, `annotations/NNNN.geojson`, `photos.json`, and in `notes/` what
    lets a run that was stopped go on. The cohort's patient is the group of sources that a photo
    took its slides from, its group the kind of scene.

    Parameters
    ----------
    folder : Path
        Made if need be.
    count : int
    shelf : Shelf
        Slide pictures in groups, and scenes.
    settings : PhotoSettings, optional
    seed : int
        Equal settings, sources and seed give equal files, whatever the workers and the count.
    workers : int
        Processes.

    Raises
    ------
    SettingsError
        If no photo was asked for, or a scene cannot be composed.
    OutputError
        If the folder cannot be written to.
    """
    if count < 1:
        raise SettingsError(f"{count} photos were asked for; ask for one at least.")
    photos = PhotoSet(shelf, settings or PhotoSettings(), seed)
    for name in ("photos", "annotations", "notes"):
        output_folder(folder / name)
    notes = list(track(_made(folder, photos, count, workers), "photos", count, "photos"))
    head = {"synthetic": True, "note": NOTE, "seed": seed, "made_of": photos.origin}
    head |= {"settings": photos.settings.model_dump(mode="json"), "photos": notes}
    write_json(folder / "photos.json", head)
    write_cohort(folder / "cohort.csv", [_case(folder, note) for note in notes])
    return folder / "cohort.csv"


def annotations_of(photo: Photo, border_share: float) -> Annotations:
    """Return outlines inside the frame, then the band just inside each of them.

    The band is as wide as that share of the photo's longer side. It follows the slide's own edge,
    not the frame's where that cuts a slide.
    """
    height, width = photo.pixels.shape[:2]
    outlines = [slide.within((width, height)) for slide in photo.slides]
    bands: list[shapely.Geometry] = [
        outline.difference(slide.outline.buffer(-border_share * max(width, height)))
        for outline, slide in zip(outlines, photo.slides, strict=True)
    ]
    parts = [part for band in bands for part in _polygons(band)]
    return Annotations.of([*outlines, *parts], [*[SLIDE] * len(outlines), *[BORDER] * len(parts)])


def _made(folder: Path, photos: PhotoSet, count: int, workers: int) -> Iterator[dict[str, Any]]:
    """Yield the note of each photo, writing those that are not there."""
    numbers = range(count)
    if workers <= 1:
        yield from (_kept_or_written(folder, photos, number) for number in numbers)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
        yield from pool.map(_kept_or_written, [folder] * count, [photos] * count, numbers)


def _polygons(shape: shapely.Geometry) -> Sequence[Polygon]:
    return [part for part in shapely.get_parts(shape) if isinstance(part, Polygon)]


def _kept_or_written(folder: Path, photos: PhotoSet, number: int) -> dict[str, Any]:
    """Return the note of a photo, which is written last; write what is not there."""
    path = folder / "notes" / f"{number:04d}.json"
    if path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        if there["made_of"] == photos.origin:
            return there["photo"]
    note = _written(folder, photos, number)
    write_json(path, {"made_of": photos.origin, "photo": note})
    return note


def _written(folder: Path, photos: PhotoSet, number: int) -> dict[str, Any]:
    """Write one photo with its annotations; return what is in it."""
    photo, group = photos.photo(number)
    path = folder / "photos" / f"{number:04d}.jpg"
    quality = [cv2.IMWRITE_JPEG_QUALITY, photo.jpeg_quality]
    done, data = cv2.imencode(".jpg", photo.pixels[..., ::-1], quality)
    if not done:
        raise OutputError(f"{path}: OpenCV cannot write JPEG. Install another OpenCV.")
    with written_whole(path) as beside:
        beside.write_bytes(data.tobytes())
    annotations = annotations_of(photo, photos.settings.border_share)
    write_geojson(folder / "annotations" / f"{number:04d}.geojson", annotations, PHOTO_CLASSES)
    return _note(photo, path.name, group)


def _case(folder: Path, note: dict[str, Any]) -> Case:
    photo = folder / "photos" / note["photo"]
    annotations = folder / "annotations" / photo.with_suffix(".geojson").name
    return Case(photo, annotations, note["group"], group=note["kind"])


def _note(photo: Photo, name: str, group: str) -> dict[str, Any]:
    height, width = photo.pixels.shape[:2]
    frame = shapely.box(0, 0, width, height)
    return {
        "photo": name,
        "width": width,
        "height": height,
        "kind": photo.kind,
        "group": group,
        "scene": photo.scene,
        "camera": photo.camera,
        "slides": [
            {
                "corners": slide.corners.round(3).tolist(),
                "source": slide.figure.source,
                "stain": slide.figure.stain,
                "touching": slide.figure.touching,
                "curved": slide.curved,
                "cut": not frame.contains(slide.outline),
                "hidden": round(slide.hidden, 4),
                "area_share": round(slide.within((width, height)).area / frame.area, 5),
            }
            for slide in photo.slides
        ],
    }
