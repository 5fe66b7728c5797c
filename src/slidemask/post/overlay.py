"""Labels drawn over a picture: translucent fill, crisp outlines, and errors in colours."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from cv2.typing import MatLike

from slidemask.base.classes import ClassMap, Colour
from slidemask.base.types import IGNORE, Labels, Mask, Rgb

HIT: Colour = (0, 158, 115)
MISSED: Colour = (213, 40, 40)
FALSE: Colour = (0, 114, 220)
UNKNOWN: Colour = (128, 128, 128)

_FILL = 0.3


def overlay(
    picture: Rgb,
    labels: Labels,
    classes: ClassMap,
    *,
    fill: float = _FILL,
    line_px: int | None = None,
) -> Rgb:
    """Draw each class's areas over a picture; unknown areas get a grey veil.

    Parameters
    ----------
    picture : (H, W, 3) uint8
    labels : (h, w) uint8
        Of any size: it is fitted to the picture.
    classes : ClassMap
        Colours by index.
    fill : float
        Share of the class's colour inside, 0..1; outlines are opaque.
    line_px : int, optional
        Width of the outlines; it follows the objects' size where it is not given.
    """
    fitted = fit_labels(labels, picture.shape[:2])
    drawn = tint(picture, fitted == IGNORE, UNKNOWN, 0.5)
    areas = [(fitted == i, colour) for i, colour in enumerate(classes.colours) if i > 0]
    for area, colour in areas:
        drawn = tint(drawn, area, colour, fill)
    for area, colour in areas:
        drawn = outline(drawn, area, colour, width=line_px)
    return drawn


def error_picture(picture: Rgb, truth: Labels, predicted: Labels) -> Rgb:
    """Colour a picture by what became of each pixel of the foreground.

    Green: the class was found. Red: missed, or taken for another class. Blue: predicted where
    there is background. Grey: the truth is not known.

    Parameters
    ----------
    picture : (H, W, 3) uint8
    truth, predicted : (h, w) uint8
        Of any size: they are fitted to the picture.
    """
    known = fit_labels(truth, picture.shape[:2])
    guess = fit_labels(predicted, picture.shape[:2])
    unknown = known == IGNORE
    object_ = (known > 0) & ~unknown
    pale = tint(picture, np.ones_like(unknown), (255, 255, 255), 0.35)
    parts: Iterable[tuple[Mask, Colour, float]] = (
        (object_ & (guess == known), HIT, 0.35),
        (object_ & (guess != known), MISSED, 0.65),
        ((known == 0) & (guess > 0), FALSE, 0.65),
        (unknown, UNKNOWN, 0.5),
    )
    for area, colour, share in parts:
        pale = tint(pale, area, colour, share)
    return pale


def tint(picture: Rgb, area: Mask, colour: Colour, share: float) -> Rgb:
    """Return the picture with `share` of `colour` mixed in over `area`."""
    if not area.any():
        return picture
    mixed = cv2.addWeighted(picture, 1 - share, np.full_like(picture, colour), share, 0)
    return np.where(area[..., None], mixed, picture)


def outline(picture: Rgb, area: Mask, colour: Colour, *, width: int | None = None) -> Rgb:
    """Return the picture with the area's edges, holes included, drawn in `colour`.

    Without a given width in pixels, small objects get thin lines and large ones thick lines.
    """
    contours, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    drawn = np.ascontiguousarray(picture).copy()
    thickness = width or _line_width(contours, max(picture.shape[:2]))
    cv2.drawContours(drawn, contours, -1, colour, thickness, cv2.LINE_AA)
    return drawn


def _line_width(contours: Sequence[MatLike], longest_px: int) -> int:
    """Return a 25th of the median object's side, 1 px to a 450th of the picture."""
    if not contours:
        return 1
    side = float(np.median([cv2.contourArea(contour) for contour in contours])) ** 0.5
    return max(1, min(round(side / 25), round(longest_px / 450)))


def fit_labels(labels: Labels, shape: tuple[int, ...]) -> Labels:
    """Bring labels to (rows, columns): the nearest pixel; enlarged edges are rounded off.

    A picture of 224 px is shown at four times its size; squares of four pixels would look like
    the truth and are not, so the edges of enlarged classes run smoothly between pixel centres.
    """
    rows, columns = shape[:2]
    if labels.shape == (rows, columns):
        return labels
    if rows * columns <= labels.size:
        nearest = cv2.resize(labels, (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)
        return nearest.astype(np.uint8, copy=False)
    present = [int(value) for value in np.unique(labels) if value]
    shares = [_enlarged(labels == value, (columns, rows)) for value in present]
    if not present:
        return np.zeros((rows, columns), np.uint8)
    strongest = np.argmax(shares, axis=0)
    some = np.sum(shares, axis=0, dtype=np.float32) > 127.5
    return np.where(some, np.array(present, np.uint8)[strongest], np.uint8(0))


def _enlarged(area: Mask, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(area.astype(np.float32) * 255, size, interpolation=cv2.INTER_LINEAR)
