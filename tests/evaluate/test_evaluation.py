"""The files of an evaluation."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from slidemask.base.errors import SettingsError
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation, SlideScore, write_tables

NAMES = ("background", "gland", "cluster")


def score(
    slide: str, seed: int, patient: str | None = None, group: str | None = None
) -> SlideScore:
    rng = np.random.default_rng(seed)
    return SlideScore(slide, Confusion(rng.integers(1, 99, (3, 3))), patient, group)


@pytest.fixture
def evaluation() -> Evaluation:
    empty = SlideScore("empty", Confusion(np.diag([50, 0, 0])), group="benign")
    slides = (score("a", 0, patient="p1", group="benign"), score("b,\n<c>", 1, patient="p2"), empty)
    return Evaluation(NAMES, slides, {"model": "m"})


def test_csv_rows_hold_counts_that_add_up(tmp_path: Path, evaluation: Evaluation):
    _, as_csv = write_tables(tmp_path, evaluation)
    with as_csv.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
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


def test_json_figures_carry_their_average(tmp_path: Path, evaluation: Evaluation):
    as_json, _ = write_tables(tmp_path, evaluation)
    found = json.loads(as_json.read_text(encoding="utf-8"))
    dice = [f for f in found["figures"] if f["name"] == "dice" and f["class_name"] == "gland"]
    assert [(f["average"], f["n"], f["skipped"]) for f in dice] == [
        ("pooled", 3, 0), ("mean of slides", 2, 1),
    ]  # fmt: skip
    slides = found["confusion"]["slides"]
    assert np.sum(list(slides.values()), 0).tolist() == found["confusion"]["pooled"]
    assert list(found["groups"]) == ["benign"]
    assert "NaN" not in as_json.read_text(encoding="utf-8")


def test_one_name_for_two_slides_is_refused():
    with pytest.raises(SettingsError, match="'a'"):
        Evaluation(NAMES, (score("a", 0), score("a", 1)), {})
