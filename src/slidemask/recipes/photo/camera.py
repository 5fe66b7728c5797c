"""A camera or a video in, the sharpest view of each slide out, straightened."""

import json
import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from slidemask.base.errors import OutputError, SlideError
from slidemask.base.files import output_folder, write_json, written_whole
from slidemask.base.record import versions
from slidemask.base.types import Rgb
from slidemask.models.backends import Name
from slidemask.models.bundle import Bundle
from slidemask.post.overlay import HIT
from slidemask.post.rectify import rectify
from slidemask.recipes.photo.crops import changed_settings
from slidemask.recipes.photo.find import equipped, look
from slidemask.recipes.photo.tracking import Track, Tracker, Tracking

RESULT: Final = "camera.json"
PREVIEW_S: Final = 0.2
"""Seconds between two preview pictures, at least."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CameraOptions:
    """What the caller of `watch` may choose.

    Parameters
    ----------
    source : str
        Number of a camera, path of a video, or URL of a stream.
    every : int
        Slides are looked for in every so many frames.
    seconds : float, optional
        Stop after so many seconds of the clock; None: at the video's end, or Ctrl-C.
    preview : Path, optional
        Picture that is rewritten as frames come, with the outlines drawn.
    changes : tuple of str
        "photo.key=value" on the bundle's photo settings.
    overwrite : bool
        Replace an earlier result in the folder.
    backend : str
        What computes the network (`models.backends`).
    tracking : Tracking
    """

    source: str = "0"
    every: int = 1
    seconds: float | None = None
    preview: Path | None = None
    changes: tuple[str, ...] = ()
    overwrite: bool = False
    backend: Name = "torch"
    tracking: Tracking = field(default_factory=Tracking)


@dataclass(frozen=True)
class Kept:
    """A slide that was written.

    Parameters
    ----------
    file : str
        In the output folder.
    size : (width, height)
    frame : int
        Number of the sharpest frame, from 0.
    frames_seen : int
    sharpness, confidence : float
        In that frame.
    corners : list of (x, y)
        In that frame's pixels.
    """

    file: str
    size: tuple[int, int]
    frame: int
    frames_seen: int
    sharpness: float
    confidence: float
    corners: list[list[float]]


@dataclass
class _Times:
    """Seconds of each frame, by stage."""

    read: list[float] = field(default_factory=list)
    find: list[float] = field(default_factory=list)
    follow: list[float] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Return median and 95th percentile of each stage, ms."""
        stages = {"read": self.read, "find": self.find, "follow": self.follow}
        together = [sum(parts) for parts in zip(self.find, self.follow, strict=True)]
        return {
            name: {
                "median": round(1000 * float(np.median(values)), 2),
                "p95": round(1000 * float(np.quantile(values, 0.95)), 2),
            }
            for name, values in (stages | {"find and follow": together}).items()
            if values
        }


def watch(
    bundle: Bundle, out: Path, options: CameraOptions, say: Callable[[Kept], None] = lambda _: None
) -> dict[str, Any]:
    """Follow the slides before a camera and keep the sharpest view of each.

    A slide is written, straightened, as `slide-N.png` when it goes out of sight or the frames end;
    Ctrl-C ends them too. `camera.json`, written last, says where each came from.

    Parameters
    ----------
    bundle : Bundle
        Trained with a recipe that has a part `photo`.
    out : Path
    options : CameraOptions
    say : callable
        Told of each slide as soon as it is written.

    Returns
    -------
    dict
        What `camera.json` holds.

    Raises
    ------
    SlideError
        If the source cannot be opened, or gives no frame.
    BundleError
        If the bundle is not for photos.
    OutputError
        If the folder holds a result, or cannot be written to.
    """
    settings = changed_settings(bundle, options.changes)
    tracker, times, kept = Tracker(options.tracking), _Times(), list[Kept]()
    frames, preview = 0, _Preview(options.preview)

    def keep(ended: list[Track]) -> None:
        for track in ended:
            kept.append(_write(track, out, len(kept) + 1))
            say(kept[-1])

    with _opened(options.source) as capture:
        _clear(output_folder(out), overwrite=options.overwrite)
        try:
            for number, frame in _frames(capture, options.seconds, times.read):
                frames = number + 1
                if number % options.every:
                    continue
                bundle = equipped(bundle, frame, settings, options.backend)
                began = time.perf_counter()
                found = look(frame, bundle, settings)
                searched = time.perf_counter()
                ended = tracker.follow(frame, number, found.outlines)
                times.find.append(searched - began)
                times.follow.append(time.perf_counter() - searched)
                keep(ended)
                preview.show(frame, tracker.tracks)
        except KeyboardInterrupt:
            log.warning("stopped after %d frames", frames)
    keep(tracker.finish())
    if not frames:
        raise SlideError(f"Camera source {options.source!r} gives no frame; try another --source.")
    result = {
        "source": options.source,
        "model": {"name": bundle.info.name, "digest": bundle.digest},
        "settings": settings.model_dump(mode="json"),
        "tracking": options.tracking.model_dump(mode="json"),
        "frames": frames,
        "frames_searched": len(times.find),
        "ms": times.told(),
        "device": str(bundle.device),
        "backend": bundle.backend.name if bundle.backend else "torch",
        "slides": [vars(one) for one in kept],
        "versions": versions(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(out / RESULT, result)
    return result


def _frames(
    capture: cv2.VideoCapture, seconds: float | None, took: list[float]
) -> Iterator[tuple[int, Rgb]]:
    """Yield the number and pixels of each frame, until the source or the time ends.

    How long each took to come is noted.
    """
    start, number = time.monotonic(), 0
    while seconds is None or time.monotonic() - start < seconds:
        began = time.perf_counter()
        there, frame = capture.read()
        if not there:
            return
        pixels = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
        took.append(time.perf_counter() - began)
        yield number, pixels
        number += 1


@contextmanager
def _opened(source: str) -> Generator[cv2.VideoCapture]:
    """Open a camera by number, a video or a stream."""
    if not source.isdigit() and "://" not in source and not Path(source).is_file():
        raise SlideError(
            f"Video {source} does not exist. Give a video file, the number of a camera (0, 1, …) "
            "or the URL of a stream."
        )
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    try:
        if not capture.isOpened():
            what = f"Camera {source}" if source.isdigit() else f"Video {source}"
            raise SlideError(
                f"{what} cannot be opened. Check that it is connected, that no other program uses "
                "it, and that it is a video of a common format."
            )
        yield capture
    finally:
        capture.release()


class _Preview:
    """A picture file that shows what the camera sees."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._due = path, 0.0

    def show(self, frame: Rgb, tracks: tuple[Track, ...]) -> None:
        """Rewrite the picture, if it is time."""
        now = time.monotonic()
        if self._path is None or now < self._due:
            return
        self._due = now + PREVIEW_S
        drawn = frame.copy()
        thick = max(2, max(frame.shape) // 400)
        for track in tracks:
            ring = np.round((track.corners - 0.5) * 16).astype(np.int32)
            cv2.polylines(
                drawn, [ring], isClosed=True, color=HIT, thickness=thick,
                lineType=cv2.LINE_AA, shift=4,
            )  # fmt: skip
        _write_picture(self._path, drawn)


def _write(track: Track, out: Path, number: int) -> Kept:
    best = track.best
    pixels, file = rectify(best.frame, best.outline), f"slide-{number}.png"
    _write_picture(out / file, pixels)
    return Kept(
        file, (pixels.shape[1], pixels.shape[0]), best.number, track.seen,
        round(best.sharpness, 3), round(best.outline.confidence, 4),
        best.outline.corners.round(2).tolist(),
    )  # fmt: skip


def _write_picture(path: Path, pixels: Rgb) -> None:
    try:
        done, data = cv2.imencode(path.suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    except cv2.error:  # no such format
        done, data = False, np.empty(0)
    if not done:
        raise OutputError(f"{path} cannot be written as a picture; name it .jpg or .png.")
    with written_whole(path) as beside:
        beside.write_bytes(data.tobytes())


def _clear(out: Path, *, overwrite: bool) -> None:
    """Make sure that nothing is overwritten that should not be."""
    there = [*sorted(out.glob("slide-*.png")), *out.glob(RESULT)]
    if there and not overwrite:
        raise OutputError(
            f"{out} holds {there[0].name} of an earlier run. Choose another --out, or pass "
            "--overwrite to replace it."
        )
    result = out / RESULT
    if not result.exists():
        return
    try:
        files = [
            slide["file"] for slide in json.loads(result.read_text(encoding="utf-8"))["slides"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{result} is damaged or not slidemask's ({error}). Choose another --out."
        ) from error
    for name in (*files, RESULT):
        (out / Path(name).name).unlink(missing_ok=True)
