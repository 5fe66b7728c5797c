"""Rails and balance on their way from the training part into the bundle."""

import logging
from pathlib import Path

import pytest

from journey import GLAND, disc_cases
from slidemask.data.case import Case
from slidemask.data.sampling import Sampling
from slidemask.data.source import TileSource, lay_tiles
from slidemask.data.spread import Learned, Spread, marked
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle
from slidemask.models.losses import LossSpec
from slidemask.recipes import training as module
from slidemask.recipes.recipe import Recipe, WholeSlide, load_recipe
from slidemask.recipes.segment import Options, segment, use_of
from slidemask.recipes.training import train
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling
from slidemask.tiles.rails import Rails
from slidemask.train.schedule import Schedule, Selection

RECIPE = Recipe(
    name="sifted",
    classes=GLAND,
    tiling=Tiling(tile_px=24, overlap=0.5, mpp=1.0),
    whole=WholeSlide(tile_px=28, overlap=0.5),
    filters=Filters(tissue=None, rails="learn"),
    sampling=Sampling(
        min_positive_share=0.5, jitter=0.0, balance="overlap", tiles_per_class=24,
        overlaps=(0.0, 0.5, 0.75, 0.9),
    ),
    model=ModelSpec(
        architecture="tile", filters=(4, 8), head="pool", activation="sigmoid", dropouts=(0, 0, 0)
    ),
    loss=LossSpec(terms={"bce": 1.0}),
    schedule=Schedule(epochs=1, batch=8, learning_rate=0.02, precision="fp32"),
    selection=Selection(level="slides", figure="iou"),
)  # fmt: skip


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return disc_cases(tmp_path_factory.mktemp("discs"), train=3, validation=2, side=96)


@pytest.fixture(scope="module")
def trained(cases: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "sifted"
    train(RECIPE, cases, run, device="cpu", workers=0)
    return run


def test_the_bundle_holds_the_rails_in_numbers(cases: list[Case], trained: Path) -> None:
    source = lay_tiles(
        cases[:3], GLAND, tiling=RECIPE.tiling, filters=RECIPE.filters, sampling=RECIPE.sampling
    )
    bundle = Bundle.load(trained, "cpu")
    assert isinstance(bundle.info.filters.rails, Rails)
    assert bundle.info.filters.rails == source.rails
    others = {"rails"}
    assert bundle.info.filters.model_dump(exclude=others) == RECIPE.filters.model_dump(
        exclude=others
    )
    assert load_recipe(trained / "recipe.toml").filters.rails == "learn"


def test_the_provenance_tells_of_rails_and_balance(trained: Path) -> None:
    bundle = Bundle.load(trained, "cpu")
    made, rails = bundle.info.provenance, bundle.info.filters.rails
    assert isinstance(rails, Rails)
    told = made["rails"]
    assert (told["low"], told["high"]) == (rails.low, rails.high)
    assert told["spread"] == pytest.approx(rails.high - rails.low)
    assert told["tiles"] == made["balance"][1]["found"]
    assert [one["name"] for one in made["balance"]] == ["background", "gland"]
    assert [one["taken"] for one in made["balance"]] == [24, 24]
    assert all(one["overlap"] in RECIPE.sampling.overlaps for one in made["balance"])


def test_the_bundle_segments_and_its_rails_can_be_switched_off(
    cases: list[Case], trained: Path, tmp_path: Path
) -> None:
    bundle = Bundle.load(trained, "cpu")
    assert use_of(bundle, ["filters.rails=false"]).filters.rails is None
    for name, changes in (("on", ()), ("off", ("filters.rails=false",))):
        (outcome,) = segment([cases[-1]], bundle, tmp_path / name, Options(changes=changes))
        assert (outcome.state, outcome.message) == ("done", "")


def test_the_same_call_again_changes_nothing(cases: list[Case], trained: Path) -> None:
    before = (trained / "bundle" / "bundle.json").read_bytes()
    assert train(RECIPE, cases, trained, device="cpu", workers=0).finished
    assert (trained / "bundle" / "bundle.json").read_bytes() == before


def test_validation_tiles_are_sifted_by_what_training_tiles_taught(
    cases: list[Case],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    laid: list[TileSource] = []
    told = module.lay_tiles

    def listen(*some: object, **how: object) -> TileSource:
        laid.append(told(*some, **how))  # type: ignore[arg-type]  # passed on as they came
        return laid[-1]

    def jumping(_cases: object, _rules: object, rails: Rails, tiles: int) -> Learned:
        sizes = [Spread(24, 50, 4, 4, 5, 7, 7), Spread(36, 50, 5, 5, 5, 6, 6)]
        return Learned(rails, tiles, tuple(marked(sizes)))

    monkeypatch.setattr(module, "lay_tiles", listen)
    monkeypatch.setattr(module, "learned_rails", jumping)
    with caplog.at_level(logging.INFO):
        trained = train(RECIPE, cases, tmp_path / "run", device="cpu", workers=0)
    first, second = laid
    assert [len(source.cases) for source in laid] == [3, 2]
    assert not {case.slide for case in first.cases} & {case.slide for case in second.cases}
    assert first.rails == second.rails
    assert second.rails
    assert second.rail_tiles == 0, "nothing is learned from the validation part"
    assert second.rails.within(second.table.entropy).all()
    assert second.balance == (), "validation tiles come as they are"
    assert set(second.table.stride) == {12}
    assert "24 px tiles spread much further than those of larger ones" in caplog.text
    assert "rails of 24 px tiles will sift tiles of 28 px on whole slides" in caplog.text
    assert "balanced by overlap; background: overlap" in caplog.text
    bundle = Bundle.load(tmp_path / "run", "cpu")
    assert bundle.info.provenance["rails"]["jump"] is True
    card = (tmp_path / "run" / "bundle" / "card.md").read_text(encoding="utf-8")
    count = f"{bundle.segmenter.parameters_count:,} trainable parameters"
    for text in (count, "learned from", "24 px tiles spread much further", "24 of"):
        assert any(text in line for line in trained.told), text
        assert text in card
    assert trained.told[-1] == trained.chosen
