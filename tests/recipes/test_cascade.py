"""A cascade is trained by one call, keeps the recall asked for, and travels as one bundle."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from journey import GLAND, disc_cases
from slidemask.data.case import Case
from slidemask.data.truth import open_truth
from slidemask.geometry.box import Box
from slidemask.infer.cascade import CascadeSpec, level_of
from slidemask.io.open import open_slide
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, zip_bundle
from slidemask.recipes.cascade import coarse_recipe, settle_cascade
from slidemask.recipes.recipe import Recipe, load_recipe, write_recipe
from slidemask.recipes.training import Trained, train
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling
from slidemask.train.schedule import Schedule, Selection

SPEC = CascadeSpec(factor=2, recall=0.9, tile_px=32, epochs=3, model=ModelSpec(width=4, depth=1))
RECIPE = Recipe(
    name="discs",
    classes=GLAND,
    tiling=Tiling(tile_px=16, overlap=0.0, mpp=1.0),
    filters=Filters(tissue=None),
    model=ModelSpec(width=2, depth=1),
    schedule=Schedule(epochs=2, batch=4, learning_rate=0.02, precision="fp32"),
    selection=Selection(every_epochs=2, thresholds=(0.5,)),
    cascade=SPEC,
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return disc_cases(tmp_path_factory.mktemp("discs"), 4, 2)


@pytest.fixture(scope="module")
def trained(cases: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("slidemask.recipes.training.plot_samples", lambda *_, **__: None)
        run = tmp_path_factory.mktemp("run") / "run"
        return train(RECIPE, cases, run, device="cpu", workers=0)


def test_the_recipe_survives_its_file(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(write_recipe(RECIPE), encoding="utf-8")
    assert load_recipe(tmp_path / "r.toml") == RECIPE
    coarse = coarse_recipe(RECIPE, SPEC)
    assert coarse.tiling == Tiling(tile_px=32, overlap=0.0, mpp=2.0)
    assert (coarse.schedule.epochs, coarse.model.width, coarse.cascade) == (3, 4, None)


def test_the_threshold_keeps_the_recall_that_was_asked_for(
    trained: Trained, cases: list[Case]
) -> None:
    """Recall counted anew, tile by tile: 64 px pictures are one coarse tile and 16 fine ones."""
    bundle = Bundle.load(trained.run, "cpu")
    coarse = bundle.coarse
    assert coarse is not None
    told = bundle.info.provenance["cascade"]
    least = level_of(told["threshold"])
    assert told["threshold"] == bundle.info.use["cascade"]["threshold"]

    def kept_at(level: int) -> tuple[int, int, int]:
        kept = total = left = 0
        for case in (case for case in cases if case.split == "validation"):
            with open_slide(case.slide, mpp=case.mpp) as slide:
                truth = open_truth(case, slide, GLAND).labels(Box(0, 0, 64, 64), 2.0)
                pixels = slide.read(Box(0, 0, 64, 64), 2.0)
            found = coarse.predict(pixels[None], "fp32")[0, 1:].sum(axis=0)
            quantised = np.rint(found * 255).astype(int)
            for row in range(0, 32, 8):
                for column in range(0, 32, 8):
                    part = np.s_[row : row + 8, column : column + 8]
                    looked_at = quantised[part].max() >= level
                    kept += looked_at * int((truth[part] == 1).sum())
                    total += int((truth[part] == 1).sum())
                    left += int(looked_at)
        return kept, total, left

    kept, total, left = kept_at(least)
    assert told["recall"] == pytest.approx(kept / total, abs=0.02)
    assert told["recall"] >= 0.9
    assert told["left"] == pytest.approx(left, abs=1)
    assert told["tiles"] == 32
    above, *_ = kept_at(least + 3)  # quantising at band edges may differ by a level
    assert above / total < 0.9 or least > 250
    assert "the coarse network leaves" in (trained.run / "bundle" / "card.md").read_text("utf-8")


def test_the_same_call_again_changes_nothing(trained: Trained) -> None:
    before = {path: path.read_bytes() for path in (trained.run / "bundle").rglob("*.*")}
    settled = settle_cascade(trained.run, SPEC, [], device="cpu")
    assert asdict(settled) == Bundle.load(trained.run, "cpu").info.provenance["cascade"]
    assert {path: path.read_bytes() for path in (trained.run / "bundle").rglob("*.*")} == before


def test_it_travels_as_one(trained: Trained, tmp_path: Path) -> None:
    folder = trained.run / "bundle"
    zip_bundle(folder, tmp_path / "discs.zip")
    there, here = Bundle.load(tmp_path / "discs.zip", "cpu"), Bundle.load(folder, "cpu")
    assert there.digest == here.digest
    assert there.coarse is not None
    assert here.coarse is not None
    assert there.coarse.digest == here.coarse.digest
    assert there.info.name == "discs"
    assert there.coarse.info.name == "discs, coarse"
