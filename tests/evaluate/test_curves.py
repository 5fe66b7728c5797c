"""Curves and calibration against naive versions that look at every pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.curves import (
    average_precision,
    brier_score,
    calibration_error,
    reliability,
    sweep,
)
from slidemask.evaluate.histogram import Histogram, confusions_of
from slidemask.post.clean import labels_of


def random_pair(seed: int, foreground: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, foreground + 1, (17, 19)).astype(np.uint8)
    sure = rng.integers(0, 256 // foreground, (foreground, 17, 19))
    return truth, sure.astype(np.uint8)


def naive_average_precision(truth: np.ndarray, score: np.ndarray) -> float:
    """As scikit-learn defines it: sorted by falling score, equal scores taken together."""
    total, area, before = truth.sum(), 0.0, 0.0
    for threshold in np.unique(score)[::-1]:
        chosen = score >= threshold
        recall = truth[chosen].sum() / total
        area += (recall - before) * truth[chosen].mean()
        before = recall
    return area


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 9999))
def test_average_precision_of_one_class(seed: int):
    truth, sure = random_pair(seed)
    found = average_precision(Histogram.of(truth, sure).confusions())
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(naive_average_precision(truth == 1, sure[0]))


def test_average_precision_of_several_classes():
    truth, sure = random_pair(3, 3)
    found = average_precision(Histogram.of(truth, sure).confusions())
    total, best = sure.sum(0, dtype=int), sure.argmax(0) + 1
    for index in (1, 2, 3):
        # Pixels of which the class is not the most probable one are never called so.
        score = np.where(best == index, total, -1)
        area, before = 0.0, 0.0
        for threshold in range(255, -1, -1):
            chosen = score >= threshold
            if chosen.any():
                recall = (truth[chosen] == index).sum() / (truth == index).sum()
                area += (recall - before) * (truth[chosen] == index).mean()
                before = recall
        assert found[index] == pytest.approx(area)


def test_average_precision_known_by_hand():
    truth, right = np.array([[0, 0, 1, 1]], np.uint8), np.array([[[1, 2, 3, 4]]], np.uint8)
    assert average_precision(Histogram.of(truth, right).confusions())[1] == 1
    same = np.full_like(right, 9)
    assert average_precision(Histogram.of(truth, same).confusions())[1] == 0.5
    nothing = Histogram.of(np.zeros_like(truth), right)
    assert np.isnan(average_precision(nothing.confusions())).all()


@pytest.mark.parametrize("index", [1, 2])
def test_the_sweep_is_what_each_threshold_gives(index: int):
    truth, sure = random_pair(1, 2)
    found = sweep(Histogram.of(truth, sure), index)
    for value in (1, 40, 128, 200, 254):
        ((_, labels),) = labels_of(iter([(0, sure)]), value / 255)
        wanted = Confusion.of(truth, labels, 3)
        for name in ("precision", "recall", "dice", "iou", "mcc"):
            one, other = getattr(found, name)[value], getattr(wanted, name)[index]
            assert one == pytest.approx(other, nan_ok=True), (value, name)
    threshold, highest = found.best("dice")
    assert highest == np.nanmax(found.dice)
    assert found.dice[round(threshold * 255)] == highest


def test_the_best_threshold_is_the_middle_of_equals():
    truth, sure = np.array([[0, 1]], np.uint8), np.array([[[50, 200]]], np.uint8)
    threshold, highest = sweep(Histogram.of(truth, sure), 1).best()
    assert highest == 1
    assert threshold * 255 == pytest.approx((51 + 200) / 2, abs=1)
    assert np.isnan(sweep(Histogram.zero(2), 1).best()).all()


def naive_calibration(truth: np.ndarray, sure: np.ndarray, bins: int) -> float:
    p = np.minimum(sure.sum(0, dtype=int), 255).ravel() / 255
    y = (truth > 0).ravel()
    place = np.minimum((p * bins).astype(int), bins - 1)
    return sum(
        abs(y[place == b].mean() - p[place == b].mean()) * (place == b).mean()
        for b in range(bins)
        if (place == b).any()
    )


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 9999), foreground=st.integers(1, 3), bins=st.sampled_from([3, 10, 17]))
def test_calibration_and_brier(seed: int, foreground: int, bins: int):
    truth, sure = random_pair(seed, foreground)
    counts = Histogram.of(truth, sure).counts
    assert calibration_error(counts, bins) == pytest.approx(naive_calibration(truth, sure, bins))
    p = np.minimum(sure.sum(0, dtype=int), 255) / 255
    assert brier_score(counts) == pytest.approx(((p - (truth > 0)) ** 2).mean())


def test_a_calibrated_map_has_no_error():
    """Of the pixels of value v, v / 255 are foreground."""
    truth = np.concatenate([[1] * v + [0] * (255 - v) for v in range(0, 256, 15)])
    sure = np.repeat(np.arange(0, 256, 15), 255).astype(np.uint8)
    histogram = Histogram.of(truth[None].astype(np.uint8), sure[None, None])
    assert calibration_error(histogram.counts) == pytest.approx(0, abs=1e-12)
    bins = reliability(histogram)
    assert [b.found for b in bins] == pytest.approx([b.promised for b in bins])
    assert (bins[0].low, bins[-1].high, sum(b.pixels for b in bins)) == (0, 1, histogram.total)


def test_empty_counts_have_no_value():
    nothing = Histogram.zero(3)
    assert np.isnan(calibration_error(nothing.counts))
    assert np.isnan(brier_score(nothing.counts))
    assert all(np.isnan(b.found) and b.pixels == 0 for b in reliability(nothing))


def test_leading_axes_are_resamples():
    several = np.stack([Histogram.of(*random_pair(seed, 2)).counts for seed in range(4)])
    weights = np.random.default_rng(0).multinomial(4, [0.25] * 4, 6).astype(float)
    drawn = np.tensordot(weights, several, 1)
    for function in (calibration_error, brier_score):
        assert function(drawn) == pytest.approx([float(function(one)) for one in drawn])
    areas = average_precision(confusions_of(drawn))
    assert areas.shape == (6, 3)
    assert areas[2, 1:] == pytest.approx(average_precision(confusions_of(drawn[2]))[1:])
