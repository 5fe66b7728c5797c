"""Scores of result folders against truth worked out by hand."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely

from journey import DARK, LIGHT, save_dark_bundle, write_png
from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import CohortError, OutputError
from slidemask.data.case import Case
from slidemask.data.cohort import write_cohort
from slidemask.evaluate.evaluation import Evaluation
from slidemask.evaluate.figures import find
from slidemask.evaluate.objects import ObjectCounts
from slidemask.evaluate.scorefiles import read_scores
from slidemask.geometry.annotations import Annotations
from slidemask.io.geojson import write_geojson
from slidemask.models.bundle import Bundle
from slidemask.recipes.found import find_results, read_history
from slidemask.recipes.results import read_summary
from slidemask.recipes.scoring import evaluate
from slidemask.recipes.segment import Options, segment
from slidemask.recipes.slidescore import is_numbered, numbered_objects


def square(side: int = 80, at: int = 20, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A dark square on light ground, and its mask."""
    mask = np.zeros((side, side), np.uint8)
    mask[at : at + size, at : at + size] = 1
    pixels = np.where(mask[..., None] == 1, np.array(DARK), np.array(LIGHT)).astype(np.uint8)
    return pixels, mask


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.load(save_dark_bundle(tmp_path / "model"), "cpu")


def segmented(bundle: Bundle, case: Case, out: Path, *, probability: bool = False) -> Case:
    (outcome,) = segment([case], bundle, out, Options(probability=probability))
    assert (outcome.state, outcome.message) == ("done", "")
    return case


def value(
    evaluation: Evaluation, name: str, average: str = "pooled", level: str = "slide"
) -> float:
    return find(evaluation.figures, name, average, "gland", level=level).value


def test_a_perfect_mask_scores_1(bundle: Bundle, tmp_path: Path) -> None:
    pixels, mask = square()
    case = Case(
        write_png(tmp_path / "s.png", pixels), write_png(tmp_path / "t.png", mask), "p", mpp=1.0
    )
    evaluation, html = evaluate(tmp_path / "out", [segmented(bundle, case, tmp_path / "out")])
    assert evaluation.pooled.counts.tolist() == [[80 * 80 - 40 * 40, 0], [0, 40 * 40]]
    assert value(evaluation, "dice") == 1
    assert value(evaluation, "object f1", level="object") == 1
    scores = tmp_path / "out" / "scores"
    assert html == scores / "report.html"
    table = json.loads((scores / "scores.json").read_text())
    assert table["confusion"]["pooled"] == evaluation.pooled.counts.tolist()
    written = {path.name for path in scores.iterdir()}
    assert written == {"scores.json", "scores.csv", "patients.csv", "report.html", "pictures"}
    picture = cv2.imread(str(scores / "pictures" / "s.png"))
    assert picture is not None
    assert picture.shape == (80, 3 * 80 + 2 * 12, 3)


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
    assert value(evaluation, "dice", "mean of slides") == pytest.approx((1 + 0.5) / 2)


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


def test_every_level_of_two_squares(bundle: Bundle, tmp_path: Path) -> None:
    """One square found, one missed, one made up; tiles of 64 px: 2 x 2 on 100 x 100 px."""
    pixels = np.full((100, 100, 3), LIGHT, np.uint8)
    pixels[10:30, 10:30] = DARK  # found
    pixels[70:90, 70:90] = DARK  # false
    truth = np.zeros((100, 100), np.uint8)
    truth[10:30, 10:30] = 1
    truth[10:20, 70:80] = 1  # missed
    case = Case(write_png(tmp_path / "s.png", pixels), write_png(tmp_path / "t.png", truth), mpp=10)
    evaluation, html = evaluate(tmp_path / "out", [segmented(bundle, case, tmp_path / "out")])
    assert value(evaluation, "precision") == pytest.approx(400 / 800)
    assert value(evaluation, "recall") == pytest.approx(400 / 500)
    # The two upper tiles hold the object; the false square lies in the lower right one.
    assert value(evaluation, "precision", level="tiles with the object") == 1
    assert value(evaluation, "precision", level="all tiles") == pytest.approx(0.5)
    assert value(evaluation, "object f1", level="object") == pytest.approx(2 * 1 / 4)
    assert value(evaluation, "mm2 in truth", "total", level="object") == pytest.approx(0.05)
    text = html.read_text()
    assert "Recall by size" in text
    assert "No probabilities were kept" in text
    (row,) = csv.DictReader((html.parent / "scores.csv").read_text().splitlines())
    assert (row["tp_px"], row["object recall"]) == ("400", "0.5")


def test_probabilities_are_scored_where_they_were_kept(bundle: Bundle, tmp_path: Path) -> None:
    pixels, mask = square()
    case = Case(write_png(tmp_path / "s.png", pixels), write_png(tmp_path / "t.png", mask))
    segmented(bundle, case, tmp_path / "out", probability=True)
    evaluation, html = evaluate(tmp_path / "out", [case])
    histogram = evaluation.slides[0].histogram
    assert histogram is not None
    assert histogram.confusion_at(0.5).counts.tolist() == evaluation.pooled.counts.tolist()
    assert value(evaluation, "average precision") == pytest.approx(1)
    assert "Precision and recall of gland" in html.read_text()
    again = read_scores(html.parent)
    assert [str(f) for f in again.figures] == [str(f) for f in evaluation.figures]


def test_a_complete_slide_without_annotations_is_scored_as_background(
    bundle: Bundle, tmp_path: Path
) -> None:
    pixels, mask = square()
    out = tmp_path / "out"
    full = Case(write_png(tmp_path / "s.png", pixels), write_png(tmp_path / "t.png", mask))
    empty = Case(
        write_png(tmp_path / "e.png", np.full((80, 80, 3), LIGHT, np.uint8)), complete=True
    )
    evaluation, _ = evaluate(out, [segmented(bundle, case, out) for case in (full, empty)])
    dice = find(evaluation.figures, "dice", "mean of slides", "gland")
    assert (dice.value, dice.n, dice.skipped) == (1, 1, 1)


def test_a_moved_cohort_is_found_by_file_name(bundle: Bundle, tmp_path: Path) -> None:
    pixels, mask = square()
    write_png(tmp_path / "old" / "s.png", pixels)
    segmented(bundle, Case(tmp_path / "old" / "s.png"), tmp_path / "out")
    moved = Case(write_png(tmp_path / "new" / "s.png", pixels), write_png(tmp_path / "t.png", mask))
    (found,) = find_results(tmp_path / "out", [moved])
    assert found.folder == tmp_path / "out" / "s"
    write_png(tmp_path / "older" / "s.png", pixels)
    other = tmp_path / "two"
    two = [Case(tmp_path / name / "s.png") for name in ("old", "older")]
    assert all(outcome.state == "done" for outcome in segment(two, bundle, other, Options()))
    with pytest.raises(CohortError, match=r"new.s\.png.*old.s\.png, .*older.s\.png"):
        find_results(other, [moved])
    assert [one.folder.name for one in find_results(other, two)] == ["old-s.png", "older-s.png"]


def test_scores_of_something_else_are_kept(bundle: Bundle, tmp_path: Path) -> None:
    pixels, mask = square()
    out, truth = tmp_path / "out", write_png(tmp_path / "t.png", mask)
    cases = [
        segmented(bundle, Case(write_png(tmp_path / f"{name}.png", pixels), truth), out)
        for name in "ab"
    ]
    _, html = evaluate(out, cases)
    first = html.read_bytes()
    evaluate(out, cases)
    assert html.read_bytes() == first
    with pytest.raises(OutputError, match=r"something else \(slides differ\).*--overwrite"):
        evaluate(out, cases[:1])
    _, elsewhere = evaluate(out, cases[:1], to=tmp_path / "one")
    assert elsewhere == tmp_path / "one" / "report.html"
    evaluate(out, cases[:1], overwrite=True)
    assert len(read_scores(html.parent).slides) == 1


def test_two_models_are_compared_in_the_report(bundle: Bundle, tmp_path: Path) -> None:
    cases = []
    for name in "abc":
        pixels, mask = square()
        pixels[:30] = LIGHT  # lost to both
        slide = write_png(tmp_path / f"{name}.png", pixels)
        cases.append(Case(slide, write_png(tmp_path / f"t{name}.png", mask), name))
        segmented(bundle, cases[-1], tmp_path / "one")
        pixels[:35] = LIGHT
        write_png(tmp_path / "worse" / f"{name}.png", pixels)
    worse = [replace(case, slide=tmp_path / "worse" / case.slide.name) for case in cases]
    for case in worse:
        segmented(bundle, case, tmp_path / "two")
    one, _ = evaluate(tmp_path / "one", cases)
    _, html = evaluate(tmp_path / "two", worse, against=one)
    text = " ".join(html.read_text().split())
    assert "Compared with another model" in text
    before, after = 2 * 1200 / (1600 + 1200), 2 * 1000 / (1600 + 1000)
    assert f"<td>{before:.3f}</td><td>{after:.3f}</td>" in text
    assert f"\N{MINUS SIGN}{before - after:.3f}" in text
    with pytest.raises(CohortError, match=r"differ: only here \[\], only there \['c'\]"):
        evaluate(tmp_path / "two", worse[:2], against=one, to=tmp_path / "x")


def test_the_training_of_the_model_is_shown(tmp_path: Path) -> None:
    run = tmp_path / "run"
    bundle = Bundle.load(save_dark_bundle(run / "bundle"), "cpu")
    pixels, mask = square()
    case = Case(write_png(tmp_path / "s.png", pixels), write_png(tmp_path / "t.png", mask))
    segmented(bundle, case, tmp_path / "out")
    summary = read_summary(tmp_path / "out" / "s")
    assert summary["model"]["path"] == str(run / "bundle")
    assert read_history(summary) == []
    (run / "history.csv").write_text("epoch,train_loss,dice pooled\n1,0.9,0.5\n2,0.4,\n")
    assert read_history(summary) == [
        {"epoch": 1, "train_loss": 0.9, "dice pooled": 0.5},
        {"epoch": 2, "train_loss": 0.4},
    ]
    _, html = evaluate(tmp_path / "out", [case])
    assert "Training of the model" in html.read_text()


def test_numbered_label_images_hold_their_objects() -> None:
    """As in the GlaS challenge: touching objects with numbers of their own, one in two parts."""
    values = np.zeros((30, 40), np.uint8)
    values[2:8, 2:8], values[2:8, 8:14] = 1, 2
    values[20:24, 3:6], values[20:24, 20:25] = 7, 7
    assert is_numbered(values)
    found = numbered_objects(values)
    assert [polygon.area for polygon in found.polygons] == [36, 36, 12 + 20]
    assert [polygon.bounds for polygon in found.polygons] == [
        (2, 2, 8, 8), (8, 2, 14, 8), (3, 20, 25, 24),
    ]  # fmt: skip
    assert not is_numbered(np.minimum(values, 1))
    assert not is_numbered(np.where(values > 1, 255, values).astype(np.uint8))
    assert is_numbered(np.where(values > 1, 255, values).astype(np.uint16))


def test_touching_numbered_objects_count_singly(bundle: Bundle, tmp_path: Path) -> None:
    pixels, mask = square(size=40)
    mask[:, 40:] *= 2  # two halves of what is found as one
    case = Case(write_png(tmp_path / "s.png", pixels), write_png(tmp_path / "t.png", mask))
    evaluation, _ = evaluate(tmp_path / "out", [segmented(bundle, case, tmp_path / "out")])
    counts = evaluation.slides[0].objects["gland"]
    assert isinstance(counts, ObjectCounts)
    assert (counts["truth"], counts["predicted"]) == (2, 1)


@pytest.mark.parametrize(("patient", "seen"), [("p", True), ("q", False)])
def test_slides_of_a_training_patient_are_named(
    tmp_path: Path, patient: str, *, seen: bool
) -> None:
    """The model's run learnt from another slide of patient p."""
    loaded = Bundle.load(save_dark_bundle(tmp_path / "run" / "bundle"), "cpu")
    pixels, mask = square()
    other = Case(write_png(tmp_path / "o.png", pixels), None, "p", "train")
    write_cohort(tmp_path / "run" / "cohort.csv", [other])
    (tmp_path / "run" / "recipe.toml").touch()
    slide, truth = write_png(tmp_path / "s.png", pixels), write_png(tmp_path / "t.png", mask)
    case = segmented(loaded, Case(slide, truth, patient), tmp_path / "out")
    evaluation, _ = evaluate(tmp_path / "out", [case])
    assert evaluation.about.get("slides of the train part") == ("1 of 1" if seen else None)
