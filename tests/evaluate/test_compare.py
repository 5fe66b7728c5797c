"""Two models on the same patients."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from slidemask.base.errors import CohortError
from slidemask.evaluate.bootstrap import draws
from slidemask.evaluate.compare import Difference, compare
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation, SlideScore
from slidemask.evaluate.figures import (
    ALL_TILES,
    CALIBRATION_ERROR,
    MEAN_OF_SLIDES,
    OBJECT,
    POOLED,
    SLIDE,
    TILES_WITH_OBJECT,
)
from slidemask.evaluate.histogram import Histogram
from slidemask.evaluate.objects import FIELDS, ObjectCounts
from slidemask.evaluate.tilecounts import TileCounts

NAMES = ("background", "gland")


def scored(found: Iterable[int], **more: Any) -> Evaluation:
    """One slide a patient: of 100 pixels of the class that many were found."""
    slides = tuple(
        SlideScore(
            f"s{n}", Confusion(np.array([[1000, 20], [100 - hits, hits]])), f"p{n:02d}", **more
        )
        for n, hits in enumerate(found)
    )
    return Evaluation(NAMES, slides, {})


def pick(differences: Sequence[Difference], name: str, level: str = SLIDE) -> Difference:
    keys = name, POOLED, level
    (found,) = [d for d in differences if (d.name, d.average, d.level) == keys]
    return found


def test_a_model_against_itself_differs_in_nothing():
    one = scored([50, 60, 70, 80])
    for difference in compare(one, one):
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
        assert (difference.better, difference.p, difference.patients) == (0, 1, 4)


@pytest.mark.parametrize("patients", [2, 4, 7])
def test_few_patients_prove_little_even_if_all_agree(patients: int):
    hits = np.arange(30, 30 + patients)
    found = pick(compare(scored(hits), scored(hits + 5)), "recall")
    assert found.better == 1
    assert found.p == pytest.approx(binomtest(patients, patients).pvalue)


def test_better_on_every_patient_is_better_in_every_resample():
    rng = np.random.default_rng(0)
    hits = rng.integers(20, 80, 20)
    found = pick(compare(scored(hits), scored(hits + 5)), "recall")
    assert found.value == pytest.approx(0.05)
    assert (found.low, found.high) == (pytest.approx(0.05), pytest.approx(0.05))
    assert (found.better, found.p) == (1, pytest.approx(2 / 2001))
    turned = pick(compare(scored(hits + 5), scored(hits)), "recall")
    assert (turned.value, turned.better) == (pytest.approx(-0.05), 0)


def test_difference_and_interval_equal_a_loop_over_the_same_patients_drawn_for_both():
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 99, (2, 12))
    found = pick(compare(scored(one), scored(other), seed=3), "dice")
    gaps = []
    for times in draws(12, 3).astype(int):
        drawn = np.repeat(np.arange(12), times)
        dice = [2 * h[drawn].sum() / (h[drawn].sum() + 12 * 20 + 12 * 100) for h in (one, other)]
        gaps.append(dice[1] - dice[0])
    assert (found.low, found.high) == (
        pytest.approx(np.percentile(gaps, 2.5)), pytest.approx(np.percentile(gaps, 97.5)),
    )  # fmt: skip
    assert found.better == pytest.approx(np.mean(np.array(gaps) > 0))
    below, above = (np.array(gaps) <= 0).sum(), (np.array(gaps) >= 0).sum()
    assert found.p == pytest.approx(min(1, 2 * (min(below, above) + 1) / 2001))
    assert (found.one, found.other) == (
        pytest.approx(2 * one.sum() / (one.sum() + 1440)),
        pytest.approx(2 * other.sum() / (other.sum() + 1440)),
    )  # fmt: skip


def test_pairs_show_what_separate_intervals_hide():
    """Patients differ much, the models little and always alike."""
    rng = np.random.default_rng(2)
    hits = rng.integers(5, 90, 30)
    one, other = scored(hits), scored(hits + rng.integers(1, 5, 30))
    apart = [f for e in (one, other) for f in e.figures if f.name == "recall"][::3]
    assert apart[0].high > apart[1].low  # they overlap
    found = pick(compare(one, other), "recall")
    assert found.low > 0
    assert found.p < 0.05
    assert found.high - found.low < 0.2 * (apart[0].high - apart[0].low)


def test_chance_alone_is_rarely_called_a_difference():
    rng, called, times = np.random.default_rng(3), 0, 40
    for _ in range(times):
        one, other = rng.integers(20, 80, (2, 25))
        called += pick(compare(scored(one), scored(other)), "recall").p < 0.05
    assert called <= 5  # 2 expected, a little more with 25 patients


def test_of_distances_and_errors_less_is_better():
    def objects(distance: float) -> ObjectCounts:
        sums = dict.fromkeys(FIELDS, 0.0) | {
            "truth": 1, "predicted": 1, "area_truth": 1, "area_predicted": 1, "slides_um": 1,
            "hausdorff_truth": distance, "hausdorff_predicted": distance,
            "reached_truth": 1, "reached_predicted": 1,
        }  # fmt: skip
        return ObjectCounts(np.array([sums[field] for field in FIELDS], float))

    def histogram(level: int) -> Histogram:
        counts = np.zeros((2, 1, 256), np.int64)
        counts[1, 0, level] = 10
        return Histogram(counts)

    far = scored([1, 2, 3], objects={"gland": objects(9)}, histogram=histogram(100))
    near = scored([1, 2, 3], objects={"gland": objects(4)}, histogram=histogram(250))
    differences = compare(far, near)
    distance = pick(differences, "object hausdorff", level=OBJECT)
    assert (distance.value, distance.better, distance.unit) == (-5, 1, "µm")
    assert "9 to 4, difference -5 [-5, -5] µm" in str(distance)
    error = pick(differences, CALIBRATION_ERROR)
    assert error.value < 0
    assert error.better == 1
    assert not [d for d in differences if d.name in ("objects in truth", "mm2 predicted")]


def test_tiles_of_other_sizes_are_not_compared():
    counts = np.array([[[9, 1], [2, 8]]])
    one = scored([1, 2], tiles=TileCounts(counts))
    same = scored([3, 4], tiles=TileCounts(counts + 1))
    finer = scored([3, 4], tiles=TileCounts(np.concatenate([counts] * 4)))
    assert {d.level for d in compare(one, same)} == {SLIDE, TILES_WITH_OBJECT, ALL_TILES}
    assert {d.level for d in compare(one, finer)} == {SLIDE}
    assert {d.level for d in compare(one, scored([3, 4]))} == {SLIDE}


def test_one_patient_gives_a_difference_without_interval():
    found = pick(compare(scored([50]), scored([60])), "recall")
    assert found.value == pytest.approx(0.1)
    assert all(math.isnan(v) for v in (found.low, found.high, found.better, found.p))
    assert "p =" not in str(found)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Evaluation(("background", "vessel"), scored([1, 2]).slides, {}), "vessel"),
        (scored([1, 2, 3]), "1 slides .*s2"),
        (
            replace(
                scored([1, 2]),
                slides=tuple(replace(s, patient="p00") for s in scored([1, 2]).slides),
            ),
            "'s1'.*other patients",
        ),
    ],
)
def test_what_cannot_be_paired_is_refused(other: Evaluation, message: str):
    with pytest.raises(CohortError, match=message):
        compare(scored([1, 2]), other)


def test_no_slides_differ_in_nothing():
    nobody = Evaluation(NAMES, (), {})
    assert all(math.isnan(d.value) and math.isnan(d.low) for d in compare(nobody, nobody))


def test_a_model_that_finds_nothing_on_hard_slides_is_not_the_better_for_it():
    """Its precision is a mean over the easy slides, which is no comparison; its MCC is 0 there."""
    lazy, keen = scored([90] * 6 + [0] * 6), scored([88] * 6 + [60] * 6)
    lazy = replace(
        lazy,
        slides=(
            *lazy.slides[:6],
            *(
                replace(slide, confusion=Confusion(np.array([[1020, 0], [100, 0]])))
                for slide in lazy.slides[6:]
            ),
        ),
    )
    found = {(d.name, d.average): d for d in compare(lazy, keen)}
    assert found["mcc", MEAN_OF_SLIDES].value > 0
    assert ("precision", MEAN_OF_SLIDES) not in found
    assert found["precision", POOLED].patients == 12


def test_the_mean_of_classes_keeps_its_classes_in_every_resample():
    """One patient alone holds the rare class: no resample without them has a mean of classes."""
    rng = np.random.default_rng(2)
    slides = []
    for patient in range(8):
        hits = rng.integers(80, 95)
        rare = [5, 0, 4] if patient < 2 else [0, 0, 0]
        counts = np.array([[900, 10, 0], [100 - hits, hits, 0], rare])
        slides.append(SlideScore(f"s{patient}", Confusion(counts), f"p{patient}"))
    evaluation = Evaluation((*NAMES, "rare"), tuple(slides), {})
    (found,) = [
        figure
        for figure in evaluation.figures
        if figure.name == "recall" and figure.average == f"mean of classes ({POOLED})"
    ]
    assert found.low < found.value < found.high < 0.75  # the common class alone is above 0.8
