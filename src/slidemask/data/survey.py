"""What the slides of a cohort's part offer: tiles, how many at which overlap, what is known."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slidemask.base.classes import ClassMap
from slidemask.base.progress import track
from slidemask.data.case import Case
from slidemask.data.sampling import Sampling, TileTable, join, tabulate
from slidemask.data.shelf import OpenCase, open_case
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import TileGrid, Tiling, lay_grid
from slidemask.tiles.select import TileSet, judge, select
from slidemask.tiles.tissue import TissueMask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """What decides which tiles there are.

    Parameters
    ----------
    classes : ClassMap
        What the annotations mean.
    tiling : Tiling
        Tile side, overlap, resolution.
    filters : Filters
        Which tiles are kept; their rails are left to the caller.
    sampling : Sampling
        From which share on a tile is positive, and how much of it must be known.
    """

    classes: ClassMap
    tiling: Tiling
    filters: Filters
    sampling: Sampling

    def at(self, overlap: float) -> "Rules":
        """Return the same rules at another overlap."""
        return replace(self, tiling=self.tiling.model_copy(update={"overlap": overlap}))


class Survey(NamedTuple):
    """What was found."""

    grids: tuple[TileGrid, ...]
    """One per case."""
    table: TileTable
    """Tiles of which enough is known and that pass all filters but the rails."""
    counts: NDArray[np.int64]
    """(K + 1, overlaps): tiles of each label before any was read; the last is the tiling's own."""


def survey(cases: Sequence[Case], rules: Rules, overlaps: Sequence[float] = ()) -> Survey:
    """Open every case once, lay its grid, filter tiles and look up what is known of them.

    Where overlaps are given, count the tiles that tissue and truth leave at each of them.
    """
    grids: list[TileGrid] = []
    tables: list[TileTable] = []
    counts = np.zeros((len(rules.classes.names), len(overlaps) + 1), np.int64)
    for number, case in enumerate(track(cases, "looking at slides", len(cases), "slides")):
        with open_case(case, rules.classes) as opened:
            own, table = _candidates(number, opened, rules)
            for place, overlap in enumerate(overlaps):
                other = _candidates(number, opened, rules.at(overlap), tissue=own.tissue)
                counts[:, place] += _by_label(*other, len(counts))
            counts[:, -1] += _by_label(own, table, len(counts))
            grids.append(own.grid)
            tables.append(_judged(opened, own, table, rules))
        if not len(tables[-1]):
            log.warning("%s: no tile passes the filters with known pixels in it", case.slide)
    return Survey(tuple(grids), join(tables) if tables else _NOTHING, counts)


def cut_by_class(cases: Sequence[Case], rules: Rules, overlaps: Sequence[float]) -> TileTable:
    """List the tiles of each label at the overlap that is given for it, filtered but by rails.

    Parameters
    ----------
    cases : sequence of Case
    rules : Rules
    overlaps : sequence of K + 1 floats
        Of background, then of each class.
    """
    tables: list[TileTable] = []
    for number, case in enumerate(track(cases, "cutting tiles", len(cases), "slides")):
        tissue: TissueMask | None = None
        with open_case(case, rules.classes) as opened:
            for overlap in sorted(set(overlaps)):
                labels = [label for label, own in enumerate(overlaps) if own == overlap]
                tiles, table = _candidates(
                    number, opened, rules.at(overlap), tissue=tissue, labels=labels
                )
                tissue = tiles.tissue
                tables.append(_judged(opened, tiles, table, rules))
    return join(tables)


def _candidates(
    number: int,
    opened: OpenCase,
    rules: Rules,
    *,
    tissue: TissueMask | None = None,
    labels: Collection[int] | None = None,
) -> tuple[TileSet, TileTable]:
    """Return the tiles that tissue and truth leave, and the table of the whole grid."""
    grid = lay_grid(opened.slide, rules.tiling)
    tiles = select(opened.slide, grid, rules.filters, tissue=tissue)
    classes = len(rules.classes.classes)
    table = tabulate(number, grid, opened.truth, rules.sampling, classes=classes)
    wanted = table.is_known(rules.sampling)
    if labels is not None:
        wanted &= np.isin(table.label, list(labels))
    return replace(tiles, kept=tiles.kept & wanted.reshape(grid.shape)), table


def _judged(opened: OpenCase, tiles: TileSet, table: TileTable, rules: Rules) -> TileTable:
    """Return the tiles that pass the rules on pixels too, with their entropies."""
    tiles = judge(opened.slide, tiles, rules.filters)
    if "entropy" in tiles.columns:
        table = replace(table, entropy=tiles.columns["entropy"].ravel())
    return table.where(tiles.kept.ravel())


def _by_label(tiles: TileSet, table: TileTable, labels: int) -> NDArray[np.int64]:
    return np.bincount(table.label[tiles.kept.ravel()], minlength=labels)


_NOTHING = TileTable(
    *(np.empty(0, kind) for kind in ("i4", "f8", "f8", "f4", "f4", "u1", "i4", "f8"))
)
