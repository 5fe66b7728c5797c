"""Figures of all levels against loops over slides, tiles, patients, and cohorts drawn by hand."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.errors import SettingsError
from slidemask.evaluate.bootstrap import draws
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation, SlideScore
from slidemask.evaluate.figures import (
    ALL_CLASSES,
    ALL_FOREGROUND,
    ALL_TILES,
    AVERAGE_PRECISION,
    BRIER_SCORE,
    CALIBRATION_ERROR,
    MEAN_OF_PATIENTS,
    MEAN_OF_SLIDES,
    MEAN_OF_TILES,
    OBJECT,
    POOLED,
    SLIDE,
    TILES_WITH_OBJECT,
    TOTAL,
    find,
)
from slidemask.evaluate.histogram import Histogram
from slidemask.evaluate.objects import FIELDS, ObjectCounts
from slidemask.evaluate.tilecounts import TileCounts

NAMES = ("background", "gland", "cluster")
SMALL = np.array([[90, 2], [0, 8]])
LARGE = np.array([[9000, 500], [400, 100]])
EMPTY = np.array([[100, 0], [0, 0]])


def divided(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def textbook(tp: int, fp: int, fn: int, tn: int) -> dict[str, float]:
    """Return the figures of one class against the rest from whole numbers."""
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    both = tp + fn > 0 and fp + tn > 0
    return {
        "dice": divided(2 * tp, 2 * tp + fp + fn),
        "iou": divided(tp, tp + fp + fn),
        "precision": divided(tp, tp + fp),
        "recall": divided(tp, tp + fn),
        "specificity": divided(tn, tn + fp),
        "accuracy": divided(tp + tn, tp + fp + fn + tn),
        "mcc": 0.0 if not margins and both else divided(tp * tn - fp * fn, math.sqrt(margins)),
    }


FORMULAS = tuple(textbook(1, 1, 1, 1))


def of_class(name: str, counts: np.ndarray, index: int) -> float:
    table = counts.tolist()
    size = range(len(table))
    tp = table[index][index]
    fp = sum(table[row][index] for row in size if row != index)
    fn = sum(table[index][column] for column in size if column != index)
    return textbook(tp, fp, fn, sum(map(sum, table)) - tp - fp - fn)[name]


def mean(values: Iterable[float]) -> tuple[float, int, int]:
    every = list(values)
    defined = [value for value in every if not math.isnan(value)]
    return divided(sum(defined), len(defined)), len(defined), len(every) - len(defined)


def plain(counts: dict[str, np.ndarray], patients: dict[str, str] | None = None) -> Evaluation:
    of = patients or {}
    slides = (SlideScore(name, Confusion(c), of.get(name)) for name, c in counts.items())
    return Evaluation(NAMES[: len(next(iter(counts.values()), EMPTY))], tuple(slides), {})


def random_score(rng: np.random.Generator, slide: str, patient: str | None) -> SlideScore:
    """Everything counted, with holes: empty tiles, classes without pixels, slides without more."""
    tiles = rng.integers(0, 9, (6, 3, 3)) * (rng.random((6, 3, 1)) < 0.6)
    histogram = rng.integers(0, 9, (3, 2, 256)) * (rng.random((3, 1, 1)) < 0.8)
    counts = {}
    for name in NAMES[1:]:
        truth, predicted, matched = rng.integers(0, 5, 3)
        sums = dict.fromkeys(FIELDS, 0.0) | {
            "truth": truth, "predicted": predicted, "slides_um": 1.0,
            "matched_50": min(matched, truth, predicted), "area_truth": 1e6 * truth,
            "area_predicted": 2e6 * predicted, "dice_truth": 3e5 * truth,
            "dice_predicted": 4e5 * predicted,
        }  # fmt: skip
        if rng.random() < 0.8:
            counts[name] = ObjectCounts(np.array([sums[field] for field in FIELDS], float))
    confusion = Confusion(rng.integers(0, 9, (3, 3)) * (rng.random((3, 1)) < 0.7))
    more = rng.random(2) < 0.8
    return SlideScore(
        slide, confusion, patient, tiles=TileCounts(tiles) if more[0] else None,
        objects=counts, histogram=Histogram(histogram) if more[1] else None,
    )  # fmt: skip


def without_probabilities(evaluation: Evaluation) -> Evaluation:
    """Their bootstrap takes most of the time."""
    slides = tuple(replace(score, histogram=None) for score in evaluation.slides)
    return replace(evaluation, slides=slides)


def random_evaluation(seed: int, slides: int = 7, *, named: bool = True) -> Evaluation:
    rng = np.random.default_rng(seed)
    patients = [f"p{number}" if named else None for number in rng.integers(0, 4, slides)]
    scores = [random_score(rng, f"s{n}", patient) for n, patient in enumerate(patients)]
    return Evaluation(NAMES, tuple(scores), {})


def counted(
    evaluation: Evaluation, level: str, average: str, index: int
) -> dict[str, tuple[float, int, int]]:
    """Return value, n and skipped of each figure of a class, without waiting for intervals."""
    return {
        m.name: (float(m.estimate.value[index - 1]), int(m.n[index - 1]), int(m.skipped[index - 1]))
        for m in evaluation.measured
        if (m.level, m.average) == (level, average) and len(m.classes) == 2
    }


def agree(found: tuple[float, int, int], expected: tuple[float, int, int]) -> bool:
    return found[1:] == expected[1:] and found[0] == pytest.approx(expected[0], nan_ok=True)


def test_pooled_weighs_pixels_and_mean_weighs_slides_and_patients():
    evaluation = plain({"a": SMALL, "b": LARGE, "c": SMALL}, {"a": "Ann", "b": "Ann", "c": "Bob"})
    small, large, ann = 16 / 18, 200 / 1100, 216 / 1118
    dice = {
        average: find(evaluation.figures, "dice", average, "gland").value
        for average in (POOLED, MEAN_OF_SLIDES, MEAN_OF_PATIENTS)
    }
    assert dice == {
        POOLED: pytest.approx(232 / 1136),
        MEAN_OF_SLIDES: pytest.approx((2 * small + large) / 3),
        MEAN_OF_PATIENTS: pytest.approx((small + ann) / 2),
    }


def test_an_empty_slide_is_left_out_and_counted_as_left_out():
    figures = plain({"a": SMALL, "empty": EMPTY}).figures
    over_slides = find(figures, "dice", MEAN_OF_SLIDES, "gland")
    expected = (pytest.approx(16 / 18), 1, 1)
    assert (over_slides.value, over_slides.n, over_slides.skipped) == expected
    pooled = find(figures, "dice", POOLED, "gland")
    assert (pooled.n, pooled.skipped) == (2, 0)


def test_the_papers_slide_level_dice_cannot_come_from_its_precision_and_recall():
    """McCombe et al. 2022, 4x: P .579, R .709, Dice .935 where empty slides count as 1."""
    tp, fp, fn = 709, 516, 291
    with_object = np.array([[10_000, fp], [fn, tp]])
    figures = plain({"a": with_object, **{f"e{n}": EMPTY for n in range(5)}}).figures
    pooled = {n: find(figures, n, POOLED, "gland").value for n in ("precision", "recall", "dice")}
    assert pooled == {
        "precision": pytest.approx(0.579, abs=5e-4),
        "recall": pytest.approx(0.709),
        "dice": pytest.approx(0.637, abs=5e-4),
    }
    over_slides = find(figures, "dice", MEAN_OF_SLIDES, "gland")
    assert (over_slides.value, over_slides.skipped) == (pytest.approx(0.637, abs=5e-4), 5)
    assert (5 + over_slides.value) / 6 == pytest.approx(0.94, abs=1e-3)  # the paper's way


def test_every_figure_comes_once_with_each_average_and_level():
    figures = random_evaluation(0).figures
    keys = [(f.level, f.name, f.class_name, f.average) for f in figures]
    assert len(set(keys)) == len(keys)
    assert list(dict.fromkeys(f.level for f in figures)) == [
        SLIDE, TILES_WITH_OBJECT, ALL_TILES, OBJECT,
    ]  # fmt: skip
    for name in (*FORMULAS, AVERAGE_PRECISION):
        for average in (POOLED, MEAN_OF_SLIDES, MEAN_OF_PATIENTS):
            assert (SLIDE, name, "gland", average) in keys
    assert (OBJECT, "objects in truth", "gland", TOTAL) in keys
    assert (OBJECT, "objects in truth", "gland", POOLED) not in keys


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_slide_level_equals_a_loop_over_slides_and_patients(seed: int):
    evaluation = random_evaluation(seed)
    counts = {s.slide: s.confusion.counts for s in evaluation.slides}
    patients: dict[str | None, np.ndarray] = {}
    for score in evaluation.slides:
        patients[score.patient] = patients.get(score.patient, 0) + score.confusion.counts
    for index in (1, 2):
        found = counted(evaluation, SLIDE, POOLED, index)
        for name in FORMULAS:
            joint = of_class(name, np.sum(list(counts.values()), 0), index)
            assert agree(found[name], (joint, len(counts), 0))
        for average, units in ((MEAN_OF_SLIDES, counts), (MEAN_OF_PATIENTS, patients)):
            found = counted(evaluation, SLIDE, average, index)
            for name in FORMULAS:
                expected = mean(of_class(name, c, index) for c in units.values())
                assert agree(found[name], expected)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_tile_levels_equal_a_loop_over_tiles(seed: int):
    evaluation = random_evaluation(seed)
    scored = [s.tiles for s in evaluation.slides if s.tiles is not None]
    every = [tile for tiles in scored for tile in tiles.counts if tile.sum()]
    for index in (1, 2):
        holding = [tile for tile in every if tile[index].sum()]
        for level, tiles in ((ALL_TILES, every), (TILES_WITH_OBJECT, holding)):
            each = counted(evaluation, level, MEAN_OF_TILES, index)
            pooled = counted(evaluation, level, POOLED, index)
            joint = np.sum([np.zeros((3, 3), int), *tiles], 0)
            for name in FORMULAS if scored else ():
                assert agree(each[name], mean(of_class(name, tile, index) for tile in tiles))
                assert agree(pooled[name], (of_class(name, joint, index), len(tiles), 0))


def test_objects_and_probabilities_are_pooled_from_the_slides_that_were_counted():
    evaluation = random_evaluation(11)
    histograms = [s.histogram for s in evaluation.slides if s.histogram is not None]
    assert 0 < len(histograms) < len(evaluation.slides)
    pooled = sum(histograms, start=Histogram.zero(3))
    share = np.arange(256) / 255
    truth = np.arange(3)[:, None, None] > 0
    brier = (pooled.counts * (truth - share) ** 2).sum() / pooled.total
    found = find(evaluation.figures, BRIER_SCORE, POOLED, ALL_FOREGROUND)
    assert (found.value, found.n) == (pytest.approx(brier), len(histograms))
    find(evaluation.figures, CALIBRATION_ERROR, POOLED, ALL_FOREGROUND)
    glands = [s.objects["gland"] for s in evaluation.slides if "gland" in s.objects]
    f1 = find(evaluation.figures, "object f1", POOLED, "gland", level=OBJECT)
    matched, truth_n, predicted_n = (
        sum(one[field] for one in glands) for field in ("matched_50", "truth", "predicted")
    )
    assert f1.value == pytest.approx(2 * matched / (truth_n + predicted_n))
    assert f1.n == len(glands)
    total = find(evaluation.figures, "mm2 in truth", TOTAL, "gland", level=OBJECT)
    assert (total.value, total.unit) == (pytest.approx(truth_n), "mm²")
    assert math.isnan(total.low)
    per_slide = find(evaluation.figures, "mm2 in truth", MEAN_OF_SLIDES, "gland", level=OBJECT)
    assert per_slide.value == pytest.approx(truth_n / len(glands))


def test_who_was_not_counted_is_in_no_mean_and_not_left_out_either():
    one = dict.fromkeys(FIELDS, 0.0) | {"truth": 6.0, "slides_um": 1.0}
    counted_as = ObjectCounts(np.array([one[field] for field in FIELDS]))
    tiles = {"a": SMALL, "b": EMPTY, "c": SMALL, "d": EMPTY}
    slides = tuple(
        SlideScore(
            slide, Confusion(SMALL), f"patient of {slide}", tiles=TileCounts(tile[None]),
            objects={"gland": counted_as} if slide in "ab" else {},
        )
        for slide, tile in tiles.items()
    )  # fmt: skip
    figures = Evaluation(NAMES[:2], slides, {}).figures
    for average in (MEAN_OF_SLIDES, MEAN_OF_PATIENTS):
        found = find(figures, "objects in truth", average, "gland", level=OBJECT)
        assert (found.value, found.n, found.skipped) == (6, 2, 0)
        precise = find(figures, "object precision", average, "gland", level=OBJECT)
        assert (precise.n, precise.skipped) == (0, 2)  # nothing was predicted
    for level, skipped in ((TILES_WITH_OBJECT, 0), (ALL_TILES, 2)):
        for average in (MEAN_OF_TILES, MEAN_OF_PATIENTS):
            found = find(figures, "dice", average, "gland", level=level)
            assert (found.n, found.skipped) == (2, skipped)


def drawn_by_hand(evaluation: Evaluation, times: np.ndarray) -> Evaluation:
    """Put each patient into a new cohort as often as drawn, every time as somebody new."""
    slides = []
    for score in evaluation.slides:
        for turn in range(int(times[evaluation.owner_of(score)])):
            patient = f"{score.patient} {turn}" if score.patient else None
            slides.append(replace(score, slide=f"{score.slide} {turn}", patient=patient))
    return Evaluation(evaluation.names, tuple(slides), {})


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_resample_is_the_evaluation_of_the_patients_drawn(seed: int, named: bool):
    evaluation = random_evaluation(seed, named=named)
    for times in draws(len(evaluation.patients), seed, 3):
        drawn = {
            (m.name, m.average, m.level, m.classes): m.estimate.value
            for m in drawn_by_hand(evaluation, times).measured
        }
        for found in evaluation.measured:
            (value,) = found.estimate.resampled(times[None])
            key = found.name, found.average, found.level, found.classes
            if key not in drawn:  # nobody drawn has tiles, say
                assert np.isnan(value).all() or (value == 0).all()
            else:
                wanted, classes = drawn[key].copy(), len(found.classes)
                lacks = ~np.isnan(found.estimate.value) & np.isnan(wanted)
                if lacks[:classes].any():  # a mean over fewer classes would be another figure
                    wanted[classes:] = np.nan
                np.testing.assert_allclose(value, wanted, atol=1e-12, err_msg=str(key))


def test_intervals_are_percentiles_of_figures_of_patients_drawn():
    evaluation = without_probabilities(random_evaluation(8, slides=9))
    found = find(evaluation.figures, "dice", POOLED, "gland")
    patients = len(evaluation.patients)
    values = []
    for times in draws(patients):
        sums = sum(times[evaluation.owner_of(s)] * s.confusion.counts for s in evaluation.slides)
        values.append(of_class("dice", np.asarray(sums), 1))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.low < found.value < found.high


def test_the_cohorts_order_changes_nothing():
    evaluation = without_probabilities(random_evaluation(9))
    turned = replace(evaluation, slides=evaluation.slides[::-1])
    for one, other in zip(evaluation.figures, turned.figures, strict=True):
        assert str(one) == str(other)


def test_slides_of_one_patient_give_no_interval_but_without_patients_they_stand_in():
    counts = {f"s{n}": SMALL + n for n in range(6)}
    one = plain(counts, dict.fromkeys(counts, "Ann"))
    assert all(math.isnan(figure.low) for figure in one.figures)
    assert (one.resampled, one.patients) == ("patients", ("Ann",))
    nobody = plain(counts)
    assert (nobody.resampled, len(nobody.patients)) == ("slides", 6)
    assert not math.isnan(find(nobody.figures, "dice", POOLED, "gland").low)
    assert not [f for f in nobody.figures if f.average == MEAN_OF_PATIENTS]
    some = plain(counts, {"s0": "s1", "s2": "s1"})  # a patient named as a slide is
    assert some.patients == ("s1", "s1", "s3", "s4", "s5")
    assert some.resampled == "patients, and slides where no patient is named"


def test_mean_of_classes_leaves_an_absent_class_out():
    absent = np.array([[50, 0, 0], [10, 40, 0], [0, 0, 0]])
    figures = plain({"a": absent}).figures
    gland = find(figures, "dice", POOLED, "gland").value
    macro = find(figures, "dice", f"mean of classes ({POOLED})", ALL_FOREGROUND)
    assert (macro.value, macro.n, macro.skipped) == (gland, 1, 1)


def test_no_slides_give_figures_without_value():
    figures = Evaluation(NAMES, (), {}).figures
    assert figures
    assert all(math.isnan(f.value) and math.isnan(f.low) and f.n == 0 for f in figures)


def test_overall_accuracy_is_the_share_of_right_pixels():
    evaluation = without_probabilities(random_evaluation(2))
    found = find(evaluation.figures, "overall accuracy", POOLED, ALL_CLASSES)
    assert found.value == pytest.approx(evaluation.pooled.overall_accuracy)


def test_groups_are_evaluations_of_their_slides():
    slides = without_probabilities(random_evaluation(6)).slides
    grouped = tuple(replace(s, group="x" if n % 2 else "y") for n, s in enumerate(slides))
    groups = Evaluation(NAMES, grouped, {}).figures_by_group()
    assert list(groups) == ["x", "y"]
    alone = Evaluation(NAMES, grouped[1::2], {}).figures
    assert list(map(str, groups["x"])) == list(map(str, alone))
    assert random_evaluation(6).figures_by_group() == {}


def test_one_name_for_two_slides_is_refused():
    slide = SlideScore("a", Confusion(EMPTY))
    with pytest.raises(SettingsError, match="'a'"):
        Evaluation(NAMES[:2], (slide, slide), {})


@pytest.mark.parametrize(
    "score",
    [
        SlideScore("a", Confusion.zero(4)),
        SlideScore("a", Confusion.zero(3), tiles=TileCounts(np.zeros((1, 2, 2), np.int64))),
        SlideScore("a", Confusion.zero(3), histogram=Histogram.zero(2)),
        SlideScore("a", Confusion.zero(3), objects={"vessel": ObjectCounts.zero()}),
    ],
)
def test_counts_of_other_classes_are_refused(score: SlideScore):
    with pytest.raises(SettingsError, match=r"'a'.*classes are"):
        Evaluation(NAMES, (score,), {})
