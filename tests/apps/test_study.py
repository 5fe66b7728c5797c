"""The study commands on pictures of dark discs, with networks of a few weights."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from journey import disc_cases, save_dark_bundle
from slidemask.base.errors import TrainingError
from slidemask.data.cohort import read_cohort, write_cohort
from slidemask.evaluate.figures import find
from slidemask.evaluate.scorefiles import read_scores
from slidemask.models.bundle import Bundle
from slidemask.recipes.results import read_summary
from slidemask.recipes.study import crossfold, row, sweep
from slidemask.recipes.study.process import in_own_process
from slidemask.tiles.filters import Filters
from slidemask.tiles.rails import Rails

RECIPE = """
name = "discs"
[[classes.classes]]
name = "gland"
[tiling]
tile_px = 32
overlap = 0.0
magnification = 10
[filters]
tissue = false
[model]
width = 2
depth = 1
[schedule]
epochs = 1
batch = 4
learning_rate = 2e-2
precision = "fp32"
[selection]
level = "tiles"
"""


class Done(Protocol):
    code: int
    out: str
    err: str


class Command(Protocol):
    def __call__(self, *arguments: object) -> Done: ...


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, and a cohort of three pictures, one in each part."""
    made = tmp_path_factory.mktemp("study")
    cases = disc_cases(made, train=1, validation=2)
    write_cohort(made / "cohort.csv", [*cases[:2], replace(cases[2], split="test")])
    (made / "discs.toml").write_text(RECIPE, encoding="utf-8")
    return made


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the seconds that each process takes to import torch."""
    for module in (row, sweep, crossfold):
        monkeypatch.setattr(module, "in_own_process", lambda work, argument: work(argument))


def options(folder: Path, out: Path) -> list[object]:
    common = ["--out", out, "--workers", 0, "--device", "cpu"]
    return [folder / "discs.toml", "--cohort", folder / "cohort.csv", *common]


def table(out: Path) -> list[dict[str, str]]:
    with (out / "study.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_magnification_trains_segments_compares_and_goes_on(
    slidemask: Command, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A second call does the row that is new and nothing else; the first spawns its processes."""
    done = slidemask("study", "magnification", *options(folder, tmp_path), "--at", "5")
    assert done.code == 0, done.err
    assert "5x: done" in done.out
    weights = tmp_path / "at 5x" / "run" / "bundle" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    request.getfixturevalue("in_this_process")
    done = slidemask("study", "magnification", *options(folder, tmp_path), "--at", "5,10+5")
    assert done.code == 0, done.err
    assert weights.stat().st_mtime_ns == before
    lines = table(tmp_path)
    assert [(line["row"], line["context"]) for line in lines] == [("5x", ""), ("10x + 5x", "2.0")]
    assert lines[0]["training tile_mm2"] == str((32 * 2 / 1000) ** 2)
    assert float(lines[1]["segmenting seconds_per_slide"]) > 0
    assert (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("in_this_process")
def test_a_row_that_fails_is_named_and_the_rest_is_done(
    slidemask: Command, folder: Path, tmp_path: Path
) -> None:
    """The second recipe's weights are not there, which only its training finds out."""
    broken = folder / "broken.toml"
    network = 'architecture = "Unet"\nencoder = "resnet18"\nencoder_weights = "nowhere.safetensors"'
    wrong = RECIPE.replace("width = 2\ndepth = 1", network)
    broken.write_text(wrong, encoding="utf-8")
    done = slidemask(
        "study", "magnification", *options(folder, tmp_path), "--at", "10", "--also",
        f"{broken}@10",
    )  # fmt: skip
    assert done.code == 1
    assert "10x: done" in done.out
    assert "broken 10x: FAILED" in done.out
    told = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert list(told["failures"]) == ["broken 10x"]
    assert [row["row"] for row in told["rows"]] == ["10x"]


@pytest.mark.usefixtures("in_this_process")
def test_recipes_are_compared_by_iou_with_their_parameters(
    slidemask: Command, folder: Path, tmp_path: Path
) -> None:
    """The parameters are counted by hand, convolution by convolution and norm by norm."""
    small = folder / "small.toml"
    small.write_text(RECIPE.replace("width = 2", "width = 1"), encoding="utf-8")
    given = options(folder, tmp_path)
    done = slidemask("study", "recipes", given[0], small, *given[1:])
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert [row["row"] for row in told["rows"]] == ["discs", "small"]
    for line, width in zip(told["rows"], (2, 1), strict=True):
        bundle = Bundle.load(tmp_path / line["row"] / "run", "cpu")
        weights = sum(p.numel() for p in bundle.segmenter.parameters())
        assert line["training parameters"] == weights == parameters_of_unet(width)
        assert line["slides labelled right"] + line["slides left empty"] == 1
    assert "highest slide-level IoU" in told["verdict"]["reason"][0]
    assert "Side by side" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("in_this_process")
def test_folds_are_by_patient_and_leave_the_test_part_out(
    slidemask: Command, folder: Path, tmp_path: Path
) -> None:
    """The mean is that of the folds' own scores.json; a second call trains nothing again."""
    given = [*options(folder, tmp_path), "--k", 2, "--pooled"]
    done = slidemask("study", "folds", *given)
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    learnt = [fold["validation"]["patients"] for fold in told["folds"][:2]]
    assert "validation" not in told["folds"][2]
    assert sorted(map(tuple, learnt)) == [("p0",), ("p1",)]
    assert [fold["test"]["patients"] for fold in told["folds"]] == [["p2"]] * 3
    ious = []
    for number in (1, 2):
        run = tmp_path / f"fold {number}" / "run"
        stated = {case.patient: case.split for case in read_cohort(run / "cohort.csv")}
        assert stated[learnt[number - 1][0]] == "validation"
        assert stated["p2"] == "test"
        figures = read_scores(tmp_path / f"fold {number}" / "test" / "scores" / "scores.json")
        ious.append(find(figures.figures, "iou", "pooled", "gland").value)
    rows = {row["row"]: row for row in told["tables"][0]["rows"]}
    assert rows["mean"]["test"]["iou"] == pytest.approx(sum(ious) / 2)
    assert rows["standard deviation"]["test"]["iou"] == pytest.approx(
        abs(ious[0] - ious[1]) / 2**0.5
    )
    together = read_summary(tmp_path / "together" / "p2")
    for number in (1, 2):
        digest = Bundle.load(tmp_path / f"fold {number}" / "run", "cpu").digest
        assert digest in json.dumps(together)
    weights = tmp_path / "fold 1" / "run" / "bundle" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    assert slidemask("study", "folds", *given).code == 0
    assert weights.stat().st_mtime_ns == before
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "gland, pooled" in page
    assert "<script" not in page


@pytest.mark.usefixtures("in_this_process")
def test_maps_of_one_model_are_scored_and_the_best_is_said(
    slidemask: Command, folder: Path, tmp_path: Path, model: Path
) -> None:
    given = [model, "--cohort", folder / "cohort.csv", "--out", tmp_path / "out", "--device", "cpu"]
    done = slidemask("study", "maps", *given, "--smooth", "0,9", "--shrink", "0,0.1")
    assert done.code == 0, done.err
    assert "Best of 4: as trained; smooth 0 px, shrink 0 (iou 1.000" in done.out
    lines = table(tmp_path / "out")
    assert [(line["smooth"], line["shrink"]) for line in lines] == [
        (smooth, shrink) for smooth in ("0.0", "9.0") for shrink in ("0.0", "0.1")
    ]
    assert float(lines[1]["pooled, recall"]) < float(lines[0]["pooled, recall"]) == 1
    assert slidemask("study", "maps", *given, "--rails", "on").code == 2
    sifting = save_dark_bundle(
        tmp_path / "sifting", tile=32, filters=Filters(tissue=None, rails=Rails(low=0, high=8))
    )
    on = ["study", "maps", sifting, *given[1:], "--rails", "on", "--set"]
    done = slidemask(*on, "filters.rails=false")
    assert done.code == 2
    assert "has no entropy rails" in done.err
    done = slidemask("study", "maps", *given, "--set", "post.treshold=1")
    assert done.code == 2
    assert "did you mean 'threshold'" in done.err


def parameters_of_unet(width: int) -> int:
    """One step down: two convolutions with norms above, two below, one up, two more, the last."""
    w = width
    above = (27 * w + 2 * w) + (9 * w * w + 2 * w)
    below = (18 * w * w + 4 * w) + (36 * w * w + 4 * w)
    up = (8 * w * w + w) + (18 * w * w + 2 * w) + (9 * w * w + 2 * w)
    return above + below + up + (2 * w + 2)


@pytest.mark.usefixtures("in_this_process")
def test_sweep_scores_all_thresholds_and_adds_repeats(
    slidemask: Command, folder: Path, tmp_path: Path
) -> None:
    vary = ["--vary", "model.width=1,2", "--thresholds", "0.4,0.6"]
    done = slidemask("study", "sweep", *options(folder, tmp_path), *vary, "--repeats", 1)
    assert done.code == 0, done.err
    assert "Chosen: model.width=" in done.out
    counts = tmp_path / "model.width=1" / "0" / "validation.npz"
    before = counts.stat().st_mtime_ns
    keys = [(line["model.width"], line["part"], line["threshold"]) for line in table(tmp_path)]
    assert keys == [
        (width, part, threshold)
        for width in "12"
        for part in ("validation", "test")
        for threshold in ("0.4", "0.6")
    ]
    again = slidemask("study", "sweep", *options(folder, tmp_path), *vary, "--repeats", 2)
    assert again.code == 0
    assert counts.stat().st_mtime_ns == before
    assert len(table(tmp_path)) == 2 * len(keys)


def test_tile_size_measures_rails_without_training(
    slidemask: Command, folder: Path, tmp_path: Path
) -> None:
    done = slidemask(
        "study", "tile-size", *options(folder, tmp_path), "--at", "16,32", "--no-train"
    )
    assert done.code == 0, done.err
    assert "16 px: " in done.out
    told = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert [rails["tile_px"] for rails in told["rails"]] == [16, 32]
    assert not list(tmp_path.rglob("run"))


def test_wrong_use_is_said_before_anything_is_trained(
    slidemask: Command, folder: Path, tmp_path: Path
) -> None:
    given = options(folder, tmp_path / "out")
    for arguments, said in (
        (["magnification", *given, "--at", "ten"], "no number above 0"),
        (["magnification", *given, "--at", "4", "--also", "x"], "RECIPE@MAGNIFICATION"),
        (["magnification", *given, "--set", "split.tset=1"], "did you mean 'test'"),
        (["sweep", *given, "--vary", "model.widht=4"], "did you mean 'width'"),
        (["sweep", *given, "--vary", "model.width=4", "--rule", "auc"], "none of dice, iou, mcc"),
        (["tile-size", *given, "--at", "0"], "tile sides"),
    ):
        done = slidemask("study", *arguments)
        assert done.code == 2, arguments
        assert said in done.err
    assert not (tmp_path / "out").exists()


def test_a_study_needs_a_test_part(slidemask: Command, folder: Path, tmp_path: Path) -> None:
    write_cohort(tmp_path / "cohort.csv", disc_cases(tmp_path, train=1, validation=1))
    given = [folder / "discs.toml", "--cohort", tmp_path / "cohort.csv", "--out", tmp_path / "o"]
    done = slidemask("study", "magnification", *given)
    assert done.code == 2
    assert "No annotated case in the test part" in done.err


@pytest.mark.slow
def test_errors_and_deaths_come_back_from_their_process() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        in_own_process(int, "not a number")
    with pytest.raises(TrainingError, match="died without a word"):
        in_own_process(os._exit, 3)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_study_leaves_no_process_that_writes(tmp_path: Path) -> None:
    """The child notes the time every tenth of a second; after its parent's death it stops."""
    notes = tmp_path / "notes.txt"
    code = (
        "from slidemask.recipes.study.process import in_own_process\n"
        "if __name__ == '__main__':\n"
        f"    in_own_process(exec, '''{_WRITER.format(path=str(notes))}''')\n"
    )
    script = tmp_path / "study.py"
    script.write_text(code, encoding="utf-8")
    parent = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 60
    while not notes.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert notes.exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    time.sleep(2)
    size = notes.stat().st_size
    time.sleep(1)
    assert notes.stat().st_size == size


_WRITER = """
import time
while True:
    with open({path!r}, "a") as file:
        file.write("x")
    time.sleep(0.1)
"""
