"""What a slide is to the rest of the package."""

from typing import Protocol, runtime_checkable

from slidemask.base.types import Rgb
from slidemask.geometry.box import Box, Size


@runtime_checkable
class Slide(Protocol):
    """A readable image pyramid. Anything with these members is a slide."""

    @property
    def id(self) -> str:
        """Name that stays the same when the file moves."""
        ...

    @property
    def size(self) -> Size:
        """Level-0 pixels."""
        ...

    @property
    def mpp(self) -> float | None:
        """Micrometres per level-0 pixel, or None where nothing believable says."""
        ...

    @property
    def downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each stored level, finest first, starting with 1.0."""
        ...

    def read(self, box: Box, downsample: float = 1.0) -> Rgb:
        """Read `box`, which may have fractions, at `downsample`.

        Output pixel (row i, column j) covers level-0 x from box.x + j * downsample to
        box.x + (j + 1) * downsample, y alike; the shape is `box.shape_at(downsample)`. It is
        area-resampled from the nearest finer level; outside the slide it is white.
        """
        ...
