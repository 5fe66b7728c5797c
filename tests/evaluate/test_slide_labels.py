"""Labels of whole slides, and foreground of any class, against pixels counted one by one."""

import numpy as np

from slidemask.evaluate.anyclass import any_class
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation, SlideScore
from slidemask.evaluate.slidelabels import SlideLabels, true_label

NAMES = ("background", "a", "b")


def test_any_class_is_what_merged_label_images_give() -> None:
    rng = np.random.default_rng(0)
    slides, merged = [], []
    for number in range(3):
        truth, predicted = (rng.integers(0, 3, (9, 7), np.uint8) for _ in range(2))
        truth[0] = 255
        slides.append(SlideScore(f"s{number}", Confusion.of(truth, predicted, 3), f"p{number}"))
        known = np.where(truth == 255, truth, truth > 0).astype(np.uint8)
        merged.append(Confusion.of(known, (predicted > 0).astype(np.uint8), 2).counts)
    both = any_class(Evaluation(NAMES, tuple(slides), {}))
    assert both.names == ("background", "any class")
    assert [score.patient for score in both.slides] == ["p0", "p1", "p2"]
    for score, counts in zip(both.slides, merged, strict=True):
        assert np.array_equal(score.confusion.counts, counts)


def test_the_true_label_is_the_class_with_most_annotated_pixels() -> None:
    """What was predicted there, and background, have no say."""
    counts = np.array([[90, 5, 0], [6, 0, 0], [0, 7, 1]])
    assert true_label(Confusion(counts), NAMES) == "b"
    assert true_label(Confusion(np.array([[9, 1, 0], [0] * 3, [0] * 3])), NAMES) == ""


def test_slides_left_empty_are_no_wrong_labels() -> None:
    labels = SlideLabels.of([("a", "a"), ("a", "b"), ("a", ""), ("", ""), ("", "a")])
    assert labels == SlideLabels(right=2, wrong=2, empty=1)
    assert labels.accuracy == 0.5
    assert np.isnan(SlideLabels.of([("a", "")]).accuracy)
