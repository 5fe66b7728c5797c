"""Regular grids of square tiles at any resolution."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import Field, model_validator

from slidemask.base.errors import GridError
from slidemask.base.settings import Settings
from slidemask.geometry.box import Box, Size
from slidemask.io.resolution import Downsample, LongestSide, Mpp, Power, Resolution, downsample_for
from slidemask.io.slide import Slide


class Tiling(Settings):
    """How a slide is cut: side, overlap, one of four resolutions, and what is seen around.

    Parameters
    ----------
    tile_px : int
        Tile side in pixels of the network's input.
    overlap : float
        Share of the tile's side that it has in common with the next, 0 to below 1.
    mpp, magnification, downsample, longest_side_px : float
        Exactly one of them: µm per pixel, objective power, level-0 pixels per pixel, or pixels
        of the rescaled slide's longer side.
    context : float, optional
        Above 1: the network also sees the tile's surroundings, `context` times as wide about the
        same centre and so many times coarser, in as many pixels; None: the tile alone.
    """

    tile_px: int = Field(default=512, ge=8, le=8192)
    overlap: float = Field(default=0.2, ge=0, lt=1)
    mpp: float | None = Field(default=None, gt=0)
    magnification: float | None = Field(default=None, gt=0)
    downsample: float | None = Field(default=None, gt=0)
    longest_side_px: int | None = Field(default=None, gt=0)
    context: float | None = Field(default=None, gt=1)

    @model_validator(mode="after")
    def _one_resolution(self) -> "Tiling":
        if len(self._given()) != 1:
            raise ValueError(
                "give exactly one of mpp, magnification, downsample, longest_side_px; "
                f"got {sorted(self._given()) or 'none'}"
            )
        return self

    @property
    def resolution(self) -> Resolution:
        """The one resolution that was given."""
        ((name, value),) = self._given().items()
        if name == "longest_side_px":
            return LongestSide(int(value))
        return {"mpp": Mpp, "magnification": Power, "downsample": Downsample}[name](value)

    @property
    def stride_px(self) -> int:
        """Step from tile to tile, at least one pixel."""
        return max(1, round(self.tile_px * (1 - self.overlap)))

    def _given(self) -> dict[str, float]:
        names = ("mpp", "magnification", "downsample", "longest_side_px")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class Tile(NamedTuple):
    """One cell of a grid."""

    number: int
    row: int
    column: int
    box: Box


@dataclass(frozen=True)
class TileGrid:
    """Square tiles that cover a slide; the last row and column may reach over its edge.

    Parameters
    ----------
    slide : Size
        Slide size, level-0 pixels.
    tile, stride : int
        Tile side and step, pixels of the network's input.
    downsample : float
        Level-0 pixels per input pixel; fractions are kept, so tiles never drift.
    context : float, optional
        How many times wider, and coarser, than the tile the view of its surroundings is.

    Raises
    ------
    GridError
        If a number is not positive, the stride leaves gaps, or the context is no wider than the
        tile.

    Examples
    --------
    >>> grid = TileGrid(Size(1000, 700), tile=256, stride=128, downsample=2.0)
    >>> len(grid), grid.shape, grid.canvas
    (6, (2, 3), Size(width=500, height=350))
    >>> grid[5].box
    Box(x=512.0, y=256.0, width=512.0, height=512.0)
    """

    slide: Size
    tile: int
    stride: int
    downsample: float = 1.0
    context: float | None = None

    def __post_init__(self) -> None:
        if min(self.slide) < 1 or self.tile < 1 or self.downsample <= 0:
            raise GridError(f"sizes must be positive, got {self}")
        if not 1 <= self.stride <= self.tile:
            raise GridError(
                f"stride must lie in 1..tile ({self.tile}), got {self.stride}; "
                "a larger stride would leave pixels that no tile sees"
            )
        if self.context is not None and self.context <= 1:
            raise GridError(f"context must be above 1, got {self.context}; leave it out for none")

    @property
    def canvas(self) -> Size:
        """Size of the whole slide in pixels of the network's input."""
        return self.slide.at(self.downsample)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return self._count(self.canvas.height), self._count(self.canvas.width)

    def __len__(self) -> int:
        rows, columns = self.shape
        return rows * columns

    def __getitem__(self, index: int) -> Tile:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row, column = divmod(index, self.shape[1])
        step, side = self.stride * self.downsample, self.tile * self.downsample
        return Tile(index, row, column, Box(column * step, row * step, side, side))

    def __iter__(self) -> Iterator[Tile]:
        for index in range(len(self)):
            yield self[index]

    def _count(self, length: int) -> int:
        return 1 + max(0, -(-(length - self.tile) // self.stride))


def lay_grid(slide: Slide, tiling: Tiling) -> TileGrid:
    """Lay the grid that `tiling` describes over `slide`."""
    downsample = downsample_for(slide, tiling.resolution)
    return TileGrid(slide.size, tiling.tile_px, tiling.stride_px, downsample, tiling.context)
