"""A predicted slide on disk, which reads like a slide."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slidemask.base.types import Probs, Quantised
from slidemask.geometry.box import Box, Size
from slidemask.infer.store import BandStore


@dataclass(frozen=True)
class Prediction:
    """Probabilities of every class for every pixel of the canvas.

    Parameters
    ----------
    store : BandStore
        Where they are.
    names : tuple of str
        Class names, background first.
    slide : Size
        Level-0 pixels of the slide.
    downsample : float
        Level-0 pixels per canvas pixel.
    positive : tuple of int, optional
        Positive tiles of each foreground class, from a network that votes.
    batch : int, optional
        Tiles a forward pass, at the end; None where none was needed any more.
    notes : tuple of str
        What had to be done otherwise than asked for.
    """

    store: BandStore
    names: tuple[str, ...]
    slide: Size
    downsample: float
    positive: tuple[int, ...] | None = None
    batch: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def canvas(self) -> Size:
        """Width and height of the map."""
        return Size(self.store.shape[2], self.store.shape[1])

    @property
    def size(self) -> Size:
        """Width and height of the map, as of everything that is read by rows."""
        return self.canvas

    def rows(self, top: int, height: int) -> Quantised:
        """Return (K, height, width) uint8 from row `top` on, all inside the map."""
        if not 0 <= top <= top + height <= self.canvas.height:
            raise ValueError(f"rows {top} to {top + height} are not inside {self.canvas}")
        result = np.empty((self.store.shape[0], height, self.canvas.width), np.uint8)
        for start, band in self.store.bands(top, top + height):
            first, last = max(top, start), min(top + height, start + band.shape[1])
            result[:, first - top : last - top] = band[:, first - start : last - start]
        return result

    def bands(self) -> Iterator[tuple[int, Quantised]]:
        """Yield (top row, (K, rows, width) uint8) from the top down; may be called again."""
        return self.store.bands()

    def read(self, box: Box, downsample: float) -> Probs:
        """Read probabilities in `box` (level-0 px), nearest canvas pixel; outside is background.

        Returns
        -------
        (K + 1, H, W) float32
            Background first; the shape is `box.shape_at(downsample)`.
        """
        height, width = box.shape_at(downsample)
        rows = _centres(box.y, height, downsample, self.downsample)
        columns = _centres(box.x, width, downsample, self.downsample)
        inside = (columns >= 0) & (columns < self.canvas.width)
        result = np.zeros((len(self.names), height, width), np.float32)
        for top, band in self.store.bands(max(0, rows[0]), rows[-1] + 1):
            here = (rows >= top) & (rows < top + band.shape[1])
            part = band[:, rows[here] - top][:, :, columns[inside]]
            result[1:, np.flatnonzero(here)[:, None], np.flatnonzero(inside)] = part / np.float32(
                255
            )
        result[0] = 1 - result[1:].sum(axis=0)
        return result


def _centres(start: float, count: int, downsample: float, canvas: float) -> np.ndarray:
    """Canvas indices of the centres of `count` pixels."""
    return np.floor((start + (np.arange(count) + 0.5) * downsample) / canvas).astype(np.int64)
