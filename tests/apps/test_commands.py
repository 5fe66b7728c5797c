"""Each command does what it says."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from journey import GLAND, disc_cases, discs, write_png, write_slide
from slidemask import __version__
from slidemask.apps.cli import COMMANDS
from slidemask.data.cohort import read_cohort, write_cohort
from slidemask.models import bundle
from slidemask.models.build import ModelSpec
from slidemask.recipes.recipe import Recipe, write_recipe
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling
from slidemask.train.schedule import Schedule

Command = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_slide(tmp_path / "Schnitt 1 ü.tif", discs(300, 400, seed=3)[0], mpp=0.5)


def test_help_and_version_come_from_the_program_and_load_no_torch() -> None:
    for option, expected in (("--help", "segment"), ("--version", __version__)):
        code = (
            f"import sys; sys.argv = ['slidemask', {option!r}]\n"
            "from slidemask.apps.cli import main\n"
            "try:\n    main()\nfinally:\n"
            "    print('loaded', {'torch', 'numpy', 'cv2', 'shapely'} & set(sys.modules))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0
        assert expected in done.stdout
        assert "loaded set()" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(slidemask: Command, name: str) -> None:
    code, out, err = slidemask(name, "--help")
    assert (code, err) == (0, "")
    assert name in out
    assert "Options" in out


def test_no_command_shows_the_help(slidemask: Command) -> None:
    code, out, err = slidemask()
    assert code == 2
    assert "segment" in out + err


def test_info_of_a_slide_and_of_a_picture(slidemask: Command, slide: Path, tmp_path: Path) -> None:
    code, out, err = slidemask("info", slide)
    assert (code, err) == (0, "")
    assert "Schnitt 1 ü" in out
    values = json.loads(slidemask("info", slide, "--json")[1])
    assert (values["width"], values["height"]) == (400, 300)
    assert values["mpp"] == pytest.approx(0.5, rel=1e-4)
    assert values["width_mm"] == pytest.approx(0.2, rel=1e-4)

    picture = write_png(tmp_path / "p.png", discs(20, 30)[0])
    values = json.loads(slidemask("info", picture, "--json")[1])
    assert (values["width"], values["height"], values["mpp"]) == (30, 20, None)
    assert values["mpp_note"]
    values = json.loads(slidemask("info", picture, "--json", "--mpp", "0.25")[1])
    assert values["mpp"] == 0.25


def test_tissue_writes_a_picture_once(slidemask: Command, tmp_path: Path) -> None:
    pixels = np.full((500, 600, 3), 243, np.uint8)
    pixels[100:300, 100:400] = (200, 120, 170)
    slide = write_slide(tmp_path / "s.tif", pixels, mpp=4.0)
    code, out, _ = slidemask("tissue", slide, "--out", tmp_path / "t.png", "--json")
    assert code == 0
    assert json.loads(out)["tissue_share"] == pytest.approx(0.2, abs=0.05)
    assert cv2.imread(str(tmp_path / "t.png")) is not None
    code, _, err = slidemask("tissue", slide, "--out", tmp_path / "t.png")
    assert code == 2
    assert "--overwrite" in err
    assert slidemask("tissue", slide, "--out", tmp_path / "t.png", "--overwrite")[0] == 0


def test_plan_says_grid_and_cost_and_writes_nothing(
    slidemask: Command, slide: Path, model: Path
) -> None:
    before = sorted(slide.parent.iterdir())
    arguments = ("plan", slide, "--model", model, "--device", "cpu")
    values = json.loads(slidemask(*arguments, "--json")[1])
    assert values["downsample"] == pytest.approx(2, rel=1e-4)
    assert values["grid"] == {"rows": 3, "columns": 4, "tiles": 12}
    assert values["tiles_kept"] == 12
    assert values["expected_seconds"] >= 0
    larger = json.loads(slidemask(*arguments, "--json", "--set", "tiling.tile_px=128")[1])
    assert larger["grid"]["tiles"] < 12
    assert sorted(slide.parent.iterdir()) == before


def test_phantom_then_segment_then_evaluate(
    slidemask: Command, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "a phantom"
    code, out, err = slidemask(
        "phantom", "--out", folder, "--width", 700, "--height", 600, "--mpp", 2, "--seed", 1
    )
    assert code == 0, err
    slide, truth = map(Path, out.split("\n")[:2])
    assert slide.exists()
    assert truth.exists()
    code, out, err = slidemask("segment", slide, "-m", model, "-o", tmp_path / "out")
    assert code == 0, err
    assert "Not for diagnosis" in out
    assert (tmp_path / "out" / "report.html").exists()
    assert "was done before" in slidemask("segment", slide, "-m", model, "-o", tmp_path / "out")[1]


def test_cohort_from_folders_by_pattern_and_by_table(slidemask: Command, tmp_path: Path) -> None:
    cases = disc_cases(tmp_path / "in put", 3, 1, side=16)
    out = tmp_path / "made" / "c.csv"
    out.parent.mkdir()
    folders = (tmp_path / "in put" / "images", tmp_path / "in put" / "labels")
    code, said, err = slidemask(
        "cohort", *folders, "--patient-pattern", r"p(\d)", "--mpp", "0.5", "--out", out
    )
    assert code == 0, err
    assert "4 cases, 4 patients" in said
    made = read_cohort(out)
    assert [case.patient for case in made] == ["0", "1", "2", "3"]
    assert [case.slide.resolve() for case in made] == [case.slide.resolve() for case in cases]
    assert {case.mpp for case in made} == {0.5}
    assert slidemask("cohort", *folders, "--out", out)[0] == 2

    table = tmp_path / "who.csv"
    table.write_text("file;case\n" + "".join(f"p{n}.png;{n // 2}\n" for n in range(4)))
    code, said, err = slidemask(
        "cohort", tmp_path / "in put", "--table", table, "--name-column", "file",
        "--patient-column", "case", "--out", out, "--overwrite",
    )  # fmt: skip
    assert code == 0, err
    assert [case.patient for case in read_cohort(out)] == ["0", "0", "1", "1"]


def test_train_segment_evaluate_from_another_folder(
    slidemask: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths, a cohort in a folder of its own, letters beyond ASCII."""
    here = tmp_path / "Arbeit – ü"
    cases = disc_cases(here / "data", 4, 2)
    (here / "lists").mkdir()
    write_cohort(here / "lists" / "cohort.csv", cases)
    recipe = Recipe(
        name="discs", classes=GLAND, tiling=Tiling(tile_px=32, overlap=0, mpp=1.0),
        filters=Filters(tissue=None), model=ModelSpec(width=2, depth=1),
        schedule=Schedule(epochs=9, batch=4, precision="fp32"),
    )  # fmt: skip
    (here / "recipe.toml").write_text(write_recipe(recipe), encoding="utf-8")
    monkeypatch.chdir(here)
    code, out, err = slidemask(
        "train", "recipe.toml", "-c", "lists/cohort.csv", "-o", "run", "--workers", 0,
        "--device", "cpu", "--set", "schedule.epochs=1",
    )  # fmt: skip
    assert code == 0, err
    assert "finished after epoch 1; best epoch 1" in out
    part = ("-c", "lists/cohort.csv", "--split", "validation")
    code, out, err = slidemask("segment", "-m", "run", "-o", "out", "--device", "cpu", *part)
    assert code == 0, err
    code, out, err = slidemask("evaluate", "out", *part)
    assert code == 0, err
    assert "Dice of gland" in out
    assert len(out.splitlines()) < 20
    assert "WARNING: 2 of 2 slides" in err
    assert "model's validation part" in err
    assert (here / "out" / "scores" / "report.html").exists()
    found = json.loads(slidemask("evaluate", "out", *part, "--json")[1])
    assert {"dice", "mcc", "object f1"} <= {figure["name"] for figure in found["figures"]}
    assert found["resampled"] == "patients"
    compared = slidemask(
        "evaluate", "out", *part, "-o", "again", "--compare", "out/scores/scores.json"
    )[1]
    assert "This, compared with out/scores/scores.json:" in compared
    assert "difference +0.000 [+0.000, +0.000], p = 1.000 (slide, pooled, 2 patients)" in compared
    code, out, err = slidemask("evaluate", "out", "-c", "run/cohort.csv", "--split", "train")
    assert (code, "have no result" in err) == (2, True)
    assert slidemask("segment", "-m", "run", "-o", "out", "-c", "lists/cohort.csv")[0] == 0
    code, out, err = slidemask("evaluate", "out", "-c", "lists/cohort.csv")
    assert (code, "holds scores of something else" in err) == (2, True)
    assert slidemask("evaluate", "out", "-c", "lists/cohort.csv", "--overwrite")[0] == 0
    with (here / "out" / "summary.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 6


def test_evaluate_prints_json_that_others_can_read(
    slidemask: Command, model: Path, tmp_path: Path
) -> None:
    """A class that is nowhere has no Dice; JSON has no NaN."""
    light = write_png(tmp_path / "s.png", np.full((40, 40, 3), 240, np.uint8))
    write_png(tmp_path / "t.png", np.zeros((40, 40), np.uint8))
    (tmp_path / "c.csv").write_text("slide,annotations\ns.png,t.png\n")
    assert slidemask("segment", light, "--mpp", 1, "-m", model, "-o", tmp_path / "out")[0] == 0
    code, out, err = slidemask("evaluate", tmp_path / "out", "-c", tmp_path / "c.csv", "--json")
    assert code == 0, err

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    figures = json.loads(out, parse_constant=refuse)["figures"]
    (dice,) = [
        (f["value"], f["n"], f["skipped"])
        for f in figures
        if (f["name"], f["level"], f["average"]) == ("dice", "slide", "mean of slides")
    ]
    assert dice == (None, 0, 1)


def test_doctor_says_that_all_is_well(
    slidemask: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "SHIPPED", model.parent)
    code, out, err = slidemask("doctor", "--device", "cpu", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["models"] == ["dark"]
    assert all(check["passed"] for check in found["checks"])
    assert len(found["checks"]) == 4
