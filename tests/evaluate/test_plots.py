"""Charts: places on a page, worked out by hand."""

import math

import pytest

from slidemask.evaluate.plots import Mark, Series, history_charts, line_chart, ticks


def test_places_and_gaps():
    series = Series("a", [0, 0.5, 1, 1.5, 2], [0, 1, math.nan, 3, 4], dots=True)
    chart = line_chart("t", [series], ("x", "y"))
    (line,) = chart.lines
    assert line.path == "M54.0 250.0L152.0 191.0M348.0 73.0L446.0 14.0"
    assert [(dot.x, dot.y) for dot in line.dots] == [(54, 250), (152, 191), (348, 73), (446, 14)]
    assert [tick.text for tick in chart.y_ticks] == ["0", "1", "2", "3", "4"]


def test_asked_ranges_hold_what_lies_outside():
    chart = line_chart("t", [Series("mcc", [0, 1], [-0.5, 1])], ("x", "y"), y_range=(0, 1))
    assert chart.lines[0].path == "M54.0 250.0L446.0 14.0"


def test_marks_are_placed_or_left_out():
    marks = [Mark("line", 0.5), Mark("ring", 1, 1), Mark("gone", 7), Mark("no", math.nan, 0)]
    chart = line_chart("t", [Series("a", [0, 1], [0, 1])], ("x", "y"), marks=marks)
    assert chart.marks == [Mark("line", 250, None), Mark("ring", 446, 14)]


def test_a_single_value_and_none_at_all():
    chart = line_chart("t", [Series("a", [3], [5])], ("x", "y"))
    assert chart.lines[0].path == "M250.0 132.0"
    assert line_chart("t", [Series("a", [math.nan], [math.nan])], ("x", "y")).lines[0].path == ""


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0, 0.003, ["0", "0.001", "0.002", "0.003"]),
        (-0.5, 1, ["-0.5", "0", "0.5", "1"]),
        (0, 1e6, ["0", "200000", "400000", "600000", "800000", "1e+06"]),
        (2, 2.4, ["2", "2.1", "2.2", "2.3", "2.4"]),
    ],
)
def test_ticks_are_round(low: float, high: float, texts: list[str]):
    assert [text for _, text in ticks(low, high)] == texts


def test_history_goes_into_two_charts():
    rows = [
        {"epoch": 1, "train_loss": 2, "validation loss": 3, "dice pooled": 0.1, "learning_rate": 1},
        {"epoch": 2, "train_loss": 1, "validation loss": 2},
    ]
    losses, scores = history_charts(rows)
    assert [line.name for line in losses.lines] == ["train loss", "validation loss"]
    assert [line.name for line in scores.lines] == ["dice pooled"]
    assert losses.y_ticks[0].text == "0"
    assert history_charts([]) == []


def test_a_history_of_train_is_drawn_a_line_a_figure_and_level():
    """Columns as training writes them: whole slides every other epoch, at several thresholds."""
    rows = [
        {"epoch": epoch, "loss": 1 / epoch, "positive tiles dice pooled": 0.5, "learning_rate": 1}
        for epoch in (1, 2, 3, 4)
    ]
    for row in rows[1::2]:
        row |= {f"whole slides mcc pooled at {t}": 0.1 for t in (0.1, 0.5)}
        row |= {"whole slides mcc pooled": 0.2, "whole slides mcc slides": 0.3}
    _, scores = history_charts(rows)
    names = [line.name for line in scores.lines]
    assert names == ["positive tiles dice pooled", "whole slides mcc pooled"]
    assert scores.lines[1].path.count("L") == 1  # from epoch 2 to epoch 4, over the gap
