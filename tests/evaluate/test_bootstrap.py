"""Intervals against closed forms, a naive loop, and cohorts whose truth is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from slidemask.evaluate import bootstrap as module
from slidemask.evaluate.bootstrap import Estimate, Values, bounds, draws


def ratio(sums: Values) -> Values:
    whole = sums[..., 1]
    return np.divide(sums[..., 0], whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def mean_of(numbers: np.ndarray) -> Estimate:
    return Estimate(np.stack([numbers, np.ones(len(numbers))], 1), ratio)


def test_interval_of_a_mean_is_the_normal_one():
    numbers = np.random.default_rng(0).normal(5, 2, 400)
    low, high = mean_of(numbers).interval()
    half = 1.96 * numbers.std() / math.sqrt(400)
    assert low == pytest.approx(numbers.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(numbers.mean() + half, abs=0.1 * half)


def test_interval_of_a_share_is_the_binomial_one():
    found = np.repeat([1.0, 0.0], [60, 40])
    low, high = mean_of(found).interval()
    quantiles = stats.binom(100, 0.6).ppf([0.025, 0.975]) / 100  # what is drawn is binomial
    assert [float(low), float(high)] == pytest.approx(quantiles.tolist(), abs=0.011)


def test_patients_all_alike_have_an_interval_without_width():
    parts = np.tile([[3.0, 4.0]], (7, 1))
    low, high = Estimate(parts, ratio).interval()
    assert low == high == 0.75


@pytest.mark.parametrize("parts", [np.empty((0, 2)), np.array([[3.0, 4.0]])])
def test_one_patient_or_none_has_no_interval(parts: Values):
    low, high = Estimate(parts, ratio).interval()
    assert np.isnan([low, high]).all()


def test_one_patient_with_the_object_among_many_has_no_interval():
    parts = np.zeros((30, 2))
    parts[4] = 3, 4
    estimate = Estimate(parts, ratio)
    assert (estimate.value, estimate.defined) == (0.75, 1)
    assert np.isnan(estimate.interval()).all()
    parts[9] = 1, 4
    low, high = Estimate(parts, ratio).interval()
    assert (low, high) == (0.25, 0.75)  # draws without either are left out


def test_a_figure_of_several_classes_has_an_interval_where_it_can():
    parts = np.array([[[1.0, 2], [0, 0]], [[2, 2], [0, 0]], [[1, 4], [1, 2]]])
    low, high = Estimate(parts, ratio).interval()
    assert low.shape == high.shape == (2,)
    assert not np.isnan(low[0])
    assert np.isnan(low[1])
    assert np.isnan(high[1])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_weights_times_sums_equal_patients_drawn_by_hand(patients: int, seed: int):
    rng = np.random.default_rng(seed)
    parts = rng.integers(0, 50, (patients, 2)).astype(float)
    weights = draws(patients, seed, 20)
    assert (weights.sum(1) == patients).all()
    found = Estimate(parts, ratio).resampled(weights)
    for figure, weight in zip(found, weights, strict=True):
        drawn = [parts[p] for p, times in enumerate(weight) for _ in range(int(times))]
        top, bottom = sum(d[0] for d in drawn), sum(d[1] for d in drawn)
        expected = top / bottom if bottom else math.nan
        assert float(figure) == pytest.approx(expected, nan_ok=True)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    parts = np.random.default_rng(1).integers(1, 9, (11, 3, 2)).astype(float)
    estimate = Estimate(parts, ratio)
    whole, defined = estimate.interval(), estimate.defined
    monkeypatch.setattr(module, "_CHUNK", 20)
    np.testing.assert_array_equal(estimate.interval(), whole)
    np.testing.assert_array_equal(estimate.defined, defined)


def test_draws_are_uniform_over_patients_and_the_same_each_time():
    weights = draws(10, 3, 2000)
    np.testing.assert_array_equal(weights, draws.__wrapped__(10, 3, 2000))
    assert not np.array_equal(weights, draws(10, 4, 2000))
    assert np.abs(weights.mean(0) - 1).max() < 0.1
    assert weights.var(0).mean() == pytest.approx(0.9, abs=0.05)  # of one place of a multinomial
    with pytest.raises(ValueError, match="read-only"):
        weights[0, 0] = 9


def test_bounds_are_percentiles_and_leave_nan_out():
    drawn = np.random.default_rng(2).normal(size=(1000, 3))
    drawn[::3, 1] = np.nan
    drawn[:, 2] = np.nan
    low, high = bounds(drawn)
    assert [low[0], high[0]] == np.percentile(drawn[:, 0], [2.5, 97.5]).tolist()
    assert [low[1], high[1]] == np.nanpercentile(drawn[:, 1], [2.5, 97.5]).tolist()
    assert np.isnan([low[2], high[2]]).all()


def test_intervals_of_skewed_patients_hold_the_truth_as_often_as_they_say():
    """A pooled share: patients differ in size (log-normal) and in how much is found (beta)."""
    rng, covered, cohorts = np.random.default_rng(5), 0, 200
    for cohort in range(cohorts):
        size = rng.lognormal(3, 0.5, 30)
        found = size * rng.beta(6, 2, 30)
        low, high = Estimate(np.stack([found, size], 1), ratio).interval(cohort, 1000)
        covered += bool(low <= 0.75 <= high)  # the expected share is 6 / 8, whatever the size
    assert 0.90 <= covered / cohorts <= 0.97  # 0.95, less what 30 patients lose


@pytest.mark.parametrize(("patients", "too_narrow"), [(10, 0.18), (20, 0.09)])
def test_few_patients_make_the_interval_of_a_mean_as_narrow_as_the_docs_say(
    patients: int, too_narrow: float
):
    rng, shares = np.random.default_rng(6), []
    for seed in range(25):
        numbers = rng.normal(0, 1, patients)
        low, high = mean_of(numbers).interval(seed)
        exact = stats.t(patients - 1).ppf(0.975) * numbers.std(ddof=1) / math.sqrt(patients)
        shares.append((high - low) / (2 * exact))
    assert np.mean(shares) == pytest.approx(1 - too_narrow, abs=0.03)
