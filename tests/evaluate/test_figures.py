"""Averages: what is counted, what is left out, and that each says so."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.figures import (
    ALL_CLASSES,
    ALL_FOREGROUND,
    MEAN_OF_SLIDES,
    PER_CLASS,
    POOLED,
    figures_of,
    find,
    pool,
)

NAMES = ("background", "gland", "cluster")


def one(counts: list[list[int]]) -> Confusion:
    return Confusion(np.array(counts, np.int64))


SMALL = one([[90, 2], [0, 8]])
LARGE = one([[9000, 500], [400, 100]])
EMPTY = one([[100, 0], [0, 0]])


def test_pooled_weighs_pixels_and_mean_weighs_slides():
    figures = figures_of({"a": SMALL, "b": LARGE}, NAMES[:2])
    small, large = 16 / 18, 200 / 1100
    assert find(figures, "dice", POOLED, "gland").value == pytest.approx(216 / 1118)
    assert find(figures, "dice", MEAN_OF_SLIDES, "gland").value == pytest.approx(
        (small + large) / 2
    )


def test_an_empty_slide_is_left_out_and_counted_as_left_out():
    figures = figures_of({"a": SMALL, "empty": EMPTY}, NAMES[:2])
    mean = find(figures, "dice", MEAN_OF_SLIDES, "gland")
    assert (mean.value, mean.n, mean.skipped) == (pytest.approx(16 / 18), 1, 1)
    pooled = find(figures, "dice", POOLED, "gland")
    assert (pooled.n, pooled.skipped) == (2, 0)


def test_every_figure_comes_with_each_average_once():
    figures = figures_of({"a": SMALL, "b": LARGE}, NAMES[:2])
    keys = [(f.name, f.class_name, f.average) for f in figures]
    assert len(set(keys)) == len(keys) == 2 * (len(PER_CLASS) + 1)
    assert {f.class_name for f in figures} == {"gland", ALL_CLASSES}


def test_mean_of_classes_leaves_an_absent_class_out():
    absent = one([[50, 0, 0], [10, 40, 0], [0, 0, 0]])
    figures = figures_of({"a": absent}, NAMES)
    gland = find(figures, "dice", POOLED, "gland").value
    macro = find(figures, "dice", f"mean of classes ({POOLED})", ALL_FOREGROUND)
    assert (macro.value, macro.n, macro.skipped) == (gland, 1, 1)


def test_no_slides_give_figures_without_value():
    figures = figures_of({}, NAMES)
    assert all(math.isnan(f.value) and f.n == 0 for f in figures)


def test_asking_for_a_figure_that_is_not_there_says_which():
    with pytest.raises(KeyError, match="no figure 'auc'"):
        find([], "auc", POOLED, "gland")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 50), min_size=9, max_size=9), min_size=1, max_size=6))
def test_figures_equal_a_loop_over_slides(tables: list[list[int]]):
    slides = {str(n): one(np.reshape(t, (3, 3)).tolist()) for n, t in enumerate(tables)}
    figures = figures_of(slides, NAMES)
    for name, measure in PER_CLASS.items():
        each = [measure(slide)[1] for slide in slides.values()]
        defined = [value for value in each if not math.isnan(value)]
        mean = find(figures, name, MEAN_OF_SLIDES, "gland")
        assert (mean.n, mean.skipped) == (len(defined), len(each) - len(defined))
        expected = sum(defined) / len(defined) if defined else math.nan
        assert mean.value == pytest.approx(expected, nan_ok=True)
        whole = measure(pool(slides.values(), 3))[1]
        assert find(figures, name, POOLED, "gland").value == pytest.approx(whole, nan_ok=True)
