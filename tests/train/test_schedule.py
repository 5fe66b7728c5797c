"""Learning rates against closed forms."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from slidemask.train.schedule import Schedule

epochs = st.integers(1, 200)
warmups = st.floats(0, 20)
peaks = st.floats(1e-6, 10)
shares = st.floats(0, 1)


@given(epochs, warmups, peaks, shares, st.sampled_from(["constant", "cosine", "poly"]))
def test_rate_rises_over_the_warm_up_and_then_follows_its_form(
    length: int, warmup: float, peak: float, share: float, form: str
) -> None:
    schedule = Schedule.model_validate(
        {"epochs": length, "warmup_epochs": warmup, "learning_rate": peak, "rate": form}
    )
    if warmup > 1e-3:
        rising = [schedule.rate_at(share * warmup * n / 5) for n in range(5)]
        assert rising == sorted(rising)
        assert schedule.rate_at(0) == pytest.approx(0.01 * peak)
    assume(length > warmup + 1e-3)
    at = warmup + share * (length - warmup)
    expected = {
        "constant": 1.0,
        "cosine": 0.505 + 0.495 * math.cos(math.pi * share),
        "poly": (1 - share) ** 0.9,
    }[form]
    assert schedule.rate_at(at) == pytest.approx(peak * expected, rel=1e-5, abs=1e-5 * peak)
    assert schedule.rate_at(warmup) == pytest.approx(peak)


@given(epochs, warmups, st.floats(0, 300), st.sampled_from(["constant", "cosine", "poly"]))
def test_rate_is_never_above_its_peak_nor_below_zero(
    length: int, warmup: float, at: float, form: str
) -> None:
    schedule = Schedule.model_validate({"epochs": length, "warmup_epochs": warmup, "rate": form})
    assert 0 <= schedule.rate_at(at) <= schedule.learning_rate * (1 + 1e-12)


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch": 0}, {"accumulate": 0}, {"learning_rate": 0}, {"learning_rate": -1},
     {"clip": -1}, {"optimiser": "lion"}, {"rate": "step"}, {"seed": -1}],
)  # fmt: skip
def test_impossible_schedules_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Schedule.model_validate(wrong)
