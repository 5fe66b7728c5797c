"""Scores of result folders against truth worked out by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from journey import DARK, LIGHT, save_dark_bundle, write_png
from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import CohortError
from slidemask.data.case import Case
from slidemask.evaluate.evaluation import Evaluation
from slidemask.geometry.annotations import Annotations
from slidemask.io.geojson import write_geojson
from slidemask.models.bundle import Bundle
from slidemask.recipes.scoring import evaluate
from slidemask.recipes.segment import Options, segment


def square(side: int = 80, at: int = 20, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A dark square on light ground, and its mask."""
    mask = np.zeros((side, side), np.uint8)
    mask[at : at + size, at : at + size] = 1
    pixels = np.where(mask[..., None] == 1, np.array(DARK), np.array(LIGHT)).astype(np.uint8)
    return pixels, mask


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.load(save_dark_bundle(tmp_path / "model"), "cpu")


def segmented(bundle: Bundle, case: Case, out: Path) -> Case:
    (outcome,) = segment([case], bundle, out, Options())
    assert (outcome.state, outcome.message) == ("done", "")
    return case


def value(evaluation: Evaluation, name: str, average: str = "pooled") -> float:
    (found,) = [
        figure.value
        for figure in evaluation.figures
        if figure.name == name and figure.class_name == "gland" and average in figure.average
    ]
    return found


def test_a_perfect_mask_scores_1(bundle: Bundle, tmp_path: Path) -> None:
    pixels, mask = square()
    case = Case(
        write_png(tmp_path / "s.png", pixels), write_png(tmp_path / "t.png", mask), "p", mpp=1.0
    )
    evaluation, html = evaluate(tmp_path / "out", [segmented(bundle, case, tmp_path / "out")])
    assert evaluation.pooled.counts.tolist() == [[80 * 80 - 40 * 40, 0], [0, 40 * 40]]
    assert value(evaluation, "dice") == 1
    assert html.exists()
    table = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert table["confusion"]["pooled"] == evaluation.pooled.counts.tolist()
    assert (tmp_path / "out" / "s" / "errors.png").exists()


def test_a_shifted_mask_scores_what_is_left_of_it(bundle: Bundle, tmp_path: Path) -> None:
    pixels, mask = square()
    truth = np.roll(mask, 10, axis=1)
    case = Case(write_png(tmp_path / "s.png", pixels), write_png(tmp_path / "t.png", truth))
    evaluation, _ = evaluate(tmp_path / "out", [segmented(bundle, case, tmp_path / "out")])
    assert evaluation.pooled.counts.tolist() == [[80 * 80 - 2000, 400], [400, 1200]]
    assert value(evaluation, "dice") == pytest.approx(0.75)
    assert value(evaluation, "iou") == pytest.approx(0.6)


def test_label_images_are_scored_at_their_own_pixels(tmp_path: Path) -> None:
    """The mask has a quarter of the pixels; the truth keeps its own, none is resampled away."""
    pixels, mask = square()
    bundle = Bundle.load(save_dark_bundle(tmp_path / "half", downsample=2.0), "cpu")
    mask[0, 0] = 1  # one pixel that no mask at half the resolution can hold
    case = Case(write_png(tmp_path / "s.png", pixels), write_png(tmp_path / "t.png", mask))
    evaluation, _ = evaluate(tmp_path / "out", [segmented(bundle, case, tmp_path / "out")])
    assert evaluation.pooled.counts.tolist() == [[80 * 80 - 1601, 0], [1, 1600]]


def test_outside_the_region_nothing_is_scored(tmp_path: Path) -> None:
    pixels, _ = square()
    pixels[:5, :5] = DARK  # outside the region: neither right nor wrong
    classes = ClassMap(classes=(ClassInfo(name="gland"),), region="ROI")
    loaded = Bundle.load(save_dark_bundle(tmp_path / "m"), "cpu")
    bundle = replace(loaded, info=loaded.info.model_copy(update={"classes": classes}))
    polygons = [shapely.box(10, 10, 70, 60), shapely.box(20, 20, 60, 40)]
    truth = tmp_path / "t.geojson"
    write_geojson(truth, Annotations.of(polygons, ["ROI", "gland"]), classes)
    case = Case(write_png(tmp_path / "s.png", pixels), truth)
    evaluation, _ = evaluate(tmp_path / "out", [segmented(bundle, case, tmp_path / "out")])
    # In the region 60 x 50: truth 40 x 20, found 40 x 40 of which 20 rows are false.
    assert evaluation.pooled.counts.tolist() == [[3000 - 1600, 800], [0, 800]]


def test_means_over_slides_are_not_pooled_counts(bundle: Bundle, tmp_path: Path) -> None:
    cases = []
    for name, side, shift in (("a", 80, 0), ("b", 200, 20)):
        pixels, mask = square(side)
        cases.append(
            Case(
                write_png(tmp_path / f"{name}.png", pixels),
                write_png(tmp_path / "t" / f"{name}.png", np.roll(mask, shift, 0)),
            )
        )
        segmented(bundle, cases[-1], tmp_path / "out")
    evaluation, _ = evaluate(tmp_path / "out", cases)
    assert value(evaluation, "dice", "pooled") == pytest.approx(2 * 2400 / 6400)
    assert value(evaluation, "dice", "slides") == pytest.approx((1 + 0.5) / 2)


def test_missing_results_and_missing_truth_are_named(bundle: Bundle, tmp_path: Path) -> None:
    pixels, mask = square()
    truth = write_png(tmp_path / "t.png", mask)
    case = Case(write_png(tmp_path / "s.png", pixels), truth)
    with pytest.raises(CohortError, match=r"1 of 1 annotated slides have no result.*s\.png"):
        evaluate(tmp_path / "out", [case])
    segmented(bundle, case, tmp_path / "out")
    other = Case(write_png(tmp_path / "other.png", pixels), truth)
    with pytest.raises(CohortError, match=r"1 of 2 .*other\.png"):
        evaluate(tmp_path / "out", [case, other])
    with pytest.raises(CohortError, match="No case has annotations"):
        evaluate(tmp_path / "out", [replace(case, annotations=None)])


def test_results_made_with_a_relative_path_are_found_from_elsewhere(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, mask = square()
    write_png(tmp_path / "s.png", pixels)
    truth = write_png(tmp_path / "t.png", mask)
    monkeypatch.chdir(tmp_path)
    segmented(bundle, Case(Path("s.png")), Path("out"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    evaluation, _ = evaluate(tmp_path / "out", [Case(tmp_path / "s.png", truth)])
    assert value(evaluation, "dice") == 1
