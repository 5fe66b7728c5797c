"""What studies compare and how they decide, without any training."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slidemask.base.errors import SettingsError
from slidemask.data.case import Case
from slidemask.data.spread import Spread, marked, spread_of
from slidemask.evaluate.confusion import Confusion
from slidemask.recipes.recipe import load_recipe
from slidemask.recipes.study.cells import Cell, cells_of, parse_axis, recipe_of
from slidemask.recipes.study.choice import Rule, choose, tables_of
from slidemask.recipes.study.counting import Counted
from slidemask.recipes.study.row import Row, Training
from slidemask.recipes.study.sweep import Trial, Tried, trials_of
from slidemask.recipes.study.sweepwriting import lines_of
from slidemask.recipes.study.tilesize import parse_sizes, rows_of_sizes
from slidemask.recipes.study.verdict import Contender, Gap, decide
from slidemask.recipes.study.views import View, parse_also, parse_view, parse_views

NAN = math.nan


def test_views_are_read_as_they_are_written() -> None:
    assert parse_views("1,4x, 10+2.5") == (View(1), View(4), View(10, 2.5))
    assert parse_also(["a/b.toml@4", "mail@home@10+5"]) == [
        ("a/b.toml", View(4)),
        ("mail@home", View(10, 5)),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ten", "'ten' is no number"),
        ("0", "no number above 0"),
        ("inf", "no number above 0"),
        ("nan", "no number above 0"),
        ("4+10", "context must be lower"),
        ("4+4", "context must be lower"),
        ("10+5+1", "two together at most"),
        ("", "no number above 0"),
        ("4,4x", "4x twice"),
    ],
)
def test_wrong_views_are_named(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse_views(text)
    with pytest.raises(SettingsError, match="RECIPE@MAGNIFICATION"):
        parse_also(["better"])


def test_a_view_changes_the_recipe_s_resolution_and_context() -> None:
    recipe = load_recipe("glands", parse_view("10+2.5").changes)
    assert (recipe.tiling.magnification, recipe.tiling.context) == (10, 4)
    assert recipe.tiling.mpp is None
    assert recipe.tiling_on_slides.context == 4


def contender(label: str, quality: float, tiles: float, seconds: float) -> Contender:
    return Contender(label, quality, tiles, seconds)


def test_the_best_on_slides_is_chosen_where_none_is_as_good() -> None:
    rows = [contender("4x", 0.64, 0.68, 50), contender("20x", 0.17, 0.70, 1400)]
    verdict = decide(rows, {"20x": Gap(0.47, 0.4, 0.5)})
    assert verdict is not None
    assert (verdict.chosen, verdict.best, verdict.by_tiles) == ("4x", "4x", "20x")
    assert "no cheaper row" in verdict.reason[0]
    assert "Tiles that hold the object would have chosen 20x" in verdict.reason[-1]
    assert "0.170 on whole slides" in verdict.reason[-1]


def test_a_cheaper_row_within_noise_is_chosen() -> None:
    rows = [
        contender("1x", 0.40, 0.5, 1),
        contender("4x", 0.63, 0.6, 10),
        contender("10x", 0.65, 0.6, 60),
        contender("20x", 0.64, 0.6, 400),
    ]
    gaps = {"1x": Gap(0.25, 0.2, 0.3), "4x": Gap(0.02, -0.01, 0.05), "20x": Gap(0.01, -0.1, 0.1)}
    verdict = decide(rows, gaps)
    assert verdict is not None
    assert (verdict.chosen, verdict.best) == ("4x", "10x")
    assert "6.0 times as long" in verdict.reason[0]
    assert "-0.010 to 0.050" in verdict.reason[0]
    assert "less than the 5 to 10 min" in verdict.reason[1]


def test_an_equal_row_that_is_dearer_is_not_chosen() -> None:
    rows = [contender("4x", 0.65, 0.6, 10), contender("20x", 0.64, 0.6, 400)]
    verdict = decide(rows, {"20x": Gap(0.01, -0.1, 0.1)})
    assert verdict is not None
    assert verdict.chosen == "4x"


def test_without_intervals_the_best_stands_and_it_is_said() -> None:
    rows = [contender("4x", 0.65, NAN, 700), contender("1x", 0.64, NAN, 4)]
    verdict = decide(rows, {"1x": Gap(0.01, NAN, NAN)})
    assert verdict is not None
    assert verdict.chosen == "4x"
    assert "too few patients" in verdict.reason[0]
    assert "longer than a pathologist" in verdict.reason[1]


def test_rows_without_a_figure_do_not_count() -> None:
    rows = [contender("1x", NAN, NAN, 1), contender("4x", 0.1, 0.2, 10)]
    verdict = decide(rows, {"1x": Gap(NAN, NAN, NAN)})
    assert verdict is not None
    assert verdict.chosen == "4x"
    assert decide(rows[:1], {}) is None


def test_axes_are_split_at_their_own_commas_only() -> None:
    assert parse_axis("model.width=4, 8").values == ("4", "8")
    assert parse_axis("loss.terms={ce = 1, dice = 1},{dice = 1}").values == (
        "{ce = 1, dice = 1}",
        "{dice = 1}",
    )
    assert parse_axis('name="a,b",c').values == ('"a,b"', "c")
    for text in ("model.width", "=4", "model.width=", "model.width=4,,8", "model.width=4,4"):
        with pytest.raises(SettingsError, match=r"--vary"):
            parse_axis(text)
    with pytest.raises(SettingsError, match="twice"):
        cells_of([parse_axis("a=1"), parse_axis("a=2")])
    with pytest.raises(SettingsError, match="told apart"):
        cells_of([parse_axis("a=x/y,x?y")])


def test_a_sweep_is_the_product_of_its_values_times_its_repeats() -> None:
    axes = [parse_axis("model.width=4,8"), parse_axis("loss.terms={dice = 1},{ce = 1}")]
    trials = trials_of("glas", axes, 3, ["schedule.seed=5"])
    assert len(trials) == 12
    assert [trial.repeat for trial in trials] == [0] * 4 + [1] * 4 + [2] * 4
    assert len({trial.row.folder for trial in trials}) == 12
    last = trials[-1].row.recipe
    assert (last.model.width, last.loss.terms) == (8, {"ce": 1.0})
    assert (last.schedule.seed, last.sampling.seed, last.split.seed) == (7, 2, 0)
    assert recipe_of("glas", trials[0].cell, 0).schedule.seed == 0
    with pytest.raises(SettingsError, match="did you mean 'width'"):
        trials_of("glas", [parse_axis("model.widht=4")], 1)


def counted(hits: int, seconds: float = 1.0) -> Counted:
    """One slide of 100 object pixels: so many at 0.75, the rest at 0.15; background at 0.05."""
    counts = np.zeros((1, 2, 1, 256), np.int64)
    counts[0, 1, 0, 191], counts[0, 1, 0, 38], counts[0, 0, 0, 13] = hits, 100 - hits, 900
    return Counted(("s",), ("p",), counts, seconds, 100.0)


def tried(
    width: int, repeat: int, hits: int, seconds: float = 1.0, test: int | None = None
) -> Tried:
    cell = Cell((("model.width", str(width)),))
    row = Row(cell.label, load_recipe("glas"), Path("nowhere") / str(repeat), ())
    training = Training(10.0, 500.0, None, 3, 2, 10, 5, 10, 0.1, 2.0)
    parts = {"validation": counted(hits, seconds)}
    if test is not None:
        parts["test"] = counted(test, seconds)
    return Tried(Trial(cell, repeat, row), training, parts)


def test_every_threshold_is_scored_from_the_counts() -> None:
    """Found are the 60 pixels at 0.75, and at thresholds up to 0.149 all 100; never background."""
    (table,) = tables_of([tried(4, 0, 60)], Rule("iou", thresholds=(0.1, 0.5, 0.9)))
    assert table.values.tolist() == [[1.0, 0.6, 0.0]]
    assert table.best == 0
    (dice,) = tables_of([tried(4, 0, 60)], Rule("dice", thresholds=(0.5,)))
    confusion = Confusion(np.array([[900, 0], [40, 60]]))
    assert dice.values[0, 0] == pytest.approx(confusion.dice[1])


def test_the_table_holds_mean_deviation_and_maximum() -> None:
    done = [tried(4, r, hits) for r, hits in enumerate((50, 60, 70))]
    (table,) = tables_of(done, Rule("iou", thresholds=(0.5,)))
    assert table.mean[0] == pytest.approx(0.6)
    assert table.std[0] == pytest.approx(0.1)  # of the sample: n - 1
    assert table.highest[0] == pytest.approx(0.7)
    (single,) = tables_of(done[:1], Rule("iou", thresholds=(0.5,)))
    assert math.isnan(single.std[0])


def test_the_cheapest_cell_within_one_standard_error_is_chosen() -> None:
    """Widths 8 and 16 are alike: 0.66 ± 0.04 against 0.68 ± 0.04, standard error 0.023."""
    done = [
        *[tried(4, r, h, 0.5) for r, h in enumerate((40, 44, 42))],
        *[tried(8, r, h, 1.0, test=50) for r, h in enumerate((62, 66, 70))],
        *[tried(16, r, h, 2.0, test=55) for r, h in enumerate((64, 68, 72))],
    ]
    choice = choose(done, Rule("iou", minimum=0.65, thresholds=(0.5, 0.9)))
    assert choice is not None
    assert choice.cell.label == "model.width=8"
    assert choice.threshold == 0.5
    assert choice.tied == ("model.width=8", "model.width=16")
    assert [one.trial.repeat for one in choice.kept] == [2, 1]
    assert choice.test is not None
    assert choice.test.tolist() == [0.5, 0.5, 0.5]
    assert "1 s a slide instead of 2 s" in choice.reason
    far = [one for one in done if one.trial.cell.label != "model.width=8"]
    best = choose(far, Rule("iou", minimum=0.9, thresholds=(0.5,)))
    assert best is not None
    assert best.cell.label == "model.width=16"
    assert best.kept == ()
    assert choose([], Rule()) is None


def test_a_line_for_each_repeat_part_and_threshold() -> None:
    lines = lines_of([tried(4, 1, 60, test=50)], Rule("iou", thresholds=(0.5, 0.9)))
    assert [(line["part"], line["threshold"]) for line in lines] == [
        ("validation", 0.5), ("validation", 0.9), ("test", 0.5), ("test", 0.9),
    ]  # fmt: skip
    assert lines[0]["model.width"] == "4"
    assert lines[0]["repeat"] == 1
    assert lines[0]["iou, pooled"] == pytest.approx(0.6)
    assert lines[2]["iou, mean of slides"] == pytest.approx(0.5)
    assert lines[1]["precision, pooled"] is None  # nothing was predicted: not defined, not 0


def test_counts_outlast_the_disk(tmp_path: Path) -> None:
    before = replace(counted(60), slides=("a ü",), patients=("p 1",))
    before.save(tmp_path / "validation.npz")
    after = Counted.load(tmp_path / "validation.npz")
    assert (after.slides, after.patients) == (("a ü",), ("p 1",))
    assert (after.seconds_per_slide, after.peak_memory_mb) == (1.0, 100.0)
    assert np.array_equal(after.counts, before.counts)


def test_a_row_is_another_when_recipe_or_files_change(tmp_path: Path) -> None:
    slide = tmp_path / "a.tif"
    slide.write_bytes(b"x")
    row = Row("a", load_recipe("glas"), tmp_path, (Case(slide, None, "p", "test"),))
    assert replace(row, label="b").identity == row.identity
    assert replace(row, recipe=load_recipe("glas", ["model.width=3"])).identity != row.identity
    assert replace(row, cases=(Case(slide, None, "p", "train"),)).identity != row.identity
    before = row.identity
    slide.write_bytes(b"xy")
    assert row.identity != before


def test_rails_are_the_extremes_and_jumps_are_marked() -> None:
    one = spread_of(np.arange(101.0), 64)
    assert (one.least, one.low, one.median, one.high, one.greatest) == (0, 1, 50, 99, 100)
    assert (one.tiles, one.spread) == (101, 100)
    spreads = {32: 5.0, 64: 2.9, 128: 1.9, 256: 1.4, 512: 1.0}
    rails = [Spread(size, 30, 0, 0, 0, spread, 9) for size, spread in spreads.items()]
    # 1.4 and 1.9 are less than 1.5 times the next larger's; 2.9 > 1.5 * 1.9; 5.0 too.
    assert [r.tile_px for r in marked(rails) if r.jump] == [32, 64]
    assert [r.tile_px for r in marked(rails[::-1])] == [32, 64, 128, 256, 512]
    few = Spread(1024, 29, 0, 0, 0, 0.1, 9)  # too few tiles to make 512 px a jump
    assert [r.tile_px for r in marked([*rails, few]) if r.jump] == [32, 64]


def test_tile_sizes_change_tiles_on_slides_too() -> None:
    assert parse_sizes("64, 128") == (64, 128)
    for text in ("", "64,64", "4", "large"):
        with pytest.raises(SettingsError, match="tile sides"):
            parse_sizes(text)
    rows = rows_of_sizes("glands", (64, 128))
    assert [row.recipe.tiling.tile_px for row in rows] == [64, 128]
    assert [row.recipe.tiling_on_slides.tile_px for row in rows] == [64, 128]
