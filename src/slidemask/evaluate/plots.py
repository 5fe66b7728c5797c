"""Line charts as positions; the templates draw them as SVG, without scripts or files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

WIDTH: Final = 460
HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 446, 14, 250
_STEPS: Final = (1, 2, 2.5, 5, 10)

Range = tuple[float, float]


class Series(NamedTuple):
    """A line in the data's own units; NaN interrupts it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False
    dots: bool = False
    notes: Sequence[str] = ()
    """What each dot says when it is pointed at."""


class Mark(NamedTuple):
    """A place on a chart: a vertical line where `y` is None, else a ring."""

    text: str
    x: float
    y: float | None = None


class Tick(NamedTuple):
    """A number on an axis, at `at` px."""

    at: float
    text: str


class Dot(NamedTuple):
    """A point, px."""

    x: float
    y: float
    note: str


class Line(NamedTuple):
    """A path of an SVG, and its dots."""

    name: str
    tone: int
    path: str
    dashed: bool
    dots: list[Dot]


@dataclass(frozen=True)
class LineChart:
    """All that a template needs to draw a chart of `WIDTH` x `HEIGHT`."""

    title: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    marks: list[Mark]
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


def line_chart(
    title: str,
    series: Sequence[Series],
    labels: tuple[str, str],
    *,
    x_range: Range | None = None,
    y_range: Range | None = None,
    marks: Sequence[Mark] = (),
) -> LineChart:
    """Lay series out on common axes.

    Parameters
    ----------
    title : str
    series : sequence of Series
    labels : (str, str)
        Of the x and the y axis.
    x_range, y_range : (float, float), optional
        Ends of the axes; else they hold all that is finite. A range is widened where a value
        lies outside it, so that nothing is cut off.
    marks : sequence of Mark
        In the data's units.

    Examples
    --------
    >>> chart = line_chart("t", [Series("a", [0, 1], [0, 1])], ("x", "y"))
    >>> chart.lines[0].path, [tick.text for tick in chart.x_ticks]
    ('M54.0 250.0L446.0 14.0', ['0', '0.2', '0.4', '0.6', '0.8', '1'])
    """
    across = _range([v for line in series for v in line.x], x_range)
    up = _range([v for line in series for v in line.y], y_range)

    def place(x: float, y: float) -> tuple[float, float]:
        return _between(x, across, _LEFT, _RIGHT), _between(y, up, _BOTTOM, _TOP)

    placed = [
        Mark(m.text, place(m.x, up[0])[0], None if m.y is None else place(m.x, m.y)[1])
        for m in marks
        if math.isfinite(m.x) and across[0] <= m.x <= across[1]
    ]
    return LineChart(
        title,
        *labels,
        x_ticks=[Tick(place(value, up[0])[0], text) for value, text in ticks(*across)],
        y_ticks=[Tick(place(across[0], value)[1], text) for value, text in ticks(*up)],
        lines=[
            _line(tone, line, [place(x, y) for x, y in zip(line.x, line.y, strict=True)])
            for tone, line in enumerate(series)
        ],
        marks=placed,
    )


def ticks(low: float, high: float, most: int = 6) -> list[tuple[float, str]]:
    """Return round numbers from `low` to `high`, at most `most`, and how they are written.

    >>> [text for _, text in ticks(0, 1)], [text for _, text in ticks(1, 17)]
    (['0', '0.2', '0.4', '0.6', '0.8', '1'], ['5', '10', '15'])
    """
    span = high - low
    rough = span / (most - 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(s * power for s in _STEPS if s * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [(n * step, f"{n * step:.6g}") for n in range(first, last + 1)]


def history_charts(rows: Sequence[Mapping[str, float]]) -> list[LineChart]:
    """Chart a training's history: its losses, and its figures, over the epochs.

    Parameters
    ----------
    rows : sequence of mapping
        One an epoch, with `epoch`; columns whose names hold "loss" go to the first chart, pooled
        Dice and MCC of the validation to the second, each at the threshold of its epoch. A figure
        that only some epochs have is drawn through those.
    """
    if not rows:
        return []
    names = list(dict.fromkeys(name for row in rows for name in row))
    losses = [name for name in names if "loss" in name]
    scores = [name for name in names if name.endswith(("dice pooled", "mcc pooled"))]
    return [
        line_chart(
            title,
            [_over_epochs(name, rows) for name in some],
            ("epoch", "loss" if title == "Loss" else "figure"),
            y_range=(0, 0) if title == "Loss" else (0, 1),
        )
        for title, some in (("Loss", losses), ("Figures on the validation part", scores))
        if some
    ]


def _over_epochs(name: str, rows: Sequence[Mapping[str, float]]) -> Series:
    there = [(row.get("epoch", n), row[name]) for n, row in enumerate(rows, 1) if name in row]
    known = [(epoch, value) for epoch, value in there if math.isfinite(value)]
    label = name.replace("_", " ").replace("/", " ")
    return Series(label, [x for x, _ in known], [y for _, y in known], dots=len(known) < 10)


def _line(tone: int, series: Series, places: Sequence[tuple[float, float]]) -> Line:
    known = [all(map(math.isfinite, place)) for place in places]
    path = "".join(
        f"{'L' if n and known[n - 1] else 'M'}{x:.1f} {y:.1f}"
        for n, (x, y) in enumerate(places)
        if known[n]
    )
    notes = series.notes or [f"{x:.4g}: {y:.3f}" for x, y in zip(series.x, series.y, strict=True)]
    dots = [
        Dot(*place, note) for place, note, some in zip(places, notes, known, strict=True) if some
    ]
    return Line(series.name, tone, path, series.dashed, dots if series.dots else [])


def _range(values: Sequence[float], asked: Range | None) -> Range:
    """Return ends that hold every finite value and what was asked, and are not one."""
    finite = [float(value) for value in values if math.isfinite(value)] + list(asked or ())
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _between(value: float, ends: Range, start: float, end: float) -> float:
    """Return the px of a value between `start` and `end`."""
    return start + (value - ends[0]) / (ends[1] - ends[0]) * (end - start)
