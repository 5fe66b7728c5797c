"""What a study writes, from rows whose counts are known."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.measure import shannon_entropy

from journey import discs, write_png
from slidemask.base.errors import CohortError
from slidemask.data.case import Case
from slidemask.data.spread import Spread
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation, SlideScore
from slidemask.evaluate.tilecounts import TileCounts
from slidemask.recipes.recipe import load_recipe
from slidemask.recipes.study.cells import parse_axis
from slidemask.recipes.study.choice import Rule
from slidemask.recipes.study.comparison import Compared, compared
from slidemask.recipes.study.counting import Counted
from slidemask.recipes.study.magnification import rows_of
from slidemask.recipes.study.rails import measure_rails
from slidemask.recipes.study.row import Measured, Row, Segmenting, Training
from slidemask.recipes.study.sweep import Tried, trials_of
from slidemask.recipes.study.sweepwriting import write_sweep
from slidemask.recipes.study.tilesize import rails_of_sizes
from slidemask.recipes.study.views import View
from slidemask.recipes.study.writing import write_comparison
from slidemask.tiles.rails import Rails as TileRails

OFF = ["filters.tissue=false"]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, ...]:
    folder = tmp_path_factory.mktemp("cases")
    made = []
    for number, part in enumerate(("train", "validation", "test", "test")):
        pixels, mask = discs(96, 96, seed=number)
        slide = write_png(folder / "images" / f"p{number}.png", pixels)
        labels = write_png(folder / "labels" / f"p{number}.png", mask * 255)
        made.append(Case(slide, labels, f"p{number}", part, 1.0))
    return tuple(made)


def evaluation(hits: list[int], false: int) -> Evaluation:
    """Slides of 100 object pixels and 900 others in two tiles; the object is in the first."""
    slides = []
    for number, hit in enumerate(hits):
        first = np.array([[80, 20], [100 - hit, hit]])
        second = np.array([[800 - false, false], [0, 0]])
        counts = TileCounts(np.stack([first, second]))
        confusion = Confusion(first + second)
        slides.append(SlideScore(f"s{number}", confusion, f"p{number}", tiles=counts))
    return Evaluation(("background", "gland"), tuple(slides), {})


def measured(row: Row, scores: Evaluation, seconds: float) -> Measured:
    training = Training(100.0, 900.0, None, 5, 3, 400, 90, 180, 0.0256, 15.4)
    return Measured(row, training, Segmenting(5, seconds, seconds / 2, 20.0, 800.0, "cpu"), scores)


@pytest.fixture(scope="module")
def study(cases: tuple[Case, ...]) -> Compared:
    """4x finds less than 20x but has no false alarms in the tiles without the object."""
    rows = rows_of("glands", [View(4), View(20), View(10, 2.5)], [("glas", View(4))], OFF)
    rows = [Row(row.label, row.recipe, row.folder, cases) for row in rows]
    hits = [70, 75, 65, 80, 72, 68]
    done = [
        measured(rows[0], evaluation(hits, 0), 4.0),
        measured(rows[1], evaluation([hit + 15 for hit in hits], 300), 60.0),
        measured(rows[2], evaluation([hit + 1 for hit in hits[::-1]], 0), 20.0),
    ]
    return compared(done, {rows[3].label: "no memory"})


def test_slides_and_tiles_disagree_and_the_cheaper_equal_is_chosen(study: Compared) -> None:
    verdict = study.verdict
    assert verdict is not None
    assert (verdict.best, verdict.chosen, verdict.by_tiles) == ("10x + 2.5x", "4x", "20x")
    assert study.gaps["20x"].low > 0
    assert study.gaps["4x"].within_noise
    assert study.gaps["4x"].value > 0


def test_five_patients_give_no_interval_and_the_best_row_stands(study: Compared) -> None:
    few = [
        replace(row, evaluation=replace(row.evaluation, slides=row.evaluation.slides[:5]))
        for row in study.rows
    ]
    found = compared(few, {})
    assert all(math.isnan(gap.low) for gap in found.gaps.values())
    assert found.verdict is not None
    assert found.verdict.chosen == found.verdict.best == "10x + 2.5x"


def test_a_study_leaves_tables_charts_and_a_page(study: Compared, tmp_path: Path) -> None:
    about = {"title": "Magnification study", "recipe": "glands & <more>"}
    report = write_comparison(tmp_path, study, about)
    with (tmp_path / "study.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["row"] for line in lines] == ["4x", "20x", "10x + 2.5x"]
    assert (lines[2]["power"], lines[2]["context"]) == ("10.0", "4.0")
    pooled = np.array([[80 * 6 + 800 * 6, 120], [170, 430]])  # 4x: 430 of 600 found, 120 false
    iou = pooled[1, 1] / (pooled[1].sum() + pooled[0, 1])
    assert float(lines[0]["slide, pooled, iou"]) == pytest.approx(iou)
    assert float(lines[0]["tiles with the object, pooled, specificity"]) == pytest.approx(0.8)
    assert float(lines[1]["slide, pooled, precision"]) == pytest.approx(520 / (520 + 1920))
    assert float(lines[0]["slide, pooled, mcc low"]) < float(lines[0]["slide, pooled, mcc"])
    assert float(lines[0]["segmenting slides_per_minute"]) == pytest.approx(15)
    told = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert told["verdict"]["chosen"] == "4x"
    assert told["failures"] == {"glas 4x": "no memory"}
    page = report.read_text(encoding="utf-8")
    for text in ("Recommendation: 4x", "no memory", "glands &amp; &lt;more&gt;", "15.4 : 1"):
        assert text in page
    assert "<script" not in page
    assert page.count("data:image/jpeg") >= 3
    for name in ("quality_and_time.png", "levels.png", "same_object.png"):
        picture = cv2.imdecode(np.fromfile(tmp_path / name, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.std() > 5


def test_a_study_of_which_nothing_succeeded_still_has_a_page(tmp_path: Path) -> None:
    page = write_comparison(tmp_path, compared([], {"4x": "bad"}), {"title": "Study"})
    assert "bad" in page.read_text(encoding="utf-8")
    assert "Recommendation" not in page.read_text(encoding="utf-8")


def test_rails_are_those_of_the_tiles_that_hold_the_object(
    cases: tuple[Case, ...], tmp_path: Path
) -> None:
    recipe = load_recipe(
        "glas", [*OFF, "tiling.overlap=0", "tiling.downsample=1", "classes.classes=[{name='x'}]"]
    )
    found = measure_rails(recipe, cases[:1], 32, most=100)
    pixels, mask = discs(96, 96, seed=0)
    boxes = [np.s_[y : y + 32, x : x + 32] for y in (0, 32, 64) for x in (0, 32, 64)]
    each = [
        float(shannon_entropy(cv2.cvtColor(pixels[box], cv2.COLOR_RGB2GRAY), 2))
        for box in boxes
        if mask[box].any()
    ]
    assert found.tiles == len(each)
    assert (found.least, found.greatest) == pytest.approx((min(each), max(each)), abs=1e-9)
    assert measure_rails(recipe, cases[:1], 32, most=2).tiles == 2
    sifted = recipe.model_copy(
        update={
            "filters": recipe.filters.model_copy(update={"rails": TileRails(low=0, high=0)}),
            "sampling": recipe.sampling.model_copy(update={"balance": "overlap"}),
        }
    )
    assert measure_rails(sifted, cases[:1], 32, most=100) == found  # of all tiles all the same
    pooled = recipe.model_copy(
        update={"filters": recipe.filters.model_copy(update={"entropy": "rgb"})}
    )
    values = [
        float(shannon_entropy(pixels[box].reshape(32, -1), 2)) for box in boxes if mask[box].any()
    ]
    colours = measure_rails(pooled, cases[:1], 32, most=100)
    assert (colours.least, colours.greatest) == pytest.approx((min(values), max(values)), abs=1e-9)
    assert colours != found, "the recipe's own entropy is measured"
    with pytest.raises(CohortError, match="At no tile size"):
        rails_of_sizes(
            load_recipe("glas", [*OFF, "sampling.min_positive_share=1"]), cases, [96], most=9
        )
    rails = [found, Spread(64, 3, 5, 5, 5.5, 6, 6.1)]
    report = write_comparison(tmp_path, compared([], {}), {"title": "Tile sizes"}, rails)
    assert "64 px" in report.read_text(encoding="utf-8")
    assert (tmp_path / "rails.png").exists()
    assert (tmp_path / "rails.csv").read_text().count("\n") == 3


def test_a_sweep_leaves_heat_maps_and_a_page(tmp_path: Path) -> None:
    axes = [parse_axis("model.width=4,8"), parse_axis("schedule.batch=2,4")]
    rng, done = np.random.default_rng(0), []
    for trial in trials_of("glas", axes, 2):
        counts = np.zeros((2, 2, 1, 256), np.int64)
        hits = int(rng.integers(40, 90))
        counts[:, 1, 0, 200], counts[:, 1, 0, 60], counts[:, 0, 0, 30] = hits, 100 - hits, 900
        part = Counted(("a", "b"), ("a", "b"), counts, 1.0 + trial.repeat, 300.0)
        training = Training(None, 500.0, None, 3, 2, 10, 5, 10, None, None)
        done.append(Tried(trial, training, {"validation": part, "test": part}))
    (tmp_path / "heat_9.png").write_bytes(b"of an earlier, larger sweep")
    report, choice = write_sweep(
        tmp_path, done, Rule("iou", minimum=0.99), failures={"x": "bad"}, about={"recipe": "glas"}
    )
    assert choice is not None
    page = report.read_text(encoding="utf-8")
    assert choice.cell.label in page
    assert sorted(path.name for path in tmp_path.glob("heat_*.png")) == ["heat_1.png", "heat_2.png"]
    with (tmp_path / "study.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 8 * 2 * 10
    told = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert [len(cell["mean"]) for cell in told["cells"]] == [10] * 4
    assert told["choice"]["cell"] == dict(choice.cell.values)
