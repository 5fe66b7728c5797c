"""The picture that is looked at first: slide, classes, scale bar, legend."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from slidemask.base.classes import ClassMap, Colour
from slidemask.base.errors import OutputError
from slidemask.base.files import written_whole
from slidemask.base.types import IGNORE, Labels, Rgb
from slidemask.geometry.box import Box
from slidemask.io.slide import Slide
from slidemask.post.lettering import draw_legend, draw_scale_bar, round_scale_bar
from slidemask.post.overlay import UNKNOWN, error_picture, overlay

__all__ = ["error_picture", "preview", "thumbnail", "write_picture", "write_preview"]

SMALLEST_WIDTH = 800
"""Smaller pictures are enlarged: legend and outlines need room."""

CAUTION = "Research use only. Not for diagnosis."


def thumbnail(slide: Slide, longest_px: int = 1600) -> tuple[Rgb, float]:
    """Return the whole slide, at most `longest_px` on its longer side, and its downsample.

    A stored level that is at most 1.3 times smaller than that is taken as it is: to average one
    that is larger takes most of the time a picture takes.
    """
    least = max(1.0, max(slide.size) / longest_px)
    downsample = min((d for d in slide.downsamples if least <= d <= 1.3 * least), default=least)
    return slide.read(Box(0, 0, *slide.size), downsample), downsample


def preview(
    picture: Rgb,
    labels: Labels,
    classes: ClassMap,
    *,
    mpp_of_thumbnail: float | None = None,
    title: str = "",
    notes: Mapping[str, str] | None = None,
) -> Rgb:
    """Draw labels over a thumbnail, with scale bar and a legend below.

    Parameters
    ----------
    picture : (H, W, 3) uint8
        The thumbnail. Less than 800 px wide, it is enlarged by a whole factor.
    labels : (h, w) uint8
        Of the same area, at any resolution.
    classes : ClassMap
        Names and colours.
    mpp_of_thumbnail : float, optional
        µm per pixel of `picture`; without it there is no scale bar, and the legend says so.
    title : str
        First line of the legend, e.g. the slide's name.
    notes : mapping of class name to text, optional
        What the legend says behind a class's name, e.g. its area.

    Returns
    -------
    (H', W', 3) uint8
        The picture and, below it, the legend.
    """
    factor = max(1, -(-SMALLEST_WIDTH // picture.shape[1]))
    drawn = overlay(_enlarge(picture, factor), labels, classes)
    size = max(15, round(drawn.shape[1] / 80))
    caution = CAUTION
    if mpp_of_thumbnail is None:
        caution = f"Pixel size unknown. {CAUTION}"
    else:
        bar = round_scale_bar(drawn.shape[1] / 5, mpp_of_thumbnail / factor)
        draw_scale_bar(drawn, bar, round(size * 1.15))
    entries = _entries(classes, notes or {}, unknown=bool((labels == IGNORE).any()))
    legend = draw_legend(drawn.shape[1], size, entries, title=title, caution=caution)
    return np.concatenate([drawn, legend])


def write_preview(
    path: Path,
    picture: Rgb,
    labels: Labels,
    classes: ClassMap,
    *,
    mpp_of_thumbnail: float | None = None,
    title: str = "",
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write `preview(...)` as PNG; the other parameters are the same.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    drawn = preview(
        picture, labels, classes, mpp_of_thumbnail=mpp_of_thumbnail, title=title, notes=notes
    )
    write_picture(path, drawn)


def write_picture(path: Path, picture: Rgb) -> None:
    """Write a picture in the format of the name's ending, in one step.

    Raises
    ------
    OutputError
        If the ending is unknown or the file cannot be written.
    """
    try:
        done, data = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done, data = False, np.empty(0, np.uint8)
    if not done:
        raise OutputError(f"{path}: no picture format ends in {path.suffix!r}; use .png or .jpg")
    with written_whole(path) as beside:
        beside.write_bytes(data.tobytes())


def _enlarge(picture: Rgb, factor: int) -> Rgb:
    if factor == 1:
        return picture
    larger = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return larger.astype(np.uint8, copy=False)


def _entries(
    classes: ClassMap, notes: Mapping[str, str], *, unknown: bool
) -> list[tuple[str, Colour]]:
    """Return text and colour of each line of the legend."""
    known = [(f"{c.name}  {notes.get(c.name, '')}".strip(), c.colour) for c in classes.classes]
    return known + ([("unknown", UNKNOWN)] if unknown else [])
