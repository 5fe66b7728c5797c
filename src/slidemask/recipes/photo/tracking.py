"""Slides followed from frame to frame, and the sharpest frame of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import linear_sum_assignment

from slidemask.base.settings import Settings
from slidemask.base.types import Rgb
from slidemask.post.outlines import Outline

Corners = NDArray[np.float64]
Look = NDArray[np.float32]
LOOK_PX = 400
"""Longer side of a slide where its sharpness is measured."""
_LOOK_CELLS = 16
"""Cells along each side of a slide by which two looks at it are compared."""
_PLAIN = 5.0
"""Grey levels by which a look must vary to be compared: glass and noise are like nothing."""
_GRAIN_SIGMA = 1.0
"""Sensor noise is smoothed away first: it is sharp in every frame."""


class Tracking(Settings):
    """How slides are followed.

    Parameters
    ----------
    min_iou : float
        An outline continues a track when it overlaps its last one so far.
    min_likeness : float
        And when it shows the same: least correlation of colours with the last look, -1..1. So a
        page that is turned below a fixed camera gives new slides.
    smoothing : float
        Share of the old corners in the shown ones; 0 shows what each frame says.
    patience : int
        Frames for which a slide may be out of sight before it counts as gone.
    min_frames : int
        Slides seen in fewer frames are taken for errors and dropped.
    """

    min_iou: float = Field(default=0.3, gt=0, lt=1)
    min_likeness: float = Field(default=0.15, ge=-1, lt=1)
    smoothing: float = Field(default=0.6, ge=0, lt=1)
    patience: int = Field(default=8, ge=0)
    min_frames: int = Field(default=3, ge=1)


@dataclass(frozen=True, eq=False)
class Sharpest:
    """The frame in which a slide was sharpest so far.

    Parameters
    ----------
    frame : (H, W, 3) uint8
    number : int
        Of the frame, from 0.
    outline : Outline
        In that frame.
    sharpness : float
        See `sharpness`.
    """

    frame: Rgb
    number: int
    outline: Outline
    sharpness: float


@dataclass(frozen=True, eq=False)
class Track:
    """One slide over several frames.

    Parameters
    ----------
    name : int
        From 1, in the order in which slides came into sight.
    corners : (4, 2) float64
        Smoothed, in the pixels of the last frame that shows it.
    last : Outline
        In that frame.
    look : (n, n, 3) float32
        What was seen in it, straightened and coarse, from the first of `corners`.
    seen, last_frame : int
        How many frames show it, and the number of the last one.
    best : Sharpest
    """

    name: int
    corners: Corners
    last: Outline
    look: Look
    seen: int
    last_frame: int
    best: Sharpest


class Tracker:
    """Follows the slides of a camera; give it each frame with its outlines.

    Parameters
    ----------
    settings : Tracking, optional
    """

    def __init__(self, settings: Tracking | None = None) -> None:
        self._settings = settings or Tracking()
        self._tracks: list[Track] = []
        self._count = 0

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Slides in sight, or out of it for less than the patience."""
        return tuple(self._tracks)

    def follow(self, frame: Rgb, number: int, outlines: Sequence[Outline]) -> list[Track]:
        """Take in a frame; return the tracks that ended with it."""
        pairs = _pairs(self._tracks, frame, outlines, self._settings)
        for place, outline in enumerate(outlines):
            seen = Sharpest(frame, number, outline, sharpness(frame, outline))
            if place in pairs:
                at = pairs[place]
                self._tracks[at] = _continued(self._tracks[at], seen, self._settings.smoothing)
                continue
            self._count += 1
            look, corners = look_at(frame, outline.corners), outline.corners
            self._tracks.append(Track(self._count, corners, outline, look, 1, number, best=seen))
        return self._end(lambda track: number - track.last_frame > self._settings.patience)

    def finish(self) -> list[Track]:
        """End all tracks and return them."""
        return self._end(lambda _: True)

    def _end(self, is_over: Callable[[Track], bool]) -> list[Track]:
        over = [track for track in self._tracks if is_over(track)]
        self._tracks = [track for track in self._tracks if not is_over(track)]
        return [track for track in over if track.seen >= self._settings.min_frames]


def sharpness(frame: Rgb, outline: Outline, longest_px: int = LOOK_PX) -> float:
    """Return the variance of the Laplacian inside an outline, brought to an equal scale.

    So a slide that comes nearer does not look blurred, nor one far away sharp: what the frame does
    not resolve at that scale is missing in its Laplacian (J. L. Pech-Pacheco et al., "Diatom
    autofocusing in brightfield microscopy", ICPR 2000).

    Parameters
    ----------
    frame : (H, W, 3) uint8
    outline : Outline
        Its middle nine tenths are looked at.
    longest_px : int
        Longer side of the slide that is looked at.
    """
    pixels, corners = _part_of(frame, outline.corners)
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    across, down = (max(1.0, float(sides[[i, i + 2]].mean())) for i in (0, 1))
    while max(across, down) > 2 * longest_px:  # a warp alone would skip pixels
        pixels, corners = np.asarray(cv2.pyrDown(pixels), np.uint8), corners / 2
        across, down = across / 2, down / 2
    ratio = longest_px / max(across, down)
    width, height = (max(16, round(length * ratio)) for length in (across, down))
    target = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    warp = cv2.getPerspectiveTransform((corners - 0.5).astype(np.float32), target - 0.5)
    straight = cv2.warpPerspective(pixels, warp, (width, height), borderMode=cv2.BORDER_REPLICATE)
    smooth = cv2.GaussianBlur(straight, (0, 0), _GRAIN_SIGMA)
    edge_y, edge_x = height // 20, width // 20
    inner = np.asarray(smooth)[edge_y : height - edge_y, edge_x : width - edge_x]
    return float(cv2.Laplacian(np.ascontiguousarray(inner), cv2.CV_32F).var())


def turned_alike(corners: Corners, like: Corners) -> Corners:
    """Return corners from the first that lies where the other's first does.

    A slide that turns passes the angle at which another corner becomes the top left one.
    """
    turns = [np.roll(corners, turn, axis=0) for turn in range(4)]
    return min(turns, key=lambda turned: float(np.linalg.norm(turned - like, axis=1).sum()))


def look_at(frame: Rgb, corners: Corners) -> Look:
    """Return what lies within corners, straightened, in few cells: colours, 0..255."""
    side = 8 * _LOOK_CELLS
    target = np.array([(0, 0), (side, 0), (side, side), (0, side)], np.float32)
    warp = cv2.getPerspectiveTransform((corners - 0.5).astype(np.float32), target - 0.5)
    straight = cv2.warpPerspective(frame, warp, (side, side), borderMode=cv2.BORDER_REPLICATE)
    cells = cv2.resize(straight, (_LOOK_CELLS, _LOOK_CELLS), interpolation=cv2.INTER_AREA)
    return np.asarray(cells, np.float32)


def likeness(one: Look, other: Look) -> float:
    """Return the correlation of two looks, each colour about its mean; 1 where one is plain.

    Light and white balance may so differ.
    """
    a, b = (look - look.mean(axis=(0, 1)) for look in (one, other))
    if min(a.std(), b.std()) < _PLAIN:
        return 1.0
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def _continued(track: Track, seen: Sharpest, smoothing: float) -> Track:
    corners = turned_alike(seen.outline.corners, track.corners)
    return replace(
        track,
        corners=smoothing * track.corners + (1 - smoothing) * corners,
        last=seen.outline,
        look=look_at(seen.frame, corners),
        seen=track.seen + 1,
        last_frame=seen.number,
        best=seen if seen.sharpness > track.best.sharpness else track.best,
    )


def _pairs(
    tracks: Sequence[Track], frame: Rgb, outlines: Sequence[Outline], settings: Tracking
) -> dict[int, int]:
    """Return which track each outline continues, so that the sum of IoU is greatest."""
    if not tracks or not outlines:
        return {}
    new = np.array([outline.polygon.buffer(0) for outline in outlines], dtype=object)
    old = np.array([track.last.polygon.buffer(0) for track in tracks], dtype=object)
    common = shapely.area(shapely.intersection(new[:, None], old[None, :]))
    union = shapely.area(new)[:, None] + shapely.area(old)[None, :] - common
    iou = np.where(common >= settings.min_iou * union, common / np.maximum(union, 1e-9), 0.0)
    for row, column in zip(*np.nonzero(iou), strict=True):
        track = tracks[column]
        corners = turned_alike(outlines[row].corners, track.corners)
        if likeness(look_at(frame, corners), track.look) < settings.min_likeness:
            iou[row, column] = 0
    rows, columns = linear_sum_assignment(-iou)
    matched = zip(rows.tolist(), columns.tolist(), strict=True)
    return {row: column for row, column in matched if iou[row, column] > 0}


def _part_of(frame: Rgb, corners: Corners) -> tuple[NDArray[np.uint8], Corners]:
    """Return the grey part of a frame that holds the corners, and them in its pixels."""
    height, width = frame.shape[:2]
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, (width - 1, height - 1))
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, low + 1, (width, height))
    part = np.ascontiguousarray(frame[low[1] : high[1], low[0] : high[0]])
    return np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), np.uint8), corners - low
