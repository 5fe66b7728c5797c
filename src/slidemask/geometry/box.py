"""Axis-aligned boxes in level-0 pixels, half open: [x, x + width) x [y, y + height)."""

from typing import NamedTuple


class Size(NamedTuple):
    """Width and height, always in this order."""

    width: int
    height: int

    def at(self, downsample: float) -> "Size":
        """Return the size of the image at `downsample`; a begun pixel counts.

        >>> Size(100, 51).at(2.0)
        Size(width=50, height=26)
        """
        return Size(_begun(self.width / downsample), _begun(self.height / downsample))


class Box(NamedTuple):
    """A rectangle of level-0 pixels; fractions are allowed where a grid asks for them.

    >>> Box(0, 0, 4, 4).intersect(Box(2, 3, 9, 9))
    Box(x=2, y=3, width=2, height=1)
    """

    x: float
    y: float
    width: float
    height: float

    def intersect(self, other: "Box") -> "Box":
        """Return the common part, of zero width or height where there is none."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        right = min(self.x + self.width, other.x + other.width)
        bottom = min(self.y + self.height, other.y + other.height)
        return Box(x, y, max(0, right - x), max(0, bottom - y))

    def shape_at(self, downsample: float) -> tuple[int, int]:
        """Return (rows, columns) of what reading this box at `downsample` gives.

        >>> Box(10.5, 0, 256.5, 100).shape_at(1.5)
        (67, 171)
        """
        return max(1, round(self.height / downsample)), max(1, round(self.width / downsample))

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices of an array that starts at (0, 0), rounded to whole pixels."""
        return (
            slice(round(self.y), round(self.y + self.height)),
            slice(round(self.x), round(self.x + self.width)),
        )


def _begun(length: float) -> int:
    """Round up, forgiving the last bits of a float division."""
    whole = round(length)
    return max(1, whole if abs(length - whole) < 1e-6 * max(1.0, length) else int(length) + 1)
