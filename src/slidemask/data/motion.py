"""Random flips, turns and affine maps of a tile, read so that no corner is missing."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import IGNORE, Labels, Rgb
from slidemask.geometry.box import Box

_UNKNOWN = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (IGNORE,)}


@dataclass(frozen=True, eq=False)
class Motion:
    """Where each pixel of a moved tile comes from.

    First the affine map, then the flip, then the quarter turns.

    Parameters
    ----------
    side : int
        Tile side, pixels.
    matrix : (2, 2) float, optional
        From an offset (x, y) from the moved tile's centre to one from the tile's centre; None is
        no affine map.
    shift : (2,) float
        Added to the latter.
    flip : bool
        Mirrored left to right.
    turns : int
        Quarter turns, counter-clockwise.
    """

    side: int
    matrix: NDArray[np.float64] | None = None
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False
    turns: int = 0

    @property
    def window(self) -> Box:
        """What to read, in tile pixels from the tile's corner, so that all corners are real."""
        if self.matrix is None:
            return Box(0, 0, self.side, self.side)
        reach = np.abs(self.matrix).sum(axis=1) * self.side / 2 + 1  # 1 px for interpolation
        centre = self.side / 2 + np.array(self.shift)
        low, high = np.floor(centre - reach), np.ceil(centre + reach)
        return Box(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))

    def apply(self, image: Rgb, labels: Labels) -> tuple[Rgb, Labels]:
        """Move the pixels and labels of `window`; return those of the tile.

        The image is interpolated linearly, labels are taken from the nearest pixel. Where the
        window does not reach (it always does by itself) the image is mirrored and labels are 255.
        """
        return self.apply_to_image(image), self._moved(labels, cv2.INTER_NEAREST, _UNKNOWN)

    def apply_to_image(self, image: Rgb) -> Rgb:
        """Move the pixels of `window`; return those of the tile."""
        return self._moved(image, cv2.INTER_LINEAR, {"borderMode": cv2.BORDER_REFLECT})

    def coarser(self, factor: float) -> "Motion":
        """Return the same motion about the same centre, of pixels `factor` times as large."""
        return replace(self, shift=(self.shift[0] / factor, self.shift[1] / factor))

    def squeezed(self, width: float, height: float) -> "Motion":
        """Return the same motion of a tile into which `width` × `height` pixels are squeezed.

        They lie at the tile's top left corner and come to fill it, whatever their shape, before
        they are moved.

        >>> Motion(8).squeezed(8, 4).window  # the upper half, and a pixel for interpolation
        Box(x=-1, y=-1, width=10, height=6)
        """
        size = np.array([width, height])
        matrix = np.eye(2) if self.matrix is None else self.matrix
        x, y = size / self.side * self.shift + (size - self.side) / 2
        return replace(self, matrix=size[:, None] / self.side * matrix, shift=(float(x), float(y)))

    def _moved(
        self, pixels: NDArray[np.uint8], interpolation: int, border: dict[str, Any]
    ) -> NDArray[np.uint8]:
        if self.matrix is not None:
            size, how = (self.side, self.side), interpolation | cv2.WARP_INVERSE_MAP
            moved = cv2.warpAffine(pixels, self._source(self.matrix), size, flags=how, **border)
            pixels = np.asarray(moved, np.uint8)
        if self.flip:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, self.turns))

    def _source(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the map from pixel indices of the moved tile to those of the window."""
        window = self.window
        half = 0.5 - self.side / 2  # from a pixel's index to its centre's offset
        offset = matrix @ (half, half) + self.shift - half - (window.x, window.y)
        return np.column_stack([matrix, offset])
