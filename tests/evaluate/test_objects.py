"""Object scores against cases worked out on paper, and against a naive count of pixels."""

from math import hypot

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon

from slidemask.base.types import IGNORE
from slidemask.data.truth import LabelImageTruth, PolygonTruth
from slidemask.evaluate.objects import (
    FIELDS,
    OBJECT_FIGURES,
    OBJECT_LABELS,
    ObjectCounts,
    count_objects,
    truth_objects,
)
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.box import Box, Size
from slidemask.geometry.trace import trace


def objects(*boxes: tuple[float, float, float, float]) -> Annotations:
    return Annotations.of([shapely.box(*box) for box in boxes], ["gland"] * len(boxes))


def counted(truth: Annotations, predicted: Annotations, **options: object) -> ObjectCounts:
    return count_objects(truth, predicted, **{"um_per_px": None, **options})  # pyright: ignore[reportArgumentType]


# On paper, areas in brackets. Truth 390:
#   T1 0..10 x 0..10 (100) is split into P1 0..6 (60) and P2 6..10 (40),
#   T2 20..30 x 0..10 (100) and T3 30..39 x 0..10 (90) are merged into P3 20..39 x 0..12 (228),
#   T4 50..60 x 0..10 (100) is missed, and P4 80..90 x 0..10 (100) is false. Predicted 428.
TRUTH = objects((0, 0, 10, 10), (20, 0, 30, 10), (30, 0, 39, 10), (50, 0, 60, 10))
PREDICTED = objects((0, 0, 6, 10), (6, 0, 10, 10), (20, 0, 39, 12), (80, 0, 90, 10))
ON_PAPER = {
    # IoU: T1-P1 60/100, T1-P2 40/100, T2-P3 100/228, T3-P3 90/228: one match, from .5 to .6.
    "object precision": 1 / 4,
    "object recall": 1 / 4,
    "object f1": 1 / 4,
    "object precision .5:.95": 3 / 10 / 4,
    "object recall .5:.95": 3 / 10 / 4,
    "object f1 .5:.95": 3 / 10 / 4,
    "pq": 0.6 / 4,
    "sq": 0.6,
    "rq": 1 / 4,
    # P1 holds 60 % of T1 and P3 all of T2; P2 holds 40 % of T1, T3 is nobody's, P4 has none.
    "glas precision": 2 / 4,
    "glas recall": 2 / 4,
    "glas f1": 2 / 4,
    # Truth: T1 with P1 120/160, T2 with P3 200/328, T3 with P3 180/318, T4 0.
    # Predicted: P1 120/160, P2 with T1 80/140, P3 with T2 200/328, P4 0.
    "object dice": (
        (100 * 120 / 160 + 100 * 200 / 328 + 90 * 180 / 318) / 390
        + (60 * 120 / 160 + 40 * 80 / 140 + 228 * 200 / 328) / 428
    )
    / 2,
    # T1-P1: x 10 is 4 from P1. T1-P2: x 0 is 6 from P2. T2-P3: (39, 12) is 9 and 2 off (30, 10).
    # T3-P3: (20, 12) is 10 and 2 off (30, 10). T4: 30 to P4, hypot(30, 2) to P3; P4: 30 to T4.
    "object hausdorff": (
        (100 * 4 + 100 * hypot(9, 2) + 90 * hypot(10, 2) + 100 * 30) / 390
        + (60 * 4 + 40 * 6 + 228 * hypot(9, 2) + 100 * 30) / 428
    )
    / 2,
    "objects in truth": 4,
    "objects predicted": 4,
}


@pytest.mark.parametrize("name", ON_PAPER)
def test_split_merged_missed_and_false_objects_score_as_on_paper(name: str):
    assert counted(TRUTH, PREDICTED).figure(name) == pytest.approx(ON_PAPER[name], rel=1e-9)


def test_a_pixel_size_gives_micrometres_and_square_millimetres():
    plain, measured = counted(TRUTH, PREDICTED), counted(TRUTH, PREDICTED, um_per_px=0.5)
    assert (plain.unit, measured.unit) == ("px", "µm")
    assert measured.figure("object hausdorff") == pytest.approx(ON_PAPER["object hausdorff"] / 2)
    assert measured.figure("object dice") == pytest.approx(ON_PAPER["object dice"])
    assert measured.figure("mm2 in truth") == pytest.approx(390 * 0.25e-6)
    assert measured.figure("mm2 predicted") == pytest.approx(428 * 0.25e-6)
    assert np.isnan(plain.figure("mm2 in truth"))
    both = plain + measured
    assert both.unit == "mixed"
    assert np.isnan([both.figure(f"object {name}") for name in ("dice", "hausdorff")]).all()
    assert both.figure("object f1") == 1 / 4


def test_half_of_the_union_matches_once():
    whole, halves = objects((0, 0, 2, 1)), objects((0, 0, 1, 1), (1, 0, 2, 1))
    for truth, predicted, precision in ((whole, halves, 0.5), (halves, whole, 1.0)):
        counts = counted(truth, predicted)
        assert (counts["matched_50"], counts["matched_55"]) == (1, 0)
        assert counts.figure("object precision") == precision
    assert counted(whole, halves)["glas_matched"] == 1  # at least half, and once
    assert counted(halves, whole)["glas_matched"] == 1


def test_less_than_half_matches_nothing():
    counts = counted(objects((0, 0, 2, 1)), objects((0, 0, 0.999, 1)))
    assert (counts["matched_50"], counts["glas_matched"]) == (0, 0)


def test_of_annotations_that_overlap_each_is_an_object():
    twice = objects((0, 0, 10, 10), (0, 0, 10, 9))
    counts = counted(twice, objects((0, 0, 10, 10)))
    assert (counts["truth"], counts["matched_50"], counts["matched_95"]) == (2, 1, 1)
    touching = counted(objects((0, 0, 5, 10), (5, 0, 10, 10)), objects((0, 0, 10, 10)))
    assert (touching["truth"], touching["matched_50"]) == (2, 1)


def test_a_multipolygon_is_one_object():
    pieces = MultiPolygon([shapely.box(0, 0, 4, 4), shapely.box(6, 0, 10, 4)])
    one = Annotations(np.array([pieces, None], object)[:1], ("gland",))
    counts = counted(one, one)
    assert (counts["truth"], counts["matched_95"]) == (1, 1)
    assert counts.figure("object hausdorff") == 0


def test_invalid_outlines_are_repaired_and_lines_are_no_objects():
    bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    line = shapely.Polygon([(5, 5), (6, 6), (5, 5)])
    counts = counted(Annotations.of([bow_tie, line], ["a", "a"]), objects((0, 0, 2, 2)))
    assert (counts["truth"], counts["area_truth"], counts["matched_50"]) == (1, 2, 1)


def test_empty_truth_and_prediction_are_undefined_and_one_alone_is_zero():
    none = Annotations.empty()
    empty = counted(none, none)
    shares = [name for name in OBJECT_FIGURES if name.split()[0] not in ("objects", "mm2")]
    assert np.isnan([empty.figure(name) for name in shares]).all()
    assert np.array_equal(empty.sums, ObjectCounts.zero().sums)
    false, missed = counted(none, PREDICTED), counted(TRUTH, none)
    for counts in (false, missed):
        assert counts.figure("object f1") == counts.figure("object dice") == 0
        assert np.isnan(counts.figure("object hausdorff"))
    assert np.isnan(false.figure("object recall"))
    assert np.isnan(missed.figure("object precision"))


def test_slides_add_up_and_figures_take_leading_axes():
    one, other = counted(TRUTH, PREDICTED), counted(PREDICTED, PREDICTED)
    both = one + other
    assert both.figure("object f1") == pytest.approx(2 * (1 + 4) / 16)
    stack = np.array([[one.sums, other.sums], [both.sums, ObjectCounts.zero().sums]])
    for name, figure in OBJECT_FIGURES.items():
        found = figure(stack)
        assert found.shape == (2, 2)
        wanted = [counts.figure(name) for counts in (one, other, both, ObjectCounts.zero())]
        np.testing.assert_array_equal(found.ravel(), wanted)


def test_objects_where_mostly_nothing_is_known_are_left_out():
    def left_is_known(box: Box, downsample: float) -> np.ndarray:
        columns = box.x + (np.arange(box.shape_at(downsample)[1]) + 0.5) * downsample
        row = np.where(columns < 34, 0, IGNORE).astype(np.uint8)
        return np.broadcast_to(row, box.shape_at(downsample))

    counts = counted(TRUTH, PREDICTED, known=left_is_known)
    # T3 has 4 of its 9 columns there, P3 14 of 19; T4 and P4 none.
    assert (counts["truth"], counts["left_out_truth"]) == (2, 2)
    assert (counts["predicted"], counts["left_out_predicted"]) == (3, 1)
    sliver = objects((0, 0, 1e-9, 10))
    assert counted(sliver, sliver, known=left_is_known)["truth"] == 1


def test_truth_objects_are_drawn_polygons_or_parts_of_a_label_image():
    drawn = Annotations.of(
        [shapely.box(0, 0, 4, 4), shapely.box(2, 2, 6, 6), shapely.box(8, 8, 9, 9)],
        ["Crypt", "gland", "vessel"],
    )
    index = {"Crypt": 1, "gland": 1, "vessel": 2}
    found = truth_objects(PolygonTruth(Size(10, 10), drawn, index), 1)
    assert [polygon.area for polygon in found.polygons] == [16, 16]
    pixels = np.array([[1, 1, 0, 2], [0, 0, 1, 255]], np.uint8)
    found = truth_objects(LabelImageTruth(pixels), 1)
    assert [polygon.area for polygon in found.polygons] == [2, 1]  # diagonal: two objects
    assert len(truth_objects(LabelImageTruth(pixels), 3)) == 0


def test_labels_name_known_figures():
    assert set(OBJECT_LABELS) <= set(OBJECT_FIGURES)
    assert len(set(FIELDS)) == len(FIELDS)


# The second truth: label images, counted pixel by pixel as the challenge's program does it.


def blobs(rng: np.random.Generator, like: NDArray[np.float64] | None = None) -> np.ndarray:
    """Return a smooth random field, akin to `like` where it is given."""
    field = ndimage.gaussian_filter(rng.normal(size=(72, 96)), 4)
    field /= field.std()
    return field if like is None else like + 0.7 * field


def pixel_hausdorff(one: np.ndarray, other: np.ndarray) -> float:
    away = [np.asarray(ndimage.distance_transform_edt(~part)) for part in (one, other)]
    return max(away[1][one].max(), away[0][other].max())


def naive_way(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return area-weighted Dice and Hausdorff of the objects of one label image."""
    dice = hausdorff = 0.0
    for number in range(1, one.max() + 1):
        mine = one == number
        met = np.bincount(other[mine], minlength=other.max() + 1)[1:]
        if met.max() > 0:
            partner = other == met.argmax() + 1
            dice += mine.sum() * 2 * met.max() / (mine.sum() + partner.sum())
            hausdorff += mine.sum() * pixel_hausdorff(mine, partner)
        else:
            far = [pixel_hausdorff(mine, other == n) for n in range(1, other.max() + 1)]
            hausdorff += mine.sum() * min(far)
    total = (one > 0).sum()
    return dice / total, hausdorff / total


def naive_counts(truth: np.ndarray, predicted: np.ndarray) -> tuple[list[float], int]:
    """Return the IoUs of at least one half, and the challenge's true positives."""
    ious, hits = [], set()
    for number in range(1, predicted.max() + 1):
        mine = predicted == number
        met = np.bincount(truth[mine], minlength=truth.max() + 1)[1:]
        if met.max() == 0:
            continue
        partner = truth == met.argmax() + 1
        if met.max() >= 0.5 * partner.sum():
            hits.add(met.argmax())
        for other in range(1, truth.max() + 1):
            iou = (mine & (truth == other)).sum() / (mine | (truth == other)).sum()
            if iou >= 0.5:
                ious.append(float(iou))
    return ious, len(hits)


@pytest.mark.parametrize("seed", range(8))
def test_random_blobs_score_as_their_pixels(seed: int):
    rng = np.random.default_rng(seed)
    field = blobs(rng)
    masks = field > 0.6, blobs(rng, field) > 0.8
    polygons = [trace(mask) for mask in masks]
    counts = counted(*(Annotations.of(found, [""] * len(found)) for found in polygons))
    labels = [ndimage.label(mask)[0] for mask in masks]  # pyright: ignore[reportIndexIssue]
    truth, predicted = labels

    ious, hits = naive_counts(truth, predicted)
    assert (counts["truth"], counts["predicted"]) == (truth.max(), predicted.max())
    for percent in range(50, 100, 5):
        matched = sum(100 * iou >= percent - 1e-6 for iou in ious)
        assert counts[f"matched_{percent}"] == matched
    assert counts["iou"] == pytest.approx(sum(ious))
    assert counts["glas_matched"] == hits

    ways = naive_way(truth, predicted), naive_way(predicted, truth)
    assert counts.figure("object dice") == pytest.approx(np.mean([way[0] for way in ways]))
    # Pixels lie at their centres, outlines at their edges.
    wanted = np.mean([way[1] for way in ways])
    assert counts.figure("object hausdorff") == pytest.approx(wanted, abs=1.0)
