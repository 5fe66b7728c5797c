"""A photo with its halves: what wants a small picture of it need not go over all of its pixels."""

from dataclasses import dataclass

import cv2
import numpy as np

from slidemask.base.types import Rgb

_SMALLEST_PX = 1000
"""Longer side of the smallest half."""


@dataclass(frozen=True, eq=False)
class Halves:
    """A photo, and each picture half as wide and high as the one before.

    Parameters
    ----------
    levels : tuple of (h, w, 3) uint8
        A pixel of each is the mean of four of the one before; the first is the photo.
    """

    levels: tuple[Rgb, ...]

    @classmethod
    def of(cls, photo: "Rgb | Halves") -> "Halves":
        """Make the halves of a photo; one that has them is given back.

        All hold the same: of a photo with an odd side the last row or column is left out, and a
        half with an odd side has no half of its own.

        Examples
        --------
        >>> [level.shape[:2] for level in Halves.of(np.zeros((3001, 4002, 3), np.uint8)).levels]
        [(3000, 4002), (1500, 2001)]
        """
        if isinstance(photo, Halves):
            return photo
        levels = [photo]
        if max(photo.shape) >= 2 * _SMALLEST_PX:
            levels = [photo[: photo.shape[0] // 2 * 2, : photo.shape[1] // 2 * 2]]
        while max(levels[-1].shape) >= 2 * _SMALLEST_PX:
            height, width = levels[-1].shape[:2]
            if height % 2 or width % 2:
                break
            half = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            levels.append(np.asarray(half, np.uint8))
        return cls(tuple(levels))

    @property
    def photo(self) -> Rgb:
        """At its full size."""
        return self.levels[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the photo."""
        height, width = self.photo.shape[:2]
        return width, height

    def shrunk(self, ratio: float) -> tuple[Rgb, int]:
        """Return the smallest level that is no smaller than `ratio` of the photo, and its number.

        >>> Halves.of(np.zeros((2000, 4000, 3), np.uint8)).shrunk(0.3)[1]
        1
        """
        number = 0
        while number + 1 < len(self.levels) and ratio * 2 ** (number + 1) <= 1:
            number += 1
        return self.levels[number], number

    def part(self, left: int, top: int, right: int, bottom: int) -> tuple["Halves", int, int]:
        """Return the part within a box, with its halves, and the x and y where it begins.

        It is a little larger where whole pixels of the smallest level want it.
        """
        step = 2 ** (len(self.levels) - 1)
        left, top = left // step, top // step
        right, bottom = -(-right // step), -(-bottom // step)
        parts = []
        for number, level in enumerate(self.levels):
            by = step >> number
            parts.append(level[top * by : bottom * by, left * by : right * by])
        return Halves(tuple(parts)), left * step, top * step
