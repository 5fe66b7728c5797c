"""The strongest edge beside a side is the one that trying every line finds."""

import numpy as np
import pytest

from slidemask.post.edges import _LIKELY, _NOISE, _strongest_line


def tried_one_by_one(changes: np.ndarray, offsets: np.ndarray, scale: float) -> tuple[float, float]:
    along = np.linspace(0.05, 0.95, len(changes))
    step, spread = offsets[1] - offsets[0], max(1.0, _LIKELY * scale)
    best, ends = -1.0, (0.0, 0.0)
    for first, a in enumerate(offsets):
        for last, b in enumerate(offsets):
            if abs(a - b) > 2 * max(scale, 1.0) + 1e-9 * step:
                continue
            total = np.zeros(3)
            for station, share in enumerate(along):
                change = changes[station, round(first * (1 - share) + last * share)]
                total += change / np.sqrt((change**2).sum() + _NOISE**2)
            likely = np.exp(-(a * a + a * b + b * b) / (6 * spread**2))
            if (found := float(np.hypot.reduce(total / len(along)) * likely)) > best:
                best, ends = found, (float(a), float(b))
    return ends


@pytest.mark.parametrize(("first", "last"), [(6, 6), (5, 9), (10, 7)])
@pytest.mark.parametrize("stations", [24, 31])
def test_it_is_the_line_that_every_line_tried_gives(first: int, last: int, stations: int) -> None:
    rng, scale = np.random.default_rng(first), 2.0
    offsets = np.arange(-6, 6.1, 0.8)
    changes = rng.normal(0, 15, (stations, len(offsets), 3)).astype(np.float32)
    for station, share in enumerate(np.linspace(0.05, 0.95, stations)):
        changes[station, round(first * (1 - share) + last * share)] += (60, 40, 30)
    found = _strongest_line(changes, offsets, scale=scale)
    assert found is not None
    wanted = tried_one_by_one(changes, offsets, scale)
    assert found[:2] == pytest.approx(wanted)
    assert wanted == pytest.approx((offsets[first], offsets[last]))
    colour = np.array([60, 40, 30]) / np.hypot.reduce([60, 40, 30])
    np.testing.assert_allclose(found[2], colour, atol=0.15)


def test_where_nothing_changes_alike_there_is_no_line() -> None:
    changes = np.random.default_rng(0).normal(0, 3, (40, 15, 3)).astype(np.float32)
    assert _strongest_line(changes, np.arange(-6, 6.1, 0.8)[:15], scale=2.0) is None
