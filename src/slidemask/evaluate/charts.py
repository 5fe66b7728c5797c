"""Positions for the reports' small charts; the templates draw them as SVG."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Segment(NamedTuple):
    """Part of a stacked bar, positions as shares of its length."""

    name: str
    value: float
    start: float
    length: float
    tone: int


class Dot(NamedTuple):
    """One slide in a distribution strip; `row` counts upwards from the axis."""

    name: str
    value: float
    row: int


def stacked(parts: Mapping[str, float | None], total: float | None) -> list[Segment]:
    """Lay the parts end to end; what they leave of `total` is called "other".

    Parts of work done side by side may add up to more than `total`; the bar is then as long as
    their sum.

    >>> [(s.name, s.start, s.length) for s in stacked({"read": 1, "network": 2}, 4)]
    [('read', 0.0, 0.25), ('network', 0.25, 0.5), ('other', 0.75, 0.25)]
    """
    known = [(name, float(value)) for name, value in parts.items() if value]
    used = sum(value for _, value in known)
    whole = max(used, total or 0.0)
    if whole - used > 0.005 * whole:
        known.append(("other", whole - used))
    segments: list[Segment] = []
    start = 0.0
    for tone, (name, value) in enumerate(known):
        segments.append(Segment(name, value, start / whole, value / whole, tone))
        start += value
    return segments


def swarm(values: Sequence[tuple[str, float]], bins: int = 100) -> list[Dot]:
    """Stack the defined values (named, 0..1) in bins, so that no dot hides another.

    >>> [dot.row for dot in swarm([("a", 0.911), ("b", 0.912), ("c", 0.2)])]
    [0, 0, 1]
    """
    heights: dict[int, int] = {}
    dots: list[Dot] = []
    for name, value in sorted(values, key=lambda pair: pair[1]):
        if math.isnan(value):
            continue
        place = round(value * bins)
        dots.append(Dot(name, value, heights.get(place, 0)))
        heights[place] = heights.get(place, 0) + 1
    return dots


def shares_of_rows(counts: Iterable[Sequence[int]]) -> list[list[float | None]]:
    """Divide each row by its sum; None in an empty row.

    >>> shares_of_rows([[3, 1], [0, 0]])
    [[0.75, 0.25], [None, None]]
    """
    return [[n / sum(row) if sum(row) else None for n in row] for row in counts]
