"""Entropy rails against tile size: from which size on tiles of the object look alike.

Frank (2022, rs-122564/v3) classifies tiles whose entropy lies between two rails, the least and the
greatest entropy of training tiles that hold the object. Below some tile size the rails spread
suddenly, and there classification collapses: such tiles hold too little to be told apart.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slidemask.base.errors import CohortError
from slidemask.data.case import Case
from slidemask.data.spread import Spread, diseased_entropies, spread_of
from slidemask.data.survey import Rules
from slidemask.recipes.recipe import Recipe
from slidemask.recipes.study.charts import INK, LINE, SOFT, TONES, new_figure, plain, save


def measure_rails(recipe: Recipe, cases: Sequence[Case], tile_px: int, *, most: int) -> Spread:
    """Read training tiles that hold the object and measure their entropy, as the recipe has it.

    Parameters
    ----------
    recipe : Recipe
        Its resolution, filters (but the rails), overlap and share from which a tile is positive.
    cases : sequence of Case
        The training part.
    tile_px : int
        Tile side.
    most : int
        Of more tiles so many are drawn by chance.

    Raises
    ------
    CohortError
        If no tile of this size holds the object.
    """
    rules = Rules(recipe.classes, recipe.tiling, recipe.filters, recipe.sampling)
    bits = diseased_entropies(cases, rules, tile_px, most=most)
    if not len(bits):
        raise CohortError(
            f"No training tile of {tile_px} px holds the object; lower sampling.min_positive_share."
        )
    return spread_of(bits, tile_px)


def draw_rails(rails: Sequence[Spread], path: Path) -> None:
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
