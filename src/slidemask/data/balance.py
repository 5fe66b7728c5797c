"""As many tiles of one class as of the other: each cut with an overlap of its own.

Frank (2022, rs-122564/v3) tiles tumour and the rest of each slide separately, tumour with the
larger overlap, so that there are equally many tiles, and trims the larger class at random.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidemask.data.sampling import TileTable


@dataclass(frozen=True)
class Balanced:
    """How the tiles of one class were cut.

    Parameters
    ----------
    name : str
        Of the class, or "background" for tiles that hold too little of any.
    overlap : float
        Share of a tile's side that it has in common with the next.
    found, taken : int
        Tiles that passed all filters, and those that were left after trimming.
    """

    name: str
    overlap: float
    found: int
    taken: int

    def __str__(self) -> str:
        return f"{self.name}: overlap {self.overlap:.0%}, {self.taken} of {self.found} tiles"


def choose_overlaps(
    counts: NDArray[np.floating] | NDArray[np.integer], most: int | None = None
) -> NDArray[np.intp]:
    """Return for each class the least overlap that gives enough tiles.

    Enough is what the rarest class gives at the overlap where it gives most, or `most` where that
    is less: so the counts match, and no class is cut finer than it must be.

    Parameters
    ----------
    counts : (classes, overlaps) float
        Tiles to be expected, overlaps rising. A class without any tile is left out of account.
    most : int, optional
        Tiles of a class that are enough in any case.

    Examples
    --------
    >>> choose_overlaps(np.array([[40, 160, 640, 4000], [2, 9, 34, 210]])).tolist()
    [2, 3]
    >>> choose_overlaps(np.array([[40, 160, 640, 4000], [2, 9, 34, 210]]), most=30).tolist()
    [0, 2]
    """
    best = counts.max(axis=1).astype(np.float64)
    enough = best[best > 0].min(initial=np.inf if most is None else most)
    return np.argmax(counts >= np.minimum(enough, best)[:, None], axis=1)


def trim(table: TileTable, count: int, seed: int) -> TileTable:
    """Leave at most `count` tiles of each label, drawn by chance, in the order they had."""
    wanted = np.zeros(len(table), bool)
    for label in np.unique(table.label).tolist():
        of_label = np.flatnonzero(table.label == label)
        rng = np.random.default_rng((seed, label))
        wanted[rng.permutation(of_label)[:count]] = True
    return table.where(wanted)
