"""A mask that is made band by band and read once, from the top down."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Labels
from slidemask.geometry.box import Size


class ForwardRows:
    """Bands of labels, read by rows as `score_slide` reads them: never back above what was read.

    Nothing is written to disk and no more bands are held than the rows that are asked for.

    Parameters
    ----------
    bands : iterator of (top row, (h, W) uint8)
        Top to bottom, without gaps.
    size : Size
        Of the whole map.
    names : tuple of str
        Class names by index, background first.

    Examples
    --------
    >>> bands = [(0, np.zeros((2, 3), np.uint8)), (2, np.ones((2, 3), np.uint8))]
    >>> mask = ForwardRows(iter(bands), Size(3, 4), ("background", "a"))
    >>> mask.rows(1, 2).tolist(), mask.areas()
    ([[0, 0, 0], [1, 1, 1]], {'a': 6})
    """

    def __init__(
        self, bands: Iterator[tuple[int, Labels]], size: Size, names: tuple[str, ...]
    ) -> None:
        self.size: Final = size
        self.names: Final = names
        self._bands = bands
        self._held: list[tuple[int, Labels]] = []
        self._counts = np.zeros(len(names), np.int64)

    def rows(self, top: int, height: int) -> Labels:
        """Return (height, width) from row `top` on; what lies above is forgotten.

        Raises
        ------
        ValueError
            If rows are asked for that are forgotten or below the map.
        """
        self._forget(top)
        while (not self._held or self._bottom < top + height) and self._take():
            self._forget(top)
        if not self._held or self._held[0][0] > top or self._bottom < top + height:
            raise ValueError(f"rows {top} to {top + height} are not there any more, or not yet")
        first = self._held[0][0]
        rows = np.concatenate([band for _, band in self._held])
        return rows[top - first : top - first + height]

    def areas(self) -> dict[str, int]:
        """Return the pixels of each foreground class; reads what is left."""
        while self._take():
            self._held.clear()
        return dict(zip(self.names[1:], self._counts[1:].tolist(), strict=True))

    @property
    def _bottom(self) -> int:
        top, band = self._held[-1]
        return top + len(band)

    def _forget(self, top: int) -> None:
        self._held = [(at, band) for at, band in self._held if at + len(band) > top]

    def _take(self) -> bool:
        found = next(self._bands, None)
        if found is None:
            return False
        self._counts += _count(found[1], len(self._counts))
        self._held.append(found)
        return True


def _count(band: Labels, classes: int) -> NDArray[np.int64]:
    return np.array([np.count_nonzero(band == index) for index in range(classes)], np.int64)
