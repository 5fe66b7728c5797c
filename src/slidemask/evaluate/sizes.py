"""How much of the truth was found, by the size of its objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import SettingsError
from slidemask.evaluate.overlaps import Overlaps

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ObjectSizes:
    """One class's annotated objects with what became of them; `+` puts slides together.

    Parameters
    ----------
    mm2 : (T,) float64
        Area of each.
    found : (T,) bool
        Whether a predicted object matches it with an IoU of at least 0.5.
    covered_mm2 : (T,) float64
        How much of it predicted objects cover.
    """

    mm2: Values
    found: NDArray[np.bool_]
    covered_mm2: Values

    @classmethod
    def none(cls) -> "ObjectSizes":
        """Return no objects, from which sums start."""
        return cls(np.zeros(0), np.zeros(0, bool), np.zeros(0))

    def __len__(self) -> int:
        return len(self.mm2)

    def __add__(self, other: "ObjectSizes") -> "ObjectSizes":
        return ObjectSizes(
            np.concatenate([self.mm2, other.mm2]),
            np.concatenate([self.found, other.found]),
            np.concatenate([self.covered_mm2, other.covered_mm2]),
        )


@dataclass(frozen=True)
class SizeRow:
    """The objects of one range of areas.

    Parameters
    ----------
    low_mm2, high_mm2 : float
        Areas from `low_mm2` up to, not including, `high_mm2` (in the last row: including).
    objects, found : int
        How many there are, and how many were matched with an IoU of at least 0.5.
    recall : float
        Share of them that was found; NaN without objects.
    pixel_recall : float
        Share of their area that was covered by predictions; NaN without objects.
    """

    low_mm2: float
    high_mm2: float
    objects: int
    found: int
    recall: float
    pixel_recall: float


def sizes_of(overlaps: Overlaps, *, um_per_px: float) -> ObjectSizes:
    """Measure the annotated objects of one class on one slide, from overlaps that `meet` found.

    Parameters
    ----------
    overlaps : Overlaps
        Of level-0 pixels.
    um_per_px : float
        The slide's mpp.
    """
    scale = um_per_px**2 / 1e6
    found = np.zeros(len(overlaps.truth), bool)
    found[overlaps.pairs[0][overlaps.matches()]] = True
    covered = np.bincount(overlaps.pairs[0], overlaps.common, minlength=len(overlaps.truth))
    areas = overlaps.areas[0]
    return ObjectSizes(areas * scale, found, np.minimum(covered, areas) * scale)


def recall_by_size(
    sizes: ObjectSizes, edges_mm2: Sequence[float] | None = None, *, groups: int = 4
) -> list[SizeRow]:
    """Return the recall of small to large objects.

    Parameters
    ----------
    sizes : ObjectSizes
        Of one slide, or of a cohort's slides added up.
    edges_mm2 : sequence of float, optional
        Rising borders between the ranges; the first starts at 0, the last has no end. Without
        them `groups` ranges of about equal numbers of objects, from the least to the greatest.
    groups : int
        How many of those; fewer where many objects have the same area.

    Raises
    ------
    SettingsError
        If the borders do not rise, or `groups` is not positive.

    Examples
    --------
    >>> sizes = ObjectSizes(np.array([0.1, 0.2, 0.9]), np.array([0, 1, 1], bool), np.ones(3) / 10)
    >>> for row in recall_by_size(sizes, [0.5]):
    ...     print(row.low_mm2, row.high_mm2, row.objects, row.recall, round(row.pixel_recall, 2))
    0.0 0.5 2 0.5 0.67
    0.5 inf 1 1.0 0.11
    """
    borders = _quantiles(sizes.mm2, groups) if edges_mm2 is None else _given(edges_mm2)
    group = np.searchsorted(borders, sizes.mm2, side="right") - 1
    group[sizes.mm2 == borders[-1]] = len(borders) - 2
    return [
        _row(sizes, group == number, ends) for number, ends in enumerate(pairwise(borders.tolist()))
    ]


def _given(edges_mm2: Sequence[float]) -> Values:
    borders = np.array([0.0, *edges_mm2, np.inf])
    if np.any(np.diff(borders) <= 0):
        raise SettingsError(f"borders of areas must rise from above 0, got {list(edges_mm2)}")
    return borders


def _quantiles(mm2: Values, groups: int) -> Values:
    if groups < 1:
        raise SettingsError(f"objects are put into at least one group, not {groups}")
    if not len(mm2):
        return np.zeros(1)
    borders = np.unique(np.quantile(mm2, np.linspace(0, 1, groups + 1)))
    return borders if len(borders) > 1 else borders.repeat(2)


def _row(sizes: ObjectSizes, chosen: NDArray[np.bool_], ends: tuple[float, float]) -> SizeRow:
    objects, found = int(chosen.sum()), int(sizes.found[chosen].sum())
    area, covered = sizes.mm2[chosen].sum(), sizes.covered_mm2[chosen].sum()
    shares = (found / objects, float(covered / area)) if objects else (np.nan, np.nan)
    return SizeRow(*ends, objects, found, *shares)
