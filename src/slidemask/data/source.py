"""The tiles of a cohort's part: made once, then read in any order by any process."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slidemask.base.classes import ClassMap
from slidemask.base.errors import CohortError
from slidemask.base.progress import track
from slidemask.data.case import Case
from slidemask.data.sampling import Sampling, TileTable, join, tabulate
from slidemask.data.shelf import open_case
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import TileGrid, Tiling, lay_grid
from slidemask.tiles.select import select

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
    """

    cases: tuple[Case, ...]
    grids: tuple[TileGrid, ...]
    classes: ClassMap
    table: TileTable
    sampling: Sampling


def lay_tiles(
    cases: Sequence[Case],
    classes: ClassMap,
    *,
    tiling: Tiling,
    filters: Filters | None = None,
    sampling: Sampling | None = None,
) -> TileSource:
    """Open every case once, lay its grid, choose tiles and look up what is known of them.

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
        How epochs are drawn.

    Raises
    ------
    CohortError
        If there is no case, or not one tile of which enough is known.
    SlideError, AnnotationError, ResolutionUnknownError
        If a case cannot be used.
    """
    sampling, filters = sampling or Sampling(), filters or Filters(tissue=None)
    grids: list[TileGrid] = []
    tables: list[TileTable] = []
    for number, case in enumerate(track(cases, "looking at slides", len(cases), "slides")):
        with open_case(case, classes) as (slide, truth):
            grids.append(lay_grid(slide, tiling))
            tables.append(tabulate(number, select(slide, grids[-1], filters), truth, sampling))
        if not len(tables[-1]):
            log.warning("%s: no tile passes the filters with known pixels in it", case.slide)
    if not sum(map(len, tables)):
        raise CohortError(
            f"{len(cases)} cases give no tile to learn from: either no tissue passes `filters`, or "
            "nothing is annotated. Look with `slidemask tissue`, and at `sampling."
            "max_unknown_share`."
        )
    source = TileSource(tuple(cases), tuple(grids), classes, join(tables), sampling)
    positives = int(np.count_nonzero(source.table.is_positive(sampling)))
    log.info("%d cases, %d tiles, %d of them positive", len(cases), len(source.table), positives)
    return source
