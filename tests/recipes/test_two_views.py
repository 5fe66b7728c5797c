"""A recipe with context, from cohort to masks."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from journey import GLAND, disc_cases
from slidemask.base.errors import SettingsError
from slidemask.data.case import Case
from slidemask.data.loader import TrainingLoader
from slidemask.io.maskfile import open_mask
from slidemask.io.open import open_slide
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle
from slidemask.recipes.plan import plan
from slidemask.recipes.recipe import Recipe, WholeSlide, load_recipe
from slidemask.recipes.segment import Options, segment, use_of
from slidemask.recipes.training import train
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling
from slidemask.train.schedule import Schedule

RECIPE = Recipe(
    name="discs in context",
    classes=GLAND,
    tiling=Tiling(tile_px=16, overlap=0.0, mpp=1.0, context=2.5),
    whole=WholeSlide(tile_px=32, overlap=0.25),
    filters=Filters(tissue=None),
    model=ModelSpec(width=3, depth=2),
    schedule=Schedule(epochs=2, batch=8, learning_rate=0.02, precision="fp32"),
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return disc_cases(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="module")
def run(cases: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("run") / "whole"
    assert train(RECIPE, cases, to, device="cpu", workers=0).finished
    return to


def test_a_run_leaves_a_bundle_that_segments(cases: list[Case], run: Path, tmp_path: Path) -> None:
    assert load_recipe(run / "recipe.toml") == RECIPE
    bundle = Bundle.load(run, "cpu")
    assert bundle.info.tiling.context == bundle.segmenter.context == 2.5
    assert bundle.info.tiling.tile_px == 32
    assert "2.5 times as wide" in (run / "bundle" / "card.md").read_text(encoding="utf-8")
    (outcome,) = segment([cases[0]], bundle, tmp_path / "out", Options())
    assert (outcome.state, outcome.message) == ("done", "")
    with open_mask(outcome.folder / "mask.ome.tif") as mask:
        assert mask.rows(0, 64).shape == (64, 64)


def test_a_training_that_is_stopped_goes_on_to_the_same_weights(
    cases: list[Case], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = TrainingLoader.epoch

    def stopped(self: TrainingLoader, number: int):
        for place, batch in enumerate(whole(self, number)):
            if (number, place) == (2, 1):
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoader, "epoch", stopped)
        assert not train(RECIPE, cases, tmp_path / "cut", device="cpu", workers=0).finished
    assert train(RECIPE, cases, tmp_path / "cut", device="cpu", workers=0).finished
    one, other = (load_file(folder / "last.safetensors") for folder in (run, tmp_path / "cut"))
    assert one.keys() == other.keys()
    assert all(bool((value == other[key]).all()) for key, value in one.items())
    assert (run / "history.csv").read_bytes().splitlines()[0].startswith(b"epoch")


def test_the_context_belongs_to_the_model(run: Path) -> None:
    bundle = Bundle.load(run, "cpu")
    assert use_of(bundle, ["tiling.overlap=0.5"]).tiling.context == 2.5
    for change in ("tiling.context=3", "tiling.context=4.5"):
        with pytest.raises(SettingsError, match=r"trained with 2\.5.*Leave it"):
            use_of(bundle, [change])
    with pytest.raises(SettingsError, match="trained with None"):
        use_of(Bundle.load("glands", "cpu"), ["tiling.context=2"])


def test_the_plan_counts_both_views(cases: list[Case], run: Path) -> None:
    bundle = Bundle.load(run, "cpu")
    with open_slide(cases[0].slide, mpp=1.0) as slide:
        found = plan(slide, bundle, use_of(bundle))
    assert found.as_dict()["context"] == 2.5
    fine, middle, deep = 32**2, 16**2, 8**2  # pixels
    encoder = (
        fine * 9 * (3 * 3 + 3 * 3) + middle * 9 * (3 * 6 + 6 * 6) + deep * 9 * (6 * 12 + 12 * 12)
    )
    # Features of 2 and 4 pixels a side are cut, for 4 / 2.5 = 1.6: first rows, then columns.
    cut = 6 * (8 * 16 * 16 + 8 * 16 * 8) + 12 * (8 * 8 * 8 + 8 * 8 * 8)
    mix = deep * (12 + 6 + 12) * 12
    decoder = (
        deep * 4 * 12 * 6 + middle * 9 * (12 * 6 + 6 * 6)
        + middle * 4 * 6 * 3 + fine * 9 * (6 * 3 + 3 * 3) + fine * 3 * 2
    )  # fmt: skip
    expected = 2 * (2 * encoder + cut + mix + decoder) / 1e9
    assert found.gigaflop_per_tile == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("value", [1, 0.5, -2])
def test_a_context_must_be_wider_than_the_tile(value: float, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        'name = "x"\n[tiling]\nmpp = 1\n[[classes.classes]]\nname = "gland"\n', encoding="utf-8"
    )
    with pytest.raises(SettingsError, match=r"tiling\.context: .*greater than 1"):
        load_recipe(path, [f"tiling.context={value}"])
    assert load_recipe(path, ["tiling.context=1.5"]).tiling_on_slides.context == 1.5


def test_the_bundle_looks_at_both_views(run: Path) -> None:
    bundle = Bundle.load(run, "cpu")
    tiles = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 6), np.uint8)
    found = bundle.predict(tiles, "fp32")
    for part in (slice(0, 3), slice(3, 6)):
        other = tiles.copy()
        other[..., part] = 255 - other[..., part]
        assert np.abs(bundle.predict(other, "fp32") - found).max() > 1e-4
