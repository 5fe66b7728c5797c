"""The worst and the best photos of a model, with true and found outlines drawn."""

from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import shapely

from slidemask.base.classes import Colour
from slidemask.base.files import output_folder, written_whole
from slidemask.base.types import Rgb
from slidemask.evaluate.outlines import PhotoScore, Shape
from slidemask.io.photograph import read_photo
from slidemask.post.overlay import FALSE, HIT, MISSED
from slidemask.recipes.photo.scoring import PhotoRow

FOUND: Final[Colour] = (255, 170, 0)
LONGEST_PX: Final = 1000
FOLDER: Final = "pictures"


class Shown(NamedTuple):
    """One picture of the report."""

    file: str
    """Below the study's folder."""
    caption: str
    worst: bool


def draw_extremes(row: PhotoRow, out: Path, count: int) -> list[Shown]:
    """Draw the `count` worst photos of a model and half as many of the best; write JPEGs.

    The worst are those with the most slides missed, merged or split and false finds; among
    equals, those of the least IoU. Photos without slides and without false finds are not shown.

    Raises
    ------
    OutputError
        If a picture cannot be written.
    """
    order = sorted(_telling(row), key=lambda at: _rank(row.scores[at]))
    worst, rest = order[:count], order[count:]
    best = [at for at in rest[::-1] if row.scores[at].slides][: count // 2]
    if not order:
        return []
    folder = output_folder(out / FOLDER)
    name = row.job.folder.name
    shown = list[Shown]()
    for kind, places in (("worst", worst), ("best", best)):
        for number, at in enumerate(places, start=1):
            path = folder / f"{name}-{kind}-{number}.jpg"
            _write_jpeg(path, draw_photo(row, at))
            file = f"{FOLDER}/{path.name}"
            shown.append(Shown(file, caption_of(row, at), worst=kind == "worst"))
    return shown


def draw_photo(row: PhotoRow, at: int, longest_px: int = LONGEST_PX) -> Rgb:
    """Draw a photo with its outlines.

    True slides are green where found, otherwise red; outlines orange, false finds blue.
    """
    case, found, score = row.cases[at], row.found[at], row.scores[at]
    pixels = read_photo(case.photo)
    ratio = min(1.0, longest_px / max(pixels.shape[:2]))
    size = (round(pixels.shape[1] * ratio), round(pixels.shape[0] * ratio))
    canvas = np.ascontiguousarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    for shape, fate in zip(case.true, score.slides, strict=True):
        _ring(canvas, shape, ratio, colour=HIT if fate.state == "found" else MISSED, thick=5)
    for number, shape in enumerate(found.shapes):
        _ring(canvas, shape, ratio, colour=FALSE if number in score.false_finds else FOUND, thick=2)
    return np.asarray(canvas, np.uint8)


def caption_of(row: PhotoRow, at: int) -> str:
    """Say in words what became of a photo's slides."""
    case, score = row.cases[at], row.scores[at]
    states = [slide.state for slide in score.slides]
    words = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    if score.slides:
        words.append(f"mean IoU {np.mean([slide.iou for slide in score.slides]):.3f}")
    if score.false_finds:
        words.append(f"{len(score.false_finds)} false")
    scene = f" ({case.kind})" if case.kind else ""
    return f"{case.photo.name}{scene}: {', '.join(words) or 'no slide, none found'}"


def _telling(row: PhotoRow) -> list[int]:
    return [at for at, score in enumerate(row.scores) if score.slides or score.false_finds]


def _rank(score: PhotoScore) -> tuple[float, float]:
    """Order photos from the worst to the best."""
    faults = sum(slide.state != "found" for slide in score.slides) + len(score.false_finds)
    return -faults, float(np.mean([slide.iou for slide in score.slides])) if score.slides else 0.0


def _ring(canvas: Any, shape: Shape, ratio: float, *, colour: Colour, thick: int) -> None:  # noqa: ANN401 - what cv2 draws on
    points = shapely.get_coordinates(shape.polygon.exterior)
    fixed = np.round((points * ratio - 0.5) * 16).astype(np.int32)
    cv2.polylines(
        canvas, [fixed], isClosed=True, color=colour, thickness=thick, lineType=cv2.LINE_AA, shift=4
    )


def _write_jpeg(path: Path, pixels: Rgb) -> None:
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    with written_whole(path) as beside:
        beside.write_bytes(data.tobytes())
