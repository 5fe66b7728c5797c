"""Sides moved to the strongest edges nearby, finer than a pixel, at a photo's full resolution."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Rgb
from slidemask.post.quadrilateral import (
    Quadrilateral,
    arc_height,
    joined,
    line_or_arc,
    robust,
    side_terms,
)

Profiles = NDArray[np.float32]
"""(stations, offsets, 3): changes of red, green, blue along the normals of a side."""

_FINE_PX = 0.5
_REACH = 3.0
"""How far from the expected place edges are looked for, in pixels of the network."""
_LIKELY = 1.25
"""Standard deviation of the expected place, in pixels of the network."""
_NOISE = 12.0
"""Grey levels at which a change is half a vote."""
_AGREEMENT = 0.25
"""Mean vote, 0..1, below which there is no edge to speak of."""
_ENDS = 0.05


def refine(
    photo: Rgb,
    quadrilateral: Quadrilateral,
    fixed: NDArray[np.bool_],
    *,
    scale: float,
    bent_share: float,
) -> Quadrilateral:
    """Move each side to the edge that the photo shows beside it.

    Along each side the photo's changes of colour across it are added up, over all shifts and
    tilts within reach, as votes: changes in one and the same direction of colour add up, those of
    text and tissue do not. The best line is then followed station by station to a fraction of a
    pixel and fitted without its outliers. A side without a clear edge stays where it is.

    Parameters
    ----------
    photo : (H, W, 3) uint8
    quadrilateral : Quadrilateral
        In the photo's pixels.
    fixed : (4,) bool
        Sides that stay.
    scale : float
        Pixels of the photo per pixel of the map that the sides were fitted to.
    bent_share : float
        From which share of its length on a side's bow is a bend.
    """
    moves = np.zeros((4, 4))
    for number in range(4):
        if not fixed[number]:
            moves[number] = _move(photo, quadrilateral, number, scale=scale, bent_share=bent_share)
    return joined(quadrilateral, moves)


def _move(
    photo: Rgb, quadrilateral: Quadrilateral, number: int, *, scale: float, bent_share: float
) -> NDArray[np.float64]:
    """Return a, b, c0, c1 that bring a side to its edge; zeros where there is none."""
    length = float(quadrilateral.lengths[number])
    stay = np.zeros(4)
    if length < 16:
        return stay
    step = max(_FINE_PX, scale / 6)
    reach = max(4.0, _REACH * scale)
    offsets = np.arange(-reach, reach + step / 2, step)
    along = np.linspace(_ENDS, 1 - _ENDS, int(np.clip(length / 4, 24, 128)))
    line = _strongest_line(
        _changes(photo, quadrilateral, number, along, offsets=offsets), offsets, scale=scale
    )
    if line is None:
        return stay
    start, end, colour = line
    along = np.linspace(_ENDS, 1 - _ENDS, int(np.clip(length / 2, 32, 400)))
    near = np.arange(-3.0 * step - 2, 3.0 * step + 2.1, _FINE_PX)
    base = start * (1 - along) + end * along
    changes = _changes(photo, quadrilateral, number, along, offsets=near, base=base)
    places, votes = _peaks(changes @ colour, near)
    sure = votes > _NOISE / 4
    if np.count_nonzero(sure) < max(12, 0.25 * len(along)):
        return np.array([start, end, 0.0, 0.0])
    return _fitted(
        along[sure],
        (base + places)[sure],
        step,
        length=length,
        bent=bent_share if not quadrilateral.bends[number].any() else 0.0,
    )


def _fitted(
    along: NDArray[np.float64],
    away: NDArray[np.float64],
    step: float,
    *,
    length: float,
    bent: float,
) -> NDArray[np.float64]:
    """Fit a line; or an arc, where the side is bent or the edge can only be followed by one."""
    near = max(1.0, step)
    if bent == 0:
        return robust(side_terms(along), away, near)
    line, arc = line_or_arc(along, away, near=near)
    if arc is not None and arc_height(arc) > max(1.5, bent * length):
        return arc
    return np.concatenate([line, [0.0, 0.0]])


def _changes(
    photo: Rgb,
    quadrilateral: Quadrilateral,
    number: int,
    along: NDArray[np.float64],
    *,
    offsets: NDArray[np.float64],
    base: NDArray[np.float64] | None = None,
) -> Profiles:
    """Sample changes of colour across a side: outside minus inside, per offset."""
    step = offsets[1] - offsets[0]
    wide = np.concatenate([[offsets[0] - step], offsets, [offsets[-1] + step]])
    _, _, normal = quadrilateral.frame(number)
    points = quadrilateral.side(number, along)
    out = wide[None, :] + (0 if base is None else base[:, None])
    x = (points[:, 0, None] + out * normal[0] - 0.5).astype(np.float32)
    y = (points[:, 1, None] + out * normal[1] - 0.5).astype(np.float32)
    seen = cv2.remap(photo, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.blur(seen.astype(np.float32), (1, 3))  # over three stations along the side
    return np.asarray(seen[:, 2:] - seen[:, :-2], np.float32)


def _strongest_line(
    changes: Profiles, offsets: NDArray[np.float64], *, scale: float
) -> tuple[float, float, NDArray[np.float32]] | None:
    """Return the line's offsets at both ends and its direction of colour, if there is an edge."""
    size = np.sqrt((changes**2).sum(axis=2, keepdims=True) + _NOISE**2)
    votes = changes / size  # no station, however strong, has more than one vote
    step = offsets[1] - offsets[0]
    first, last, index = _lines(len(changes), len(offsets), int(2 * max(scale, 1.0) / step + 1e-9))
    total = np.stack(
        [votes[..., channel].ravel()[index].mean(axis=1) for channel in range(3)], axis=1
    )
    strength = np.sqrt((total**2).sum(axis=1))
    a, b = offsets[first], offsets[last]
    spread = max(1.0, _LIKELY * scale)
    likely = np.exp(-(a * a + a * b + b * b) / (6 * spread**2))
    best = int((strength * likely).argmax())
    if strength[best] < _AGREEMENT:
        return None
    return float(a[best]), float(b[best]), total[best] / strength[best]


@lru_cache(maxsize=16)
def _lines(
    stations: int, count: int, most: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the lines that tilt by `most` offsets or less: ends, and (lines, stations) places.

    Places count row by row in a picture of `count` offsets at each of the stations of `_move`.
    """
    first, last = np.divmod(np.arange(count * count), count)
    tilted = np.abs(first - last) <= most
    first, last = first[tilted], last[tilted]
    along = np.linspace(_ENDS, 1 - _ENDS, stations)
    index = np.rint(np.outer(first, 1 - along) + np.outer(last, along)).astype(np.intp)
    return first, last, index + count * np.arange(stations)


def _peaks(
    strength: NDArray[np.float32], offsets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where each row is largest, between its samples, and how large."""
    smooth = cv2.GaussianBlur(strength.astype(np.float64), (5, 1), 1.0, sigmaY=0.1)
    inner = smooth[:, 1:-1].argmax(axis=1) + 1
    rows = np.arange(len(smooth))
    before, at, after = (smooth[rows, inner + shift] for shift in (-1, 0, 1))
    curve = before - 2 * at + after
    shift = np.where(curve < -1e-9, 0.5 * (before - after) / np.where(curve < -1e-9, curve, 1), 0)
    step = offsets[1] - offsets[0]
    return offsets[inner] + np.clip(shift, -0.5, 0.5) * step, np.asarray(at, np.float64)
