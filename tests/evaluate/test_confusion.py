"""Counts and figures against naive boolean formulas and exact arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slidemask.base.errors import SettingsError
from slidemask.evaluate import confusion as module
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.figures import PER_CLASS

CLASSES = 3
Pair = tuple[np.ndarray, np.ndarray]
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    shape = draw(SHAPES)
    truth = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 2, 255])))
    predicted = draw(arrays(np.uint8, shape, elements=st.integers(0, CLASSES - 1)))
    return truth, predicted


def count(pair: Pair) -> Confusion:
    return Confusion.of(pair[0], pair[1], CLASSES)


def divided(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def naive(truth: np.ndarray, predicted: np.ndarray, index: int) -> dict[str, float]:
    seen = truth != 255
    t, p = truth[seen] == index, predicted[seen] == index
    union = (t | p).sum()
    agree = math.nan  # of chance where only the prediction is all one class
    if 0 < t.mean() < 1:
        agree = np.corrcoef(t, p)[0, 1] if 0 < p.mean() < 1 else 0.0
    return {
        "dice": divided(2 * (t & p).sum(), t.sum() + p.sum()),
        "iou": divided((t & p).sum(), union),
        "precision": divided((t & p).sum(), p.sum()),
        "recall": divided((t & p).sum(), t.sum()),
        "specificity": divided((~t & ~p).sum(), (~t).sum()),
        "accuracy": divided((t == p).sum(), t.size),
        "mcc": float(agree),
    }


@settings(deadline=None, max_examples=60)
@given(pairs())
def test_figures_equal_the_naive_formulas(pair: Pair):
    truth, predicted = pair
    counted = Confusion.of(truth, predicted, CLASSES)
    with np.errstate(invalid="ignore", divide="ignore"):
        for index in range(CLASSES):
            if (truth == 255).all():
                continue
            expected = naive(truth, predicted, index)
            for name, measure in PER_CLASS.items():
                np.testing.assert_allclose(
                    measure(counted)[index], expected[name], atol=1e-12, err_msg=name
                )


@settings(deadline=None, max_examples=40)
@given(pairs(), pairs())
def test_pooling_equals_counting_at_once(first: Pair, second: Pair):
    pooled = count(first) + count(second)
    truth, predicted = (
        np.concatenate([a.ravel(), b.ravel()]) for a, b in zip(first, second, strict=True)
    )
    np.testing.assert_array_equal(pooled.counts, Confusion.of(truth, predicted, CLASSES).counts)


def test_counting_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, (2, 37, 23)).astype(np.uint8)
    whole = Confusion.of(truth, predicted, 3).counts
    monkeypatch.setattr(module, "_CHUNK", 10)
    np.testing.assert_array_equal(Confusion.of(truth, predicted, 3).counts, whole)
    np.testing.assert_array_equal(Confusion.of(truth[::2], predicted[::2], 3).counts.sum(), 19 * 23)


def test_leading_axes_are_many_at_once():
    counts = np.random.default_rng(2).integers(0, 9, (4, 5, 3, 3))
    together = Confusion(counts)
    for name, measure in PER_CLASS.items():
        values = measure(together)
        assert values.shape == (4, 5, 3)
        for place in np.ndindex(4, 5):
            alone = measure(Confusion(counts[place]))
            np.testing.assert_array_equal(values[place], alone, err_msg=name)


def test_rows_are_the_truth():
    counted = Confusion.of(np.array([[1, 1]], np.uint8), np.array([[0, 1]], np.uint8), 2)
    assert counted.counts.tolist() == [[0, 0], [1, 1]]


def test_empty_slide_has_no_dice_and_false_alarm_has_zero():
    nothing = np.zeros((4, 4), np.uint8)
    alarm = np.eye(4, dtype=np.uint8)
    assert math.isnan(Confusion.of(nothing, nothing, 2).dice[1])
    assert math.isnan(Confusion.of(nothing, nothing, 2).iou[1])
    assert Confusion.of(nothing, alarm, 2).dice[1] == 0
    assert math.isnan(Confusion.of(nothing, alarm, 2).recall[1])


def test_nothing_known_gives_nan_everywhere():
    unknown = np.full((3, 3), 255, np.uint8)
    counted = Confusion.of(unknown, np.ones((3, 3), np.uint8), 2)
    assert counted.total == 0
    assert math.isnan(counted.overall_accuracy)
    assert all(np.isnan(measure(counted)).all() for measure in PER_CLASS.values())


def test_mcc_of_a_whole_slide_does_not_overflow():
    tn, fp, fn, tp = 9 * 10**10, 3 * 10**9 + 7, 2 * 10**9 + 1, 5 * 10**9 + 3
    counted = Confusion(np.array([[tn, fp], [fn, tp]], np.int64))
    squared = Fraction((tp * tn - fp * fn) ** 2, (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert counted.mcc[1] == pytest.approx(math.sqrt(squared), rel=1e-12)
    assert counted.mcc[0] == pytest.approx(counted.mcc[1], rel=1e-12)


def test_overall_accuracy_is_the_share_of_right_pixels():
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 4, (2, 50, 50)).astype(np.uint8)
    counted = Confusion.of(truth, predicted, 4)
    assert counted.overall_accuracy == pytest.approx((truth == predicted).mean())


def test_shapes_must_agree():
    with pytest.raises(SettingsError, match=r"\(2, 2\).*\(2, 3\)"):
        Confusion.of(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 2)


@pytest.mark.parametrize("which", ["truth", "prediction"])
def test_unknown_class_index_is_named(which: str):
    good, bad = np.zeros((2, 2), np.uint8), np.full((2, 2), 7, np.uint8)
    truth, predicted = (bad, good) if which == "truth" else (good, bad)
    with pytest.raises(SettingsError, match=f"{which} holds class index 7.*2 classes"):
        Confusion.of(truth, predicted, 2)


def test_prediction_where_truth_is_unknown_may_hold_anything():
    unknown = np.full((2, 2), 255, np.uint8)
    assert Confusion.of(unknown, unknown, 2).total == 0
