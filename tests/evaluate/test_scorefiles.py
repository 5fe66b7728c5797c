"""The files of an evaluation, and back."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slidemask.base.errors import CohortError
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation, SlideScore
from slidemask.evaluate.histogram import Histogram
from slidemask.evaluate.objects import FIELDS, ObjectCounts
from slidemask.evaluate.scorefiles import read_scores, write_scores
from slidemask.evaluate.tilecounts import TileCounts

NAMES = ("background", "gland", "cluster")


def score(
    slide: str, seed: int, patient: str | None = None, group: str | None = None
) -> SlideScore:
    rng = np.random.default_rng(seed)
    objects = ObjectCounts(rng.integers(1, 9, len(FIELDS)) / 3)
    return SlideScore(
        slide,
        Confusion(rng.integers(1, 99, (3, 3))),
        patient,
        group,
        tiles=TileCounts(rng.integers(0, 9, (4, 3, 3))),
        objects={"cluster": objects},
        histogram=Histogram(rng.integers(0, 10**7, (3, 2, 256))),
    )


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    empty = SlideScore("empty", Confusion(np.diag([50, 0, 0])), group="benign")
    same = score("a2", 2, patient="p1")
    slides = (score("a", 0, "p1", "benign"), score("b,\n<c>", 1, "p2"), empty, same)
    return Evaluation(NAMES, slides, {"model": "m"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, evaluation: Evaluation) -> Path:
    folder = tmp_path_factory.mktemp("scores")
    names = [path.name for path in write_scores(folder, evaluation)]
    assert names == ["scores.json", "scores.csv", "patients.csv"]
    return folder


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_of_slides_hold_counts_that_add_up(folder: Path, evaluation: Evaluation):
    rows = rows_in(folder / "scores.csv")
    assert [(r["slide"], r["class"]) for r in rows[:3]] == [
        ("a", "gland"), ("a", "cluster"), ("b,\n<c>", "gland"),
    ]  # fmt: skip
    for row, slide in zip(rows[::2], evaluation.slides, strict=True):
        parts = [int(row[f"{name}_px"]) for name in ("tp", "fp", "fn", "tn")]
        assert sum(parts) == slide.confusion.total
        if parts[0]:
            assert float(row["dice"]) == pytest.approx(
                2 * parts[0] / (2 * parts[0] + parts[1] + parts[2])
            )
    assert rows[4]["dice"] == ""  # the empty slide
    assert rows[0]["patient"] == "p1"
    assert rows[0]["object f1"] == ""  # glands were not counted as objects
    objects = evaluation.slides[0].objects["cluster"]
    assert float(rows[1]["object f1"]) == objects.figure("object f1")


def test_rows_of_patients_pool_their_slides(folder: Path, evaluation: Evaluation):
    rows = rows_in(folder / "patients.csv")
    assert [(r["patient"], r["slides"], r["slide names"]) for r in rows[::2]] == [
        ("p1", "2", "a; a2"), ("p2", "1", "b,\n<c>"), ("", "1", "empty"),
    ]  # fmt: skip
    a, _, _, a2 = evaluation.slides
    pooled = a.confusion + a2.confusion
    assert float(rows[0]["mcc"]) == pooled.mcc[1]
    assert int(rows[1]["tp_px"]) == pooled.counts[2, 2]
    both = a.objects["cluster"] + a2.objects["cluster"]
    assert float(rows[1]["pq"]) == pytest.approx(both.figure("pq"))


def test_json_figures_carry_average_level_and_interval(folder: Path):
    text = (folder / "scores.json").read_text(encoding="utf-8")
    found = json.loads(text)
    dice = [
        f
        for f in found["figures"]
        if (f["name"], f["class_name"], f["level"]) == ("dice", "gland", "slide")
    ]
    assert [(f["average"], f["n"], f["skipped"]) for f in dice] == [
        ("pooled", 4, 0), ("mean of slides", 3, 1), ("mean of patients", 2, 1),
    ]  # fmt: skip
    assert all(f["low"] <= f["value"] <= f["high"] for f in dice)
    slides = found["confusion"]["slides"]
    assert np.sum(list(slides.values()), 0).tolist() == found["confusion"]["pooled"]
    assert list(found["groups"]) == ["benign"]
    assert "NaN" not in text


def test_what_was_written_is_read_back_whole(folder: Path, evaluation: Evaluation):
    for path in (folder, folder / "scores.json"):
        again = read_scores(path)
        assert (again.names, again.about) == (evaluation.names, evaluation.about)
        for one, other in zip(evaluation.slides, again.slides, strict=True):
            assert (one.slide, one.patient, one.group) == (other.slide, other.patient, other.group)
            np.testing.assert_array_equal(one.confusion.counts, other.confusion.counts)
            for ours, theirs in ((one.tiles, other.tiles), (one.histogram, other.histogram)):
                assert (ours is None) == (theirs is None)
                if ours is not None and theirs is not None:
                    np.testing.assert_array_equal(ours.counts, theirs.counts)
            assert list(one.objects) == list(other.objects)
            for name, counts in one.objects.items():
                np.testing.assert_array_equal(counts.sums, other.objects[name].sums)
    figures = zip(evaluation.measured, read_scores(folder).measured, strict=True)
    for one, other in figures:
        np.testing.assert_array_equal(one.estimate.parts, other.estimate.parts)


def without(found: dict[str, Any]) -> None:
    del found["counts"]["a"]["objects"]["cluster"]["predicted"]


def newer(found: dict[str, Any]) -> None:
    found["format"] = 99


def damaged(found: dict[str, Any]) -> None:
    found["counts"]["a"]["tiles"]["data"] = found["counts"]["a"]["tiles"]["data"][:8]


def reshaped(found: dict[str, Any]) -> None:
    found["counts"]["a"]["tiles"]["shape"][0] += 1


@pytest.mark.parametrize("change", [without, newer, damaged, reshaped])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, folder: Path, change: Any):
    found = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    change(found)
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(CohortError, match=r"scores\.json.*evaluate again"):
        read_scores(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "classes": ["a"]}'])
def test_other_files_are_refused(tmp_path: Path, text: str):
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CohortError, match=r"other\.json is no scores\.json"):
        read_scores(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(CohortError, match=r"absent.*No such file"):
        read_scores(tmp_path / "absent")
    with pytest.raises(CohortError, match=r"scores\.json.*No such file"):
        read_scores(tmp_path)
