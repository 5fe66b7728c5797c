"""Photos in, a result folder for each out: straightened slides, overlay, outlines."""

import json
import logging
import shutil
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely
from threadpoolctl import threadpool_limits

from slidemask.base.classes import ClassInfo, ClassMap, Colour
from slidemask.base.errors import OutputError, SettingsError, SlidemaskError
from slidemask.base.files import output_folder, sha256, write_json
from slidemask.base.process import cores
from slidemask.base.record import versions
from slidemask.base.settings import digest
from slidemask.base.stages import Stages
from slidemask.base.types import Rgb
from slidemask.geometry.annotations import Annotations
from slidemask.io.geojson import write_geojson
from slidemask.io.photograph import read_photo
from slidemask.io.png import write_png
from slidemask.models.backends import Name
from slidemask.models.bundle import Bundle
from slidemask.post.cut import cut_sides
from slidemask.post.halves import Halves
from slidemask.post.outlines import Outline, Outlines
from slidemask.post.rectify import rectify
from slidemask.recipes.photo.find import SLIDE, Found, equipped, look, photo_settings
from slidemask.recipes.recipe import apply_change, checked
from slidemask.recipes.segment import Outcome, result_folders

RESULT = "outlines.json"
_FOUND: Colour = (0, 158, 115)
_REFUSED: Colour = (213, 40, 40)
_OVERLAY_PX = 1280
_MOST_AT_ONCE = 4
"""Photos in work at once: one of 100 megapixels takes 0.6 GB."""
_searching = threading.Lock()
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CropOptions:
    """What the caller of `cut_photos` may choose.

    Parameters
    ----------
    changes : tuple of str
        "key=value" on the bundle's photo settings, e.g. "photo.min_confidence=0.5".
    straighten : bool
        Write `slide-1.png`, … beside the outlines.
    overwrite : bool
        Replace results of other settings.
    backend : str
        What computes the network (`models.backends`).
    """

    changes: tuple[str, ...] = ()
    straighten: bool = True
    overwrite: bool = False
    backend: Name = "torch"


@dataclass(frozen=True)
class _Job:
    """One photo, how it is searched and what for."""

    path: Path
    folder: Path
    bundle: Bundle
    settings: Outlines
    options: CropOptions

    @property
    def identity(self) -> str:
        status = self.path.stat()
        return digest(
            {
                "photo": f"{status.st_size} bytes, {status.st_mtime_ns}",
                "model": self.bundle.digest,
                "settings": self.settings.model_dump(mode="json"),
                "straighten": self.options.straighten,
            }
        )


def cut_photos(
    photos: Sequence[Path], bundle: Bundle, out: Path, options: CropOptions
) -> Generator[Outcome]:
    """Cut the slides out of photos, in order; one that fails does not stop the rest.

    Several are in work at once, so that every core has something to do; a few more are begun
    before their turn than were asked for.

    Parameters
    ----------
    photos : sequence of Path
    bundle : Bundle
        Trained with a recipe that has a part `photo`.
    out : Path
        A folder for each photo is made in it.
    options : CropOptions

    Yields
    ------
    Outcome
        In the photos' order; a failure carries its message.

    Raises
    ------
    SlidemaskError
        If nothing can begin: the bundle is not for photos, the output cannot be written, a photo
        was given twice, or the settings are wrong.
    """
    settings = changed_settings(bundle, options.changes)
    folders = result_folders(photos, output_folder(out))
    jobs = [
        _Job(path, folder, bundle, settings, options)
        for path, folder in zip(photos, folders, strict=True)
    ]
    at_once = min(_MOST_AT_ONCE, cores() + 1)
    with _a_core_each() if cores() <= at_once <= len(jobs) else nullcontext():
        yield from _in_order(jobs, at_once)


@contextmanager
def _a_core_each() -> Generator[None]:
    """Keep OpenCV and BLAS to one thread, where each core has a photo of its own."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        cv2.setNumThreads(before)


def _in_order(jobs: Sequence[_Job], at_once: int) -> Iterator[Outcome]:
    """Cut `at_once` photos at a time; begin twice as many before the first is asked for."""
    begun, pool = deque[Future[Outcome]](), ThreadPoolExecutor(at_once, "photo")
    try:
        for job in jobs:
            begun.append(pool.submit(_cut, job))
            if len(begun) == 2 * at_once:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def changed_settings(bundle: Bundle, changes: Sequence[str] = ()) -> Outlines:
    """Return how a bundle finds slides, after "photo.key=value" changes."""
    table: dict[str, Any] = {"photo": photo_settings(bundle).model_dump()}
    for change in changes:
        if not change.startswith("photo."):
            raise SettingsError(
                f"--set {change!r}: of a search for slides, photo.KEY=VALUE is set."
            )
        apply_change(table, change)
    return checked(Outlines, table["photo"], "these photo settings")


def read_result(folder: Path) -> dict[str, Any]:
    """Read the `outlines.json` of a photo's result folder.

    Raises
    ------
    OutputError
        If it is damaged, or another program's.
    """
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        _ = [result[key] for key in ("job", "photo", "outlines", "files")]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"{folder / RESULT} is damaged or not slidemask's ({error}). Remove that folder, or "
            "choose another --out."
        ) from error
    return result


def draw_outlines(photo: Rgb | Halves, found: Found, longest_px: int = _OVERLAY_PX) -> Rgb:
    """Return a small copy of a photo with the outlines drawn and numbered, refused ones in red."""
    halves = Halves.of(photo)
    width, height = halves.size
    ratio = min(1.0, longest_px / max(height, width))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    half, number = halves.shrunk(ratio)
    step = max(1, int(0.5**number / ratio))  # whole numbers of pixels: five times as quick
    nearer = tuple(
        max(less, now // step) for less, now in zip(size, half.shape[1::-1], strict=True)
    )
    small = cv2.resize(half, nearer, interpolation=cv2.INTER_AREA) if step > 1 else half
    drawn = np.ascontiguousarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR))
    thick = max(1, round(max(size) / 400))
    refused = [refusal.outline for refusal in found.refused]
    for outline in refused:
        _ring(drawn, outline, ratio, colour=_REFUSED, thick=thick)
    for number, outline in enumerate(found.outlines, start=1):
        _ring(drawn, outline, ratio, colour=_FOUND, thick=thick)
        _number(drawn, outline, ratio, text=str(number))
    return np.asarray(drawn, np.uint8)


@dataclass(frozen=True, eq=False)
class _Finds:
    """A photo and what was found in it."""

    photo: Rgb
    halves: Halves
    found: Found
    bundle: Bundle


def _cut(job: _Job) -> Outcome:
    """Find and cut out the slides of one photo; whatever ails it, the others go on."""
    try:
        if job.path.is_file() and _is_finished(job):
            return Outcome(job.path, job.folder, "there")
        stages = Stages()
        _write(job, _finds(job, stages), stages)
    except SlidemaskError as error:
        return Outcome(job.path, job.folder, "failed", str(error))
    except Exception as error:
        log.debug("%s failed", job.path, exc_info=True)
        return Outcome(job.path, job.folder, "failed", f"{type(error).__name__}: {error}")
    return Outcome(job.path, job.folder, "done")


def _finds(job: _Job, stages: Stages) -> _Finds:
    with stages.stage("read"):
        photo = read_photo(job.path)
        halves = Halves.of(photo)
    bundle = equipped(job.bundle, photo, job.settings, job.options.backend)
    # A backend takes several threads in turn; PyTorch's network is for one, which has all cores.
    with stages.stage("find"), nullcontext() if bundle.backend else _searching:
        found = look(halves, bundle, job.settings)
    return _Finds(photo, halves, found, bundle)


def _write(job: _Job, finds: _Finds, stages: Stages) -> None:
    photo, found, bundle = finds.photo, finds.found, finds.bundle
    if job.options.overwrite and job.folder.exists():
        shutil.rmtree(job.folder)
    folder = output_folder(job.folder)
    files = {"overlay": "overlay.png", "polygons": "outlines.geojson"}
    names = [f"slide-{number}.png" for number in range(1, len(found.outlines) + 1)]
    with stages.stage("write"), ThreadPoolExecutor(max(1, bundle.streams)) as pool:
        crops = [
            pool.submit(_write_crop, folder / name, photo, outline)
            for outline, name in zip(found.outlines, names, strict=True)
            if job.options.straighten
        ]
        write_png(folder / files["overlay"], draw_outlines(finds.halves, found))
        _write_polygons(folder / files["polygons"], found)
        sizes = [crop.result() for crop in crops]
    slides = [_told(outline, photo) for outline in found.outlines]
    for slide, name, size in zip(slides, names, sizes, strict=False):  # no sizes: none written
        slide |= {"file": name, "size": size}
    result = {
        "job": job.identity,
        "photo": {
            "path": str(job.path.resolve()),
            "sha256": sha256(job.path),
            "width": photo.shape[1],
            "height": photo.shape[0],
        },
        "model": {"name": job.bundle.info.name, "digest": job.bundle.digest},
        "settings": job.settings.model_dump(mode="json"),
        "outlines": slides,
        "refused": [
            _told(refusal.outline, photo) | {"reason": refusal.reason} for refusal in found.refused
        ],
        "files": files,
        "seconds": {name: round(value, 3) for name, value in stages.seconds.items()},
        "device": str(job.bundle.device),
        "backend": bundle.backend.name if bundle.backend else "torch",
        "versions": versions(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(folder / RESULT, result)


def _is_finished(job: _Job) -> bool:
    """Whether this very job is done; what may not be overwritten is refused."""
    _require_ours(job.folder)
    if not (job.folder / RESULT).exists():
        return False
    if job.options.overwrite:
        return False
    if read_result(job.folder)["job"] != job.identity:
        raise OutputError(
            f"{job.folder} holds a result of another photo, model or other settings. "
            "Choose another --out, or pass --overwrite to replace it."
        )
    return True


def _require_ours(folder: Path) -> None:
    """Refuse a folder with files that no search has written; remove what a killed one began."""
    if not folder.is_dir():
        return
    for begun in folder.glob(".*.part*"):
        begun.unlink()
    for path in sorted(folder.iterdir()):
        if not path.name.startswith((".", "slide-", "overlay.png", "outlines.")):
            raise OutputError(
                f"{folder} holds {path.name}, which no search for slides has written. "
                "Move it elsewhere, or choose another --out."
            )
    if not (folder / RESULT).exists():
        for crop in folder.glob("slide-*.png"):
            if crop.stem.removeprefix("slide-").isdigit():
                crop.unlink()


def _told(outline: Outline, photo: Rgb) -> dict[str, Any]:
    """Return what `outlines.json` says of an outline; cut: by the photo's edge, on some side."""
    height, width = photo.shape[:2]
    ring = shapely.get_coordinates(outline.polygon.exterior)[:-1]
    return {
        "kind": outline.kind,
        "cut": bool(cut_sides(outline.corners, (width, height))),
        "confidence": round(outline.confidence, 4),
        "corners": outline.corners.round(2).tolist(),
        "polygon": ring.round(2).tolist(),
    }


def _write_polygons(path: Path, found: Found) -> None:
    polygons = [outline.polygon for outline in found.outlines]
    classes = ClassMap(classes=(ClassInfo(name=SLIDE, colour=_FOUND),))
    figures = [{"confidence": outline.confidence} for outline in found.outlines]
    write_geojson(
        path, Annotations.of(polygons, [SLIDE] * len(polygons)), classes, measurements=figures
    )


def _write_crop(path: Path, photo: Rgb, outline: Outline) -> list[int]:
    """Write a slide, straightened; return its width and height."""
    crop = rectify(photo, outline)
    write_png(path, crop)
    return [crop.shape[1], crop.shape[0]]


def _ring(drawn: Any, outline: Outline, ratio: float, *, colour: Colour, thick: int) -> None:  # noqa: ANN401 - what cv2 draws on
    ring = shapely.get_coordinates(outline.polygon.exterior)
    fixed = np.round((ring * ratio - 0.5) * 16).astype(np.int32)
    cv2.polylines(
        drawn, [fixed], isClosed=True, color=colour, thickness=thick, lineType=cv2.LINE_AA, shift=4
    )


def _number(drawn: Any, outline: Outline, ratio: float, *, text: str) -> None:  # noqa: ANN401 - what cv2 draws on
    """Write a number into the middle of an outline."""
    at = outline.polygon.representative_point()
    size = max(drawn.shape[:2]) / 900
    place = (round(at.x * ratio - 10 * size), round(at.y * ratio + 10 * size))
    for colour, thick in (((255, 255, 255), 6), (_FOUND, 2)):
        cv2.putText(
            drawn,
            text,
            place,
            cv2.FONT_HERSHEY_SIMPLEX,
            size,
            colour,
            max(1, round(thick * size)),
            cv2.LINE_AA,
        )
