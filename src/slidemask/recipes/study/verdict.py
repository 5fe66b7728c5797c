"""Which row to use, and why, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from slidemask.base.progress import duration

PATHOLOGIST_S = (300.0, 600.0)
"""What a pathologist takes for a slide: 5 to 10 minutes (McCombe et al., IMVIP 2022)."""


@dataclass(frozen=True)
class Contender:
    """A row, as far as the choice between rows needs it.

    Parameters
    ----------
    label : str
    quality : float
        The figure that decides; higher is better.
    tile_quality : float
        The same figure on tiles that hold the object, to show what they would have chosen.
    seconds_per_slide : float
    """

    label: str
    quality: float
    tile_quality: float
    seconds_per_slide: float


@dataclass(frozen=True)
class Gap:
    """By how much the best row leads another, on the same patients.

    Parameters
    ----------
    value : float
        Best minus other.
    low, high : float
        95 % interval of the paired bootstrap; NaN below six patients.
    """

    value: float
    low: float
    high: float

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds 0; never without an interval."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Verdict:
    """What a study recommends.

    Parameters
    ----------
    chosen : str
        Label of the row.
    best : str
        Label of the row with the highest figure; the chosen one may be cheaper.
    by_tiles : str
        Label that tile-level figures would have chosen.
    reason : tuple of str
        Sentences.
    """

    chosen: str
    best: str
    by_tiles: str
    reason: tuple[str, ...]


def decide(rows: Sequence[Contender], gaps: dict[str, Gap], figure: str = "MCC") -> Verdict | None:
    """Choose the best row, or the cheapest of those that the best leads only within noise.

    Parameters
    ----------
    rows : sequence of Contender
    gaps : mapping of label to Gap
        The best row's lead over the others.
    figure : str
        What is compared, in words.

    Returns
    -------
    Verdict or None
        None where no row has the figure.
    """
    defined = [row for row in rows if row.quality == row.quality]  # NaN is not itself
    if not defined:
        return None
    best = max(defined, key=lambda row: row.quality)
    equal = [row for row in defined if row is not best and gaps[row.label].within_noise]
    chosen = min([best, *equal], key=lambda row: row.seconds_per_slide)
    by_tiles = max(
        [row for row in rows if row.tile_quality == row.tile_quality],
        key=lambda row: row.tile_quality,
        default=chosen,
    )
    reason = [_why(best, chosen, gaps, figure), _time(chosen), *_tiles(by_tiles, chosen, figure)]
    return Verdict(chosen.label, best.label, by_tiles.label, tuple(reason))


def best_of(rows: Sequence[Contender]) -> Contender | None:
    """Return the row of the highest figure."""
    defined = [row for row in rows if row.quality == row.quality]
    return max(defined, key=lambda row: row.quality, default=None)


def _why(best: Contender, chosen: Contender, gaps: dict[str, Gap], figure: str) -> str:
    if chosen is not best:
        gap = gaps[chosen.label]
        factor = best.seconds_per_slide / chosen.seconds_per_slide
        return (
            f"{best.label} has the highest slide-level {figure} ({best.quality:.3f}), but leads "
            f"{chosen.label} ({chosen.quality:.3f}) by only {gap.value:.3f} (95 % interval "
            f"{gap.low:.3f} to {gap.high:.3f}, paired by patient): these patients "
            f"cannot tell the two apart, and it takes {factor:.1f} times as long."
        )
    if all(gap.low != gap.low for gap in gaps.values()) and gaps:
        return (
            f"{best.label} has the highest slide-level {figure} ({best.quality:.3f}). There are "
            "too few patients to say whether that is more than noise."
        )
    text = f"{best.label} has the highest slide-level {figure} ({best.quality:.3f})"
    if gaps:
        text += "; no cheaper row lies within the noise of the comparison"
    return f"{text}."


def _time(chosen: Contender) -> str:
    seconds = chosen.seconds_per_slide
    said = f"{seconds:.1f} s" if seconds < 60 else duration(seconds)
    if seconds < PATHOLOGIST_S[0]:
        return f"It takes {said} a slide, less than the 5 to 10 min that a pathologist needs."
    if seconds <= PATHOLOGIST_S[1]:
        return f"It takes {said} a slide, as long as a pathologist (5 to 10 min)."
    return f"It takes {said} a slide, longer than a pathologist (5 to 10 min): not worth it here."


def _tiles(by_tiles: Contender, chosen: Contender, figure: str) -> list[str]:
    if by_tiles is chosen or by_tiles.tile_quality != by_tiles.tile_quality:
        return []
    return [
        f"Tiles that hold the object would have chosen {by_tiles.label} ({figure} "
        f"{by_tiles.tile_quality:.3f} there, {by_tiles.quality:.3f} on whole slides)."
    ]
