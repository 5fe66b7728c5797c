"""What is chosen, against figures that were worked out by hand or in a naive way."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.histogram import Histogram
from slidemask.post.clean import Post, labels_of
from slidemask.train.choose import (
    LEFT_OUT,
    THRESHOLD,
    at_threshold,
    best_of,
    candidates,
    choice_of,
    column,
    figures_at,
    figures_of,
    judge,
)
from slidemask.train.schedule import Selection


def counts(tp: int, fp: int, fn: int, tn: int) -> Confusion:
    return Confusion(np.array([[tn, fp], [fn, tp]]))


def labels_at(probability: np.ndarray, threshold: float) -> np.ndarray:
    ((_, labels),) = labels_of(iter([(0, probability)]), threshold)
    return labels


def dice(truth: np.ndarray, found: np.ndarray, index: int) -> float:
    known = truth != 255
    one, other = (truth == index) & known, (found == index) & known
    return 2 * (one & other).sum() / (one.sum() + other.sum()) if one.any() or other.any() else 0


@given(st.integers(1, 2), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_each_threshold_s_figure_is_that_of_its_labels(classes: int, seed: int) -> None:
    """Naive: labels of every slide and threshold, one set against the other."""
    rng = np.random.default_rng(seed)
    truths = [rng.choice([0, *range(1, classes + 1), 255], (9, 11)).astype(np.uint8) for _ in "ab"]
    maps = [rng.integers(0, 256 // classes, (classes, 9, 11)).astype(np.uint8) for _ in "ab"]
    selection = Selection(average="slides", thresholds=(0.2, 0.5, 0.8))
    found = judge([Histogram.of(*pair) for pair in zip(truths, maps, strict=True)], selection, 0.45)
    naive = {
        threshold: np.mean([
            dice(truth, labels_at(probability, threshold), index)
            for truth, probability in zip(truths, maps, strict=True)
            for index in range(1, classes + 1)
        ])
        for threshold in (0.2, 0.45, 0.5, 0.8)
    }  # fmt: skip
    for threshold, value in naive.items():
        assert found[at_threshold(selection, threshold)] == pytest.approx(value)
    best = max(value for threshold, value in naive.items() if threshold != 0.45)
    assert found["whole slides dice slides"] == pytest.approx(best)
    assert naive[found[THRESHOLD]] == pytest.approx(best)
    assert found[LEFT_OUT] == 0


def test_means_are_over_the_slides_of_a_class_then_over_classes() -> None:
    """Class 2 stands on one slide of two: its Dice weighs as much as the other's."""
    one = Confusion(np.array([[90, 0, 0], [0, 10, 0], [0, 0, 0]]))
    other = Confusion(np.array([[90, 0, 0], [0, 10, 0], [5, 0, 5]]))
    assert figures_of([one, other])["dice slides"] == pytest.approx((1 + 2 / 3) / 2)


def test_any_class_takes_one_class_for_another() -> None:
    """All of class 2 was found as class 1; by class half is lost, of any class nothing."""
    swapped = np.array([[1] * 10 + [2] * 10 + [0] * 20], np.uint8)
    seen = np.zeros((2, 1, 40), np.uint8)
    seen[0, 0, :20] = 200
    spare = np.array([[0] * 10 + [2] * 10 + [0] * 20], np.uint8)
    histograms = [Histogram.of(truth, seen) for truth in (swapped, spare)]
    by_class = Selection(figure="iou", thresholds=(0.5,), min_recall=0.6)
    any_class = by_class.model_copy(update={"scope": "any class"})
    found, whole = (judge(histograms, how, 0.5) for how in (by_class, any_class))
    assert "any class" not in "".join(found)
    means = {name: value for name, value in found.items() if " at " not in name}
    assert means.items() <= whole.items(), "the means of classes stay beside them"
    assert whole["whole slides any class iou slides"] == pytest.approx((1 + 0.5) / 2)
    assert whole["whole slides any class recall slides"] == 1
    assert found["whole slides recall slides"] == pytest.approx(0.5)
    assert column(any_class) == "whole slides any class iou slides"
    choice = choice_of([{"epoch": 1, **whole}], any_class, 0.5)
    assert str(choice) == (
        "By whole slides: epoch 1, threshold 0.5, any class iou 0.7500 (mean of slides). Its "
        "recall is 1.0000, and at least 0.6 was asked for."
    )
    missed = choice_of([{"epoch": 1, **found}], by_class, 0.5)
    assert "None reaches the recall of 0.6" in str(missed)
    ways = [{"any class iou slides": value, "any class recall slides": 1} for value in (0.1, 0.7)]
    assert best_of(ways, any_class) == 1


def test_a_slide_on_which_nothing_is_and_nothing_is_found_is_left_out_and_counted() -> None:
    full = counts(tp=6, fp=2, fn=2, tn=90)
    assert figures_of([full, counts(0, 0, 0, 100)])["dice slides"] == pytest.approx(0.75)
    assert figures_of([full, counts(0, 1, 0, 99)])["dice slides"] == pytest.approx(0.375)
    assert figures_of([full, counts(0, 10, 0, 90)])["dice pooled"] == pytest.approx(12 / 26)
    nothing = Histogram.of(np.zeros((4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8))
    there = Histogram.of(np.ones((4, 4), np.uint8), np.full((1, 4, 4), 200, np.uint8))
    found = judge([nothing, there], Selection(thresholds=(0.5,)), 0.5)
    assert (found["whole slides dice slides"], found[LEFT_OUT]) == (1.0, 1)


def test_a_network_that_finds_nothing_is_not_left_out_by_mcc() -> None:
    """Otherwise whoever finds the easy slide alone has the mean of the easy slide."""
    easy, missed = counts(50, 0, 0, 50), counts(0, 0, 50, 50)
    assert missed.mcc[1] == 0
    assert figures_of([easy, missed])["mcc slides"] == pytest.approx(0.5)
    assert counts(100, 0, 0, 0).mcc[1:].tolist() == pytest.approx([math.nan], nan_ok=True)
    assert counts(0, 5, 0, 95).mcc[1:].tolist() == pytest.approx([math.nan], nan_ok=True)


def test_of_equal_thresholds_the_nearest_to_the_recipe_s_own_is_taken() -> None:
    truth = np.array([[0, 1]], np.uint8)
    certain = Histogram.of(truth, np.array([[[0, 255]]], np.uint8))
    for own, expected in ((0.5, 0.5), (0.72, 0.7), (0.05, 0.1), (1.0, 0.9)):
        assert judge([certain], Selection(), own)[THRESHOLD] == expected


def test_whole_slides_and_tiles_may_choose_differently() -> None:
    selection = Selection(figure="mcc", average="pooled", thresholds=(0.3, 0.5))
    slides = [(0.4, 0.3, 0.4), (0.8, 0.8, 0.7), (0.75, 0.75, 0.6), None]
    tiles = [0.5, 0.6, 0.9, 0.99]
    history = []
    for epoch, (whole, tile) in enumerate(zip(slides, tiles, strict=True), start=1):
        row = {"epoch": epoch, "positive tiles mcc pooled": tile}
        if whole:
            row |= {
                "whole slides mcc pooled": whole[0], THRESHOLD: 0.3,
                at_threshold(selection, 0.3): whole[1], at_threshold(selection, 0.5): whole[2],
            }  # fmt: skip
        history.append(row)
    choice = choice_of(history, selection, 0.5)
    assert choice is not None
    assert (choice.epoch, choice.threshold, choice.value) == (2, 0.3, 0.8)
    # Epoch 4 is better still on tiles, but what it does to whole slides is not known.
    assert (choice.tiles, choice.tiles_epoch, choice.tiles_value) == ("positive tiles", 3, 0.6)
    assert str(choice) == (
        "By whole slides: epoch 2, threshold 0.3, mcc 0.8000 (pooled). Positive tiles would have "
        "chosen epoch 3 at threshold 0.5: mcc 0.6000 on the same whole slides (both before "
        "cleaning)."
    )
    by_tiles = choice_of(history, selection.model_copy(update={"level": "positive tiles"}), 0.5)
    assert by_tiles is not None
    assert (by_tiles.epoch, by_tiles.threshold, by_tiles.tiles) == (4, 0.5, None)
    assert set(by_tiles.as_dict()) == {"level", "figure", "average", "epoch", "value", "threshold"}
    assert choice_of(history[3:], selection, 0.5) is None
    assert choice_of([], selection, 0.5) is None


@pytest.mark.parametrize(
    ("level", "name"),
    [("slides", "whole slides iou pooled"), ("tiles", "tiles iou pooled"),
     ("positive tiles", "positive tiles iou pooled")],
)  # fmt: skip
def test_a_column_says_its_level(level: str, name: str) -> None:
    asked = {"level": level, "figure": "iou", "average": "pooled"}
    assert column(Selection.model_validate(asked)) == name


def test_every_way_is_a_candidate_and_the_mildest_of_equals_wins() -> None:
    own = Post(threshold=0.4, min_area_um2=50, fill_holes_um2=7, simplify_px=2)
    plain = candidates(Selection(thresholds=(0.2, 0.6, 0.5)), own)
    assert [post.threshold for post in plain] == [0.5, 0.2, 0.6]
    assert {(p.min_area_um2, p.fill_holes_um2, p.simplify_px) for p in plain} == {(50, 7, 2)}
    asked = Selection(thresholds=(0.2, 0.4), min_areas_um2=(30, 0, 30), fill_holes_um2=(0, 9))
    posts = candidates(asked, own)
    assert len({post.model_dump_json() for post in posts}) == len(posts) == 2 * 2 * 2
    mildest = Post(threshold=0.4, simplify_px=2)
    assert posts[best_of([{"dice slides": 0.5} for _ in posts], asked)] == mildest
    values = [math.nan, 0.1, 0.7, 0.7, math.nan, 0.2, 0.3, 0.7]
    assert best_of([{"dice slides": value} for value in values], asked) == 2


def test_what_misses_too_much_is_not_chosen_while_there_is_anything_else() -> None:
    """Epochs: best figure with low recall, good figure with enough, poor figure with most."""
    rows = [
        {"epoch": 1, "tiles iou slides": 0.9, "tiles recall slides": 0.5},
        {"epoch": 2, "tiles iou slides": 0.7, "tiles recall slides": 0.9},
        {"epoch": 3, "tiles iou slides": 0.2, "tiles recall slides": 0.95},
    ]
    asked = {None: 1, 0.5: 1, 0.6: 2, 0.9: 2, 0.92: 3, 0.99: 3}
    for least, epoch in asked.items():
        selection = Selection(level="tiles", figure="iou", min_recall=least)
        choice = choice_of(rows, selection, 0.5)
        assert choice is not None
        assert choice.epoch == epoch
        assert choice.value == rows[epoch - 1]["tiles iou slides"]
        if least is None:
            assert "recall" not in str(choice) + str(choice.as_dict())
        else:
            assert choice.as_dict()["recall"] == rows[epoch - 1]["tiles recall slides"]
    lost = choice_of(rows, Selection(level="tiles", figure="iou", min_recall=0.99), 0.5)
    assert str(lost) == (
        "By tiles: epoch 3, threshold 0.5, iou 0.2000 (mean of slides). None reaches the recall of "
        "0.99 asked for, so the highest, 0.9500, decides."
    )
    enough = choice_of(rows, Selection(level="tiles", figure="iou", min_recall=0.9), 0.5)
    assert str(enough).endswith("Its recall is 0.9000, and at least 0.9 was asked for.")


def test_a_threshold_is_lowered_until_enough_is_found() -> None:
    """Half of the object is sure, the other half is lost among the ground."""
    truth = np.array([[1] * 20 + [0] * 110], np.uint8)
    seen = np.array([[[153] * 10 + [5] * 120]], np.uint8)
    histograms = [Histogram.of(truth, seen)]
    free = Selection(figure="iou", thresholds=(0.01, 0.5))
    assert judge(histograms, free, 0.5)[THRESHOLD] == 0.5
    asked = free.model_copy(update={"min_recall": 0.9})
    found = judge(histograms, asked, 0.5)
    assert found[THRESHOLD] == 0.01
    assert found["whole slides iou slides"] == pytest.approx(20 / 130)
    assert figures_at(found, asked, 0.5) == pytest.approx({"iou slides": 0.5, "recall slides": 0.5})


@pytest.mark.parametrize(
    "wrong",
    [{"level": "slide"}, {"thresholds": ()}, {"thresholds": (0.0,)}, {"thresholds": (1.1,)},
     {"min_recall": 1.1}, {"min_areas_um2": (-1,)}, {"fill_holes_um2": (-1,)}, {"every_epochs": 0}],
)  # fmt: skip
def test_impossible_selections_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Selection.model_validate(wrong)
