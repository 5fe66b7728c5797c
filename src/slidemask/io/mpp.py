"""Which of a slide's pixel sizes to believe.

The caller's comes first, then the file's own, then its objective power (10 / power, which
`open_slide` logs as a warning). Nothing is guessed: where none is believable the slide has no
pixel size, and a reason.
"""

from typing import NamedTuple

from slidemask.base.errors import SettingsError

LOWEST, HIGHEST = 0.05, 100.0
"""Micrometres per pixel between which a microscope or a slide scanner works."""

HIGHEST_FROM_TAGS = 20.0
"""TIFF resolution tags coarser than this, 1270 dpi, are a screen's or a printer's."""

_SQUARE = 0.02


class PixelSize(NamedTuple):
    """Micrometres per level-0 pixel, or None, and where that comes from or why not."""

    mpp: float | None
    reason: str
    assumed: bool = False


NOTHING = PixelSize(None, "the file names none")


def judged(x: float, y: float, source: str, highest: float = HIGHEST) -> PixelSize:
    """Return the pixel size if both axes are believable.

    >>> judged(0.25, 0.2501, "tags").mpp
    0.25005
    >>> judged(0.25, 0.3, "tags")
    PixelSize(mpp=None, reason='tags says 0.25 by 0.3 µm, ...', assumed=False)
    """
    said = f"{source} says {x:.6g} by {y:.6g} µm"
    if not (LOWEST <= x <= highest and LOWEST <= y <= highest):  # also where one is NaN
        return PixelSize(None, f"{said}, but {LOWEST:g} to {highest:g} µm are believable")
    if abs(x - y) > _SQUARE * min(x, y):
        return PixelSize(None, f"{said}, but pixels should be square within 2 %")
    return PixelSize((x + y) / 2, source)


def from_power(power: float) -> PixelSize:
    """Return 10 / power, the usual sampling of an objective, marked as assumed.

    >>> from_power(20).mpp
    0.5
    """
    if not power > 0:
        return PixelSize(None, f"objective power {power:g} is impossible")
    size = judged(10 / power, 10 / power, f"objective power {power:g}")
    return size._replace(assumed=size.mpp is not None)


def given(mpp: float) -> PixelSize:
    """Return the caller's own pixel size.

    Raises
    ------
    SettingsError
        If it is not between 0.05 and 100.
    """
    if not LOWEST <= mpp <= HIGHEST:
        raise SettingsError(
            f"mpp must lie in {LOWEST:g} to {HIGHEST:g} µm per level-0 pixel, got {mpp}"
        )
    return PixelSize(float(mpp), "given by the caller")
