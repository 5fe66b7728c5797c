"""The tiles of a cohort's part: made once, then read in any order by any process."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slidemask.base.classes import ClassMap
from slidemask.base.errors import CohortError, SettingsError
from slidemask.data.balance import Balanced, choose_overlaps, trim
from slidemask.data.case import Case
from slidemask.data.sampling import Sampling, TileTable
from slidemask.data.survey import Rules, Survey, cut_by_class, survey
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import TileGrid, Tiling
from slidemask.tiles.rails import Rails, learn_rails

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TileSource:
    """Cases, the grid over each, and the tiles that may be drawn.

    Parameters
    ----------
    cases : tuple of Case
    grids : tuple of TileGrid
        One per case.
    classes : ClassMap
        What the labels mean.
    table : TileTable
        Candidates, by case and row.
    sampling : Sampling
        How epochs are drawn from them.
    rails : Rails, optional
        Between which their entropies lie, given or learned.
    rail_tiles : int
        Positive tiles from which rails were learned; 0 where they were given.
    balance : tuple of Balanced
        How the tiles of background and of each class were cut, where they were balanced.
    """

    cases: tuple[Case, ...]
    grids: tuple[TileGrid, ...]
    classes: ClassMap
    table: TileTable
    sampling: Sampling
    rails: Rails | None = None
    rail_tiles: int = 0
    balance: tuple[Balanced, ...] = ()


def lay_tiles(
    cases: Sequence[Case],
    classes: ClassMap,
    *,
    tiling: Tiling,
    filters: Filters | None = None,
    sampling: Sampling | None = None,
) -> TileSource:
    """Open every case, lay its grid, choose tiles and look up what is known of them.

    Rails that are to be learned are learned from these cases' positive tiles: give the training
    part, and for other parts the rails that came out. Pixels are read only where filters ask for
    them.

    Parameters
    ----------
    cases : sequence of Case
        One part of a cohort.
    classes : ClassMap
        What the annotations mean.
    tiling : Tiling
        Tile side, overlap, resolution.
    filters : Filters, optional
        Which tiles to keep; None keeps all.
    sampling : Sampling, optional
        How epochs are drawn, and whether classes are balanced.

    Raises
    ------
    CohortError
        If there is no case, or not one tile of which enough is known.
    SettingsError
        If rails are to be learned and no tile is positive, or slides of several tiles squeezed.
    SlideError, AnnotationError, ResolutionUnknownError
        If a case cannot be used.
    """
    sampling, filters = sampling or Sampling(), filters or Filters(tissue=None)
    rules = Rules(classes, tiling, filters, sampling)
    balanced = sampling.balance == "overlap"
    found = survey(cases, rules, sampling.overlaps if balanced else ())
    _require_tiles(found.table, cases)
    if sampling.squeeze:
        _require_one_tile(cases, found.grids)
    table, overlaps = _cut(cases, rules, found) if balanced else (found.table, [])
    rails, rail_tiles = _rails(table, rules)
    table = _within(table, rails)
    table, balance = _trimmed(table, rules, overlaps) if balanced else (table, ())
    _require_tiles(table, cases)
    positives = int(np.count_nonzero(table.is_positive(sampling)))
    log.info("%d cases, %d tiles, %d of them positive", len(cases), len(table), positives)
    return TileSource(
        tuple(cases), found.grids, classes, table, sampling, rails, rail_tiles, balance
    )


def _rails(table: TileTable, rules: Rules) -> tuple[Rails | None, int]:
    """Return the rails that are given, or those of the table's positive tiles; and their number."""
    rails = rules.filters.rails
    if rails != "learn":
        return rails, 0
    diseased = table.entropy[table.is_positive(rules.sampling)]
    return learn_rails(diseased), len(diseased)


def _within(table: TileTable, rails: Rails | None) -> TileTable:
    return table if rails is None else table.where(rails.within(table.entropy))


def _cut(cases: Sequence[Case], rules: Rules, found: Survey) -> tuple[TileTable, list[float]]:
    """Cut the tiles of each class with an overlap of its own; also return the overlaps.

    How many pass the filters at an overlap is estimated from how many did at the tiling's own.
    Rails that are learned may be wider once there are more tiles: then it is estimated anew.
    """
    before, table, overlaps = found.counts[:, -1], found.table, list[float]()
    for _ in range(2):
        passing = _within(found.table, _rails(table, rules)[0])
        after = np.bincount(passing.label, minlength=len(before))
        rates = np.divide(after, before, out=np.ones(len(before)), where=before > 0)
        expected = found.counts[:, :-1] * rates[:, None]
        chosen = choose_overlaps(expected, rules.sampling.tiles_per_class)
        if overlaps == (latest := [rules.sampling.overlaps[place] for place in chosen]):
            break
        table, overlaps = cut_by_class(cases, rules, latest), latest
    return table, overlaps


def _trimmed(
    table: TileTable, rules: Rules, overlaps: Sequence[float]
) -> tuple[TileTable, tuple[Balanced, ...]]:
    """Leave as many tiles of each class as of the rarest, and say how many those are."""
    names, sampling = rules.classes.names, rules.sampling
    counts = np.bincount(table.label, minlength=len(names))
    for name, count in zip(names, counts.tolist(), strict=True):
        if not count:
            log.warning("%s: no training tile passes the filters; the others are balanced", name)
    most = len(table) if sampling.tiles_per_class is None else sampling.tiles_per_class
    fewest = int(counts[counts > 0].min(initial=most))
    balance = tuple(
        Balanced(name, overlap, count, min(count, fewest))
        for name, overlap, count in zip(names, overlaps, counts.tolist(), strict=True)
    )
    log.info("balanced by overlap; %s", "; ".join(map(str, balance)))
    return trim(table, fewest, sampling.seed), balance


def _require_one_tile(cases: Sequence[Case], grids: Sequence[TileGrid]) -> None:
    for case, grid in zip(cases, grids, strict=True):
        if len(grid) > 1:
            raise SettingsError(
                f"sampling.squeeze wants one tile a slide, but {case.slide} gives {len(grid)} of "
                f"{grid.tile} px. Make tiling.longest_side_px equal to tiling.tile_px."
            )


def _require_tiles(table: TileTable, cases: Sequence[Case]) -> None:
    if not len(table):
        raise CohortError(
            f"{len(cases)} cases give no tile to learn from: either no tissue passes `filters`, or "
            "nothing is annotated. Look with `slidemask tissue`, and at `sampling."
            "max_unknown_share`."
        )
