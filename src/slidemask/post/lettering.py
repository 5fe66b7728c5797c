"""Text and small furniture for pictures: words, colour chips, a scale bar of a round length."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from slidemask.base.classes import Colour
from slidemask.base.types import Rgb

INK: Colour = (38, 42, 48)
FAINT: Colour = (120, 126, 134)


class ScaleBar(NamedTuple):
    """A bar of `length_px` that stands for `length_um`."""

    length_um: float
    length_px: int

    @property
    def text(self) -> str:
        """The length with its unit: mm from one millimetre on.

        >>> ScaleBar(2000, 100).text, ScaleBar(50, 100).text, ScaleBar(0.5, 9).text
        ('2 mm', '50 µm', '0.5 µm')
        """
        if self.length_um >= 1000:
            return f"{self.length_um / 1000:g} mm"
        return f"{self.length_um:g} µm"


def round_scale_bar(longest_px: float, mpp: float) -> ScaleBar:
    """Return the longest bar of 1, 2 or 5 times a power of ten µm that fits.

    Parameters
    ----------
    longest_px : float
        Space for the bar, pixels of the picture.
    mpp : float
        µm per pixel of the picture.

    Examples
    --------
    >>> round_scale_bar(300, 0.5)
    ScaleBar(length_um=100.0, length_px=200)
    """
    space_um = longest_px * mpp
    power = 10.0 ** math.floor(math.log10(space_um))
    factor = max(f for f in (1, 2, 5) if f * power <= space_um * (1 + 1e-9))
    return ScaleBar(factor * power, max(1, round(factor * power / mpp)))


def text_width(text: str, size: int, weight: int = 400) -> int:
    """Return the width in pixels of a line of text."""
    face = cv2.FontFace("sans")
    _, _, width, _ = cv2.getTextSize((0, 0), _writable(text), (0, 0), face, size, weight)
    return width


def _writable(text: str) -> str:
    """Replace bytes of file names that are no UTF-8: OpenCV crashes on them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def write_words(
    picture: Rgb,
    text: str,
    origin: tuple[int, int],
    size: int,
    *,
    colour: Colour = INK,
    weight: int = 400,
) -> int:
    """Write a line of text into `picture`, in place; return its width.

    Parameters
    ----------
    picture : (H, W, 3) uint8, contiguous
    text : str
    origin : (x, y)
        Left end of the baseline.
    size : int
        Font size in pixels.
    colour : Colour
    weight : int
        400 regular, 600 semibold.
    """
    face = cv2.FontFace("sans")
    cv2.putText(picture, _writable(text), origin, colour, face, size, weight)
    return text_width(text, size, weight)


def draw_scale_bar(picture: Rgb, bar: ScaleBar, size: int) -> None:
    """Draw the bar in place on a dark plate at the lower left, its length above it.

    The bar is pure white and exactly `bar.length_px` long.
    """
    height, width = picture.shape[:2]
    pad, thickness = round(size * 0.7), max(3, round(size * 0.26))
    inner = max(bar.length_px, text_width(bar.text, size, 600))
    plate_width, plate_height = inner + 2 * pad, round(size * 1.25) + thickness + 2 * pad
    left, top = pad, height - pad - plate_height
    if left + plate_width > width or top < 0:
        return
    plate = picture[top : top + plate_height, left : left + plate_width]
    plate[:] = cv2.addWeighted(plate, 0.3, np.full_like(plate, INK), 0.7, 0)
    words_left = left + (plate_width - text_width(bar.text, size, 600)) // 2
    baseline = top + pad + round(size * 0.85)
    write_words(picture, bar.text, (words_left, baseline), size, colour=(245, 245, 245), weight=600)
    start, bottom = left + (plate_width - bar.length_px) // 2, top + plate_height - pad
    picture[bottom - thickness : bottom, start : start + bar.length_px] = 255


def draw_legend(
    width: int,
    size: int,
    entries: Sequence[tuple[str, Colour]],
    *,
    title: str = "",
    caution: str = "",
) -> Rgb:
    """Return a white strip with title, one colour chip per entry, and a caution at the right.

    Parameters
    ----------
    width : int
        Pixels; what does not fit goes to the next line, a title is cut off.
    size : int
        Font size in pixels.
    entries : sequence of (text, colour)
    title, caution : str

    Returns
    -------
    (H, width, 3) uint8
    """
    pad, small, step = size, round(size * 0.85), round(size * 1.7)
    caution_left = width - pad - text_width(caution, small)
    beside_title = bool(title) and 2 * pad + text_width(title, size, 600) <= caution_left
    widths = [round(2.8 * size) + text_width(text, size) for text, _ in entries]
    lines = _wrapped(widths, width - 2 * pad)
    rows = len(lines) + bool(title) + (not beside_title)
    strip = np.full((rows * step + pad, width, 3), 255, np.uint8)
    caution_y = step if beside_title else rows * step
    write_words(strip, caution, (caution_left, caution_y), small, colour=FAINT)
    if title:
        write_words(strip, _shortened(title, size, width - 2 * pad), (pad, step), size, weight=600)
    for row, line in enumerate(lines, start=1 + bool(title)):
        x = pad
        for index in line:
            _draw_entry(strip, entries[index], (x, row * step), size)
            x += widths[index]
    return strip


def _draw_entry(strip: Rgb, entry: tuple[str, Colour], origin: tuple[int, int], size: int) -> None:
    """Draw a chip in the class's colour, as it looks over a picture, and the text behind it."""
    (text, colour), (x, y), side = entry, origin, round(size * 0.8)
    corner, opposite = (x, y - side), (x + side - 1, y - 1)
    pale = [round(0.5 * channel + 127.5) for channel in colour]
    cv2.rectangle(strip, corner, opposite, pale, cv2.FILLED)
    cv2.rectangle(strip, corner, opposite, colour, max(1, round(size / 8)))
    write_words(strip, text, (x + side + size // 2, y), size)


def _wrapped(widths: Sequence[int], space: int) -> list[list[int]]:
    """Break items, by their indices, into lines that fit into `space`.

    >>> _wrapped([40, 40, 90, 10], 100)
    [[0, 1], [2, 3]]
    """
    lines: list[list[int]] = [[]]
    used = 0
    for index, width in enumerate(widths):
        if lines[-1] and used + width > space:
            lines.append([])
            used = 0
        lines[-1].append(index)
        used += width
    return lines


def _shortened(text: str, size: int, space: int) -> str:
    """Cut the end off a text that is too long for one line."""
    if text_width(text, size, 600) <= space:
        return text
    while text and text_width(text + "…", size, 600) > space:
        text = text[:-1]
    return text + "…"
