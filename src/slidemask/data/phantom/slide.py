"""A phantom as a slide that is painted when it is read."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from slidemask.base.types import Rgb
from slidemask.data.phantom.layout import Layout, lay_out
from slidemask.data.phantom.render import BLOCK, Painter
from slidemask.data.phantom.settings import PhantomSettings
from slidemask.data.phantom.stain import draw_stain
from slidemask.geometry.box import Box, Size
from slidemask.io.resample import Window, levels_of, resampled


@dataclass(frozen=True)
class PhantomSlide:
    """A synthetic slide; any box of it equals the same part of the whole.

    Parameters
    ----------
    settings : PhantomSettings
    seed : int
        Draws objects and textures.
    patient : int
        Draws the stain: slides of one patient look alike.

    Examples
    --------
    >>> slide = PhantomSlide(PhantomSettings(width_px=700, height_px=600, mpp=2.0), seed=1)
    >>> slide.read(Box(100, 50, 32, 16)).shape
    (16, 32, 3)
    """

    settings: PhantomSettings
    seed: int
    patient: int = 0

    def __reduce__(self) -> tuple[type, tuple[PhantomSettings, int, int]]:
        return type(self), (self.settings, self.seed, self.patient)

    @property
    def id(self) -> str:
        """Name that says what it is."""
        return f"phantom-{self.seed}"

    @property
    def size(self) -> Size:
        """Level-0 pixels."""
        return Size(self.settings.width_px, self.settings.height_px)

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel."""
        return self.settings.mpp

    @property
    def downsamples(self) -> tuple[float, ...]:
        """One level; `write_phantom` makes the pyramid."""
        return (1.0,)

    @cached_property
    def layout(self) -> Layout:
        """What stands where."""
        return lay_out(self.settings, self.seed)

    @cached_property
    def painter(self) -> Painter:
        """Paints blocks of `BLOCK` pixels."""
        stain = draw_stain(np.random.default_rng([self.patient, 1]))
        return Painter(self.layout, stain, self.seed, self.settings.dirt)

    def read(self, box: Box, downsample: float = 1.0) -> Rgb:
        """Read as `Slide.read` says."""
        return resampled(levels_of([self.size]), self._fetch, box, downsample)

    def _fetch(self, _level: int, window: Window) -> Rgb:
        x, y, width, height = window
        first_row, first_column = y // BLOCK, x // BLOCK
        rows = range(first_row, (y + height - 1) // BLOCK + 1)
        columns = range(first_column, (x + width - 1) // BLOCK + 1)
        blocks = [[self.painter.block(row, column) for column in columns] for row in rows]
        whole = np.concatenate([np.concatenate(line, axis=1) for line in blocks])
        top, left = y - first_row * BLOCK, x - first_column * BLOCK
        return whole[top : top + height, left : left + width]
