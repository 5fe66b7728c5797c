"""How far apart the rails lie at a tile size, and whether tiles are too small for them.

In Frank (2022, rs-122564/v3) the rails spread suddenly below some tile size, and there
classification collapses: such tiles hold too little to be told apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidemask.base.progress import track
from slidemask.data.case import Case
from slidemask.data.sampling import TileTable
from slidemask.data.shelf import Shelf
from slidemask.data.survey import Rules, survey
from slidemask.geometry.box import Box
from slidemask.tiles.filters import Filters, judge_pixels
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.rails import Rails, learn_rails
from slidemask.tiles.reading import read_tile

JUMP = 1.5
"""A spread so many times that of the next larger size is a jump."""
LARGER = (1.0, 1.5, 2.0)
"""Sizes that are compared, times the tile's."""
FEWEST, MOST = 20, 1000
"""Tiles of a size: fewer say nothing, more nothing new."""


@dataclass(frozen=True)
class Spread:
    """The rails of some diseased tiles of one size.

    Parameters
    ----------
    tile_px : int
    tiles : int
        How many were read.
    low, high : float
        Their least and greatest entropy, bits.
    """

    tile_px: int
    tiles: int
    low: float
    high: float

    @property
    def bits(self) -> float:
        """Distance of the rails."""
        return self.high - self.low


@dataclass(frozen=True)
class Learned:
    """Rails, how they came about and what is to be thought of them.

    Parameters
    ----------
    rails : Rails
    tiles : int
        Training tiles of the object from which they were learned.
    spreads : tuple of Spread
        By size, that of the rails first: of equally many tiles each, since more spread further.
    """

    rails: Rails
    tiles: int
    spreads: tuple[Spread, ...] = ()

    @property
    def jump(self) -> bool:
        """Whether the spread at the smallest size jumps against the next that does not."""
        calm, jump = np.inf, False
        for one in sorted(self.spreads, key=lambda one: -one.tile_px):
            jump = one.bits > JUMP * calm
            calm = calm if jump else one.bits
        return jump

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a bundle's provenance."""
        sizes = [
            {"tile_px": one.tile_px, "tiles": one.tiles, "low": one.low, "high": one.high}
            for one in self.spreads
        ]
        return {
            "low": self.rails.low,
            "high": self.rails.high,
            "spread": self.rails.spread,
            "tiles": self.tiles,
            "sizes": sizes,
            "jump": self.jump,
        }

    def __str__(self) -> str:
        text = (
            f"rails {self.rails.low:.3f} and {self.rails.high:.3f} bits, {self.rails.spread:.3f} "
            f"apart, learned from {self.tiles} tiles"
        )
        if len(self.spreads) < 2:
            return f"{text}; too few tiles of larger sizes to compare the spread with"
        sizes = ", ".join(f"{one.bits:.3f} at {one.tile_px} px" for one in self.spreads)
        return f"{text}; spread of {self.spreads[0].tiles} tiles of each size: {sizes} bits"


def learned_rails(cases: Sequence[Case], rules: Rules, rails: Rails, tiles: int) -> Learned:
    """Compare the rails' spread with that at larger tile sizes.

    Parameters
    ----------
    cases : sequence of Case
        The training part.
    rules : Rules
        By which its tiles were laid.
    rails : Rails
        What was learned from them.
    tiles : int
        From how many.
    """
    found: dict[int, NDArray[np.float64]] = {}
    for factor in LARGER:
        tile_px = round(rules.tiling.tile_px * factor)
        bits = diseased_entropies(cases, rules, tile_px, most=MOST)
        if len(bits) >= FEWEST:
            found[tile_px] = bits
    count = min(map(len, found.values()), default=0)
    spreads = tuple(_spread(tile_px, bits[:count]) for tile_px, bits in found.items())
    own = rules.tiling.tile_px in found
    return Learned(rails, tiles, spreads if own else ())


def diseased_entropies(
    cases: Sequence[Case], rules: Rules, tile_px: int, *, most: int
) -> NDArray[np.float64]:
    """Return the entropies of positive tiles of a size that lie inside their slides, in bits.

    They pass the rules' filters on pixels but the rails. Of more than `most` some are drawn by
    chance, and they come in an order by chance, so that any first few are a sample.
    """
    tiling = rules.tiling.model_copy(update={"tile_px": tile_px})
    tissue_alone = Filters(
        tissue=rules.filters.tissue, min_tissue_share=rules.filters.min_tissue_share
    )
    grids, table, _ = survey(cases, replace(rules, tiling=tiling, filters=tissue_alone))
    chosen = np.flatnonzero(table.is_positive(rules.sampling) & _inside(table, grids))
    chosen = np.random.default_rng(rules.sampling.seed).permutation(chosen)[:most]
    bits = np.full(len(chosen), np.nan)
    shelf = Shelf(tuple(cases), rules.classes)
    wanted = rules.filters.model_copy(update={"rails": "learn"})
    try:
        # By case, so that no slide is opened twice.
        order = np.argsort(table.case[chosen], kind="stable").tolist()
        for place in track(order, f"entropy at {tile_px} px", len(order), "tiles"):
            number = int(chosen[place])
            grid = grids[table.case[number]]
            side = grid.tile * grid.downsample
            box = Box(float(table.x[number]), float(table.y[number]), side, side)
            slide = shelf.get(int(table.case[number])).slide
            kept, entropy = judge_pixels(read_tile(slide, box, grid.downsample), wanted)
            bits[place] = entropy if kept else np.nan
    finally:
        shelf.close()
    return bits[np.isfinite(bits)]


def _inside(table: TileTable, grids: Sequence[TileGrid]) -> NDArray[np.bool_]:
    """Return which tiles lie inside their slides: beyond the edge there are but mirrored pixels."""
    sides = np.array([grid.tile * grid.downsample for grid in grids])[table.case]
    sizes = np.array([grid.slide for grid in grids])[table.case]
    slack = np.array([grid.downsample for grid in grids])[table.case]
    return (table.x + sides <= sizes[:, 0] + slack) & (table.y + sides <= sizes[:, 1] + slack)


def _spread(tile_px: int, bits: NDArray[np.float64]) -> Spread:
    rails = learn_rails(bits)
    return Spread(tile_px, len(bits), rails.low, rails.high)
