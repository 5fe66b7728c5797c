"""Outlines found in photos, against cases whose answer is plain and a naive pixel count."""

import itertools

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity
from shapely.geometry import Polygon

from slidemask.evaluate.outlines import (
    FIGURES,
    Shape,
    corner_error,
    difference,
    estimate_of,
    score_photo,
)

SIZE = (400, 300)


def rectangle(x: float, y: float, right: float, bottom: float) -> Shape:
    corners = np.array([(x, y), (right, y), (right, bottom), (x, bottom)], float)
    return Shape(Polygon(corners), corners)


LEFT, RIGHT = rectangle(10, 10, 110, 90), rectangle(110, 10, 210, 90)


def states(true: list[Shape], found: list[Shape]) -> tuple[list[str], tuple[int, ...]]:
    score = score_photo(true, found, SIZE)
    return [slide.state for slide in score.slides], score.false_finds


def test_what_becomes_of_slides() -> None:
    both, far = rectangle(10, 10, 210, 90), rectangle(300, 200, 390, 290)
    upper, lower = rectangle(10, 10, 110, 48), rectangle(10, 52, 110, 90)
    assert states([LEFT, RIGHT], [RIGHT, LEFT]) == (["found", "found"], ())
    assert states([LEFT, RIGHT], [both]) == (["merged", "merged"], ())
    assert states([LEFT, RIGHT], []) == (["missed", "missed"], ())
    assert states([LEFT], [upper, lower]) == (["split"], ())
    assert states([LEFT], [far, LEFT]) == (["found"], (0,))
    assert states([], [LEFT]) == ([], (0,))
    assert states([], []) == ([], ())


def test_an_outline_round_slides_that_were_found_is_false() -> None:
    page = rectangle(5, 5, 215, 95)
    assert states([LEFT, RIGHT], [page, LEFT, RIGHT]) == (["found", "found"], (0,))


def test_a_slide_whose_outline_swallows_a_smaller_neighbour_is_merged_too() -> None:
    small = rectangle(110, 10, 140, 90)
    swallowing = rectangle(10, 10, 140, 90)
    score = score_photo([LEFT, small], [swallowing], SIZE)
    assert [slide.state for slide in score.slides] == ["merged", "merged"]
    assert score.slides[0].iou == pytest.approx(100 / 130)
    assert score.slides[1].iou == 0
    assert score.slides[1].outline is None


def test_an_outline_of_less_than_half_is_a_miss_and_a_false_find() -> None:
    assert states([LEFT], [rectangle(10, 10, 50, 90)]) == (["missed"], (0,))


def test_matching_takes_the_greatest_sum_not_the_first_best() -> None:
    # The second outline fits both slides: greedily the first slide would take it.
    first, second = rectangle(0, 0, 100, 100), rectangle(0, 0, 100, 80)
    outlines = [rectangle(0, 0, 100, 96), rectangle(0, 0, 100, 90)]
    score = score_photo([first, second], outlines, SIZE)
    assert [slide.outline for slide in score.slides] == [0, 1]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_iou_equals_counting_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = np.array([(100, 80), (300, 80), (300, 220), (100, 220)], float)
    true, found = (corners + rng.uniform(-25, 25, (4, 2)) for _ in range(2))
    (fate,) = score_photo([Shape(Polygon(true))], [Shape(Polygon(found))], SIZE).slides
    rows, columns = np.mgrid[0.25:300:0.5, 0.25:400:0.5]
    one, other = (shapely.contains_xy(Polygon(quad), columns, rows) for quad in (true, found))
    assert fate.iou == pytest.approx((one & other).sum() / (one | other).sum(), abs=2e-3)
    assert np.isnan(fate.corner_error), "no corners, no error of corners"


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), turn=st.integers(0, 3))
def test_corners_are_compared_whichever_comes_first(seed: int, turn: int) -> None:
    rng = np.random.default_rng(seed)
    shifts = rng.uniform(-6, 6, (4, 2))
    assert LEFT.corners is not None
    found = np.roll(LEFT.corners + shifts, turn, axis=0)
    expected = np.hypot(*shifts.T).mean()
    assert corner_error(LEFT.corners, found) == pytest.approx(expected)
    (fate,) = score_photo([LEFT], [Shape(Polygon(found), found)], SIZE).slides
    assert fate.corner_error == pytest.approx(expected / 500), "500 px is the diagonal"


def test_figures_are_means_over_slides_and_photos() -> None:
    shifted = Shape(affinity.translate(LEFT.polygon, 10), None)  # IoU 90 / 110
    photos = [
        ([LEFT, RIGHT], [LEFT]),
        ([LEFT], [shifted, rectangle(300, 200, 390, 290)]),
        ([], []),
    ]
    scores = [score_photo(true, found, SIZE) for true, found in photos]
    value = dict(zip(FIGURES, estimate_of(scores, ["a", "b", "b"]).value, strict=True))
    assert value == pytest.approx(
        {
            "iou": (1 + 0 + 90 / 110) / 3,
            "iou of matched": (1 + 90 / 110) / 2,
            "corner error": 0,
            "found": 2 / 3,
            "missed": 1 / 3,
            "merged": 0,
            "split": 0,
            "false finds": 1 / 3,
        }
    )


def test_photos_without_slides_have_no_iou() -> None:
    value = estimate_of([score_photo([], [LEFT], SIZE)], ["a"]).value
    assert np.isnan(value[:-1]).all()
    assert value[-1] == 1


def test_the_interval_of_a_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    patients = [str(number // 2) for number in range(60)]
    one, other = [], []
    for _ in patients:  # photos differ far more than the two models do
        shift = rng.uniform(0, 30)
        for scores, more in ((one, 2.0), (other, 0.0)):
            moved = Shape(affinity.translate(LEFT.polygon, shift + more))
            scores.append(score_photo([LEFT], [moved], SIZE))
    value, low, high = difference(estimate_of(one, patients), estimate_of(other, patients))
    assert 0 < low[0] < value[0] < high[0]
    single = estimate_of(one, patients).interval()
    assert high[0] - low[0] < 0.2 * (single[1][0] - single[0][0])
    alone = difference(estimate_of(one, ["x"] * 60), estimate_of(other, ["x"] * 60))
    assert np.isnan(alone[1]).all(), "one patient cannot vary"


def test_order_of_slides_and_outlines_does_not_matter() -> None:
    true = [LEFT, RIGHT, rectangle(20, 120, 120, 220)]
    found = [rectangle(12, 9, 111, 92), rectangle(300, 250, 380, 290), rectangle(20, 118, 118, 222)]
    plain = {
        tuple(sorted((fate.state, round(fate.iou, 9)) for fate in score.slides))
        for order in itertools.permutations(range(3))
        for score in (score_photo([true[i] for i in order], found[::-1], SIZE),)
    }
    assert len(plain) == 1
