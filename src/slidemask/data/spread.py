"""How far apart the rails lie at a tile size, and whether tiles are too small for them.

In Frank (2022, rs-122564/v3) the rails spread suddenly below some tile size, and there
classification collapses: such tiles hold too little to be told apart.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
from slidemask.tiles.rails import Rails
from slidemask.tiles.reading import read_tile

JUMP = 1.5
"""A spread so many times that of the next larger size is a jump."""
LARGER = (1.0, 1.5, 2.0)
"""Sizes that are compared, times the tile's."""
FEWEST, MOST = 30, 1000
"""Tiles of a size: fewer say too little of 1 % and 99 %, more say nothing new."""


@dataclass(frozen=True)
class Spread:
    """Entropy of the tiles that hold the object, at one tile size; bits.

    Parameters
    ----------
    tile_px : int
    tiles : int
        How many were read.
    least, low, median, high, greatest : float
        Minimum, 1 %, 50 %, 99 % and maximum.
    jump : bool
        Whether the spread has jumped: tiles are too small.
    """

    tile_px: int
    tiles: int
    least: float
    low: float
    median: float
    high: float
    greatest: float
    jump: bool = False

    @property
    def spread(self) -> float:
        """Distance between the rails."""
        return self.greatest - self.least

    @property
    def inner(self) -> float:
        """Distance of the 1 % and the 99 % point, which does not grow with the number of tiles."""
        return self.high - self.low


def spread_of(entropies: NDArray[np.float64], tile_px: int) -> Spread:
    """Summarise the entropies of one tile size.

    >>> spread_of(np.array([5.0, 6.0, 7.0]), 256).spread
    2.0
    """
    low, median, high = np.percentile(entropies, [1, 50, 99]).tolist()
    least, greatest = float(entropies.min()), float(entropies.max())
    return Spread(tile_px, len(entropies), least, low, median, high, greatest)


def marked(spreads: Sequence[Spread]) -> list[Spread]:
    """Mark where the spread jumps, from the largest size down; return them by size.

    The distance from the 1 % to the 99 % point is looked at, since extremes lie the wider apart the
    more tiles there are. A size is marked when it is more than 1.5 times that of the next larger
    size that is not marked. Sizes of fewer than 30 tiles are passed over.

    Examples
    --------
    >>> sizes = {64: 4.0, 128: 3.9, 256: 1.1, 512: 1.0}
    >>> spreads = [Spread(size, 99, 0, 0, 0, inner, 9) for size, inner in sizes.items()]
    >>> [(one.tile_px, one.jump) for one in marked(spreads)]
    [(64, True), (128, True), (256, False), (512, False)]
    """
    result: list[Spread] = []
    calm: float | None = None
    for one in sorted(spreads, key=lambda one: -one.tile_px):
        judged = one.tiles >= FEWEST
        jump = judged and calm is not None and one.inner > JUMP * calm
        calm = one.inner if judged and not jump else calm
        result.append(replace(one, jump=jump))
    return result[::-1]


@dataclass(frozen=True)
class Learned:
    """Rails, how they came about and what is to be thought of them.

    Parameters
    ----------
    rails : Rails
    tiles : int
        Training tiles of the object from which they were learned.
    spreads : tuple of Spread
        By size, that of the rails first, as `marked` returns them.
    """

    rails: Rails
    tiles: int
    spreads: tuple[Spread, ...] = ()

    @property
    def jump(self) -> bool:
        """Whether the spread at the rails' own size has jumped."""
        return any(one.jump for one in self.spreads[:1])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a bundle's provenance."""
        return {
            "low": self.rails.low,
            "high": self.rails.high,
            "spread": self.rails.spread,
            "tiles": self.tiles,
            "sizes": [asdict(one) for one in self.spreads],
            "jump": self.jump,
            "in_words": str(self),
        }

    def __str__(self) -> str:
        text = (
            f"Rails {self.rails.low:.3f} and {self.rails.high:.3f} bits, {self.rails.spread:.3f} "
            f"apart, learned from {self.tiles} tiles"
        )
        if len(self.spreads) < 2:
            return f"{text}; too few tiles of larger sizes to compare the spread with."
        sizes = ", ".join(f"{one.inner:.3f} at {one.tile_px} px" for one in self.spreads)
        text = f"{text}; from the 1 % to the 99 % point {sizes}."
        if not self.jump:
            return text
        return (
            f"{text} The entropies of {self.spreads[0].tile_px} px tiles spread much further than "
            "those of larger ones: they may hold too little to be told apart; try a larger "
            "tiling.tile_px."
        )


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
    spreads = []
    for factor in LARGER:
        tile_px = round(rules.tiling.tile_px * factor)
        bits = diseased_entropies(cases, rules, tile_px, most=MOST)
        if len(bits) >= FEWEST:
            spreads.append(spread_of(bits, tile_px))
    own = bool(spreads) and spreads[0].tile_px == rules.tiling.tile_px
    return Learned(rails, tiles, tuple(marked(spreads)) if own else ())


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
