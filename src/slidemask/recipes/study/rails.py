"""Entropy rails against tile size: from which size on tiles of the object look alike.

Frank (2022, rs-122564/v3) classifies tiles whose entropy lies between two rails, the least and the
greatest entropy of training tiles that hold the object. Below some tile size the rails spread
suddenly, and there classification collapses: such tiles hold too little to be told apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import CohortError
from slidemask.base.progress import track
from slidemask.data.case import Case
from slidemask.data.shelf import Shelf
from slidemask.data.source import TileSource, lay_tiles
from slidemask.geometry.box import Box
from slidemask.recipes.recipe import Recipe
from slidemask.recipes.study.charts import INK, LINE, SOFT, TONES, new_figure, plain, save
from slidemask.tiles.entropy import entropy
from slidemask.tiles.reading import read_tile

JUMP = 1.5
"""A spread so many times that of the next larger size is a jump."""
FEWEST_TILES = 30
"""Fewer say too little of 1 % and 99 %."""


@dataclass(frozen=True)
class Rails:
    """Entropy of the training tiles that hold the object, at one tile size; bits.

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


def rails_of(entropies: NDArray[np.float64], tile_px: int) -> Rails:
    """Summarise the entropies of one tile size.

    >>> rails_of(np.array([5.0, 6.0, 7.0]), 256).spread
    2.0
    """
    low, median, high = np.percentile(entropies, [1, 50, 99]).tolist()
    least, greatest = float(entropies.min()), float(entropies.max())
    return Rails(tile_px, len(entropies), least, low, median, high, greatest)


def marked(rails: Sequence[Rails]) -> list[Rails]:
    """Mark where the spread jumps, from the largest size down.

    The distance from the 1 % to the 99 % point is looked at, since extremes lie the wider apart the
    more tiles there are. A size is marked when it is more than 1.5 times that of the next larger
    size that is not marked. Sizes of fewer than 30 tiles are passed over.

    Examples
    --------
    >>> sizes = {64: 4.0, 128: 3.9, 256: 1.1, 512: 1.0}
    >>> rails = [Rails(size, 99, 0, 0, 0, spread, 9) for size, spread in sizes.items()]
    >>> [(one.tile_px, one.jump) for one in marked(rails)]
    [(64, True), (128, True), (256, False), (512, False)]
    """
    result: list[Rails] = []
    calm: float | None = None
    for one in sorted(rails, key=lambda rails: -rails.tile_px):
        judged = one.tiles >= FEWEST_TILES
        jump = judged and calm is not None and one.inner > JUMP * calm
        calm = one.inner if judged and not jump else calm
        result.append(replace(one, jump=jump))
    return sorted(result, key=lambda rails: rails.tile_px)


def measure_rails(
    recipe: Recipe, cases: Sequence[Case], tile_px: int, *, most: int, seed: int = 0
) -> Rails:
    """Read training tiles that hold the object and measure their entropy.

    Parameters
    ----------
    recipe : Recipe
        Its resolution, filters, overlap and share from which a tile is positive.
    cases : sequence of Case
        The training part.
    tile_px : int
        Tile side.
    most : int
        Of more tiles so many are drawn by chance.
    seed : int
        Of that draw.

    Raises
    ------
    CohortError
        If no tile of this size holds the object.
    """
    tiling = recipe.tiling.model_copy(update={"tile_px": tile_px})
    # All tiles there are: neither those that rails have left, nor those that balancing has.
    filters = recipe.filters.model_copy(update={"rails": None})
    sampling = recipe.sampling.model_copy(update={"balance": "none"})
    source = lay_tiles(cases, recipe.classes, tiling=tiling, filters=filters, sampling=sampling)
    chosen = np.flatnonzero(source.table.is_positive(recipe.sampling))
    if not len(chosen):
        raise CohortError(
            f"No training tile of {tile_px} px holds the object; lower sampling.min_positive_share."
        )
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
    return rails_of(_entropies(source, chosen), tile_px)


def draw_rails(rails: Sequence[Rails], path: Path) -> None:
    """Draw the rails against tile size; sizes at which the spread has jumped are marked."""
    figure = new_figure(6.6, 3.8)
    axis = figure.subplots()
    plain(axis)
    places = np.arange(len(rails))
    low, high = [one.least for one in rails], [one.greatest for one in rails]
    axis.fill_between(places, low, high, color=LINE, lw=0)
    inner = [one.low for one in rails], [one.high for one in rails]
    axis.fill_between(places, *inner, color=TONES[0], alpha=0.28, lw=0)
    for values in (low, high):
        axis.plot(places, values, "o-", color=TONES[0], lw=1.6, ms=5)
    axis.plot(places, [one.median for one in rails], "--", color=INK, lw=1.2)
    for place, one in zip(places, rails, strict=True):
        if one.jump:
            axis.plot([place], [one.least], "o", ms=11, mfc="none", mec=TONES[4], mew=2)
    axis.set_xticks(places, [f"{one.tile_px}" for one in rails])
    axis.set_xlabel("tile side, pixels", color=SOFT)
    axis.set_ylabel("entropy, bits", color=SOFT)
    save(figure, path)


def _entropies(source: TileSource, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    shelf, table = Shelf(source.cases, source.classes), source.table
    found = np.empty(len(chosen))
    try:
        for place, number in enumerate(track(chosen.tolist(), "entropy", len(chosen), "tiles")):
            case = int(table.case[number])
            grid = source.grids[case]
            side = grid.tile * grid.downsample
            box = Box(float(table.x[number]), float(table.y[number]), side, side)
            found[place] = entropy(read_tile(shelf.get(case).slide, box, grid.downsample))
    finally:
        shelf.close()
    return found
