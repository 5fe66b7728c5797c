"""What a training chooses on whole slides, and that a stop at any point changes nothing of it."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from journey import GLAND, disc_cases, write_png
from slidemask.base.errors import CohortError, SettingsError
from slidemask.data.case import Case
from slidemask.io.maskfile import open_mask
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle
from slidemask.models.losses import LossSpec
from slidemask.post.clean import Post
from slidemask.recipes import choosing
from slidemask.recipes.recipe import Recipe
from slidemask.recipes.segment import Options, segment
from slidemask.recipes.training import Trained, train
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling
from slidemask.train import wholeslides
from slidemask.train.choose import THRESHOLD
from slidemask.train.schedule import Schedule, Selection

RECIPE = Recipe(
    name="discs",
    classes=GLAND,
    tiling=Tiling(tile_px=32, overlap=0.0, mpp=1.0),
    filters=Filters(tissue=None),
    model=ModelSpec(width=2, depth=1),
    schedule=Schedule(epochs=3, batch=4, learning_rate=0.02, precision="fp32"),
    selection=Selection(
        thresholds=(0.3, 0.5, 0.7), min_areas_um2=(0, 40), fill_holes_um2=(0, 30), every_epochs=2
    ),
    post=Post(simplify_px=1.5),
)


@pytest.fixture(scope="module", autouse=True)
def no_samples() -> Iterator[None]:
    """Pictures of tiles take half of a run's time here; other tests look at them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("slidemask.recipes.training.plot_samples", lambda *_, **__: None)
        yield


def with_parts(**parts: Any) -> Recipe:
    return RECIPE.model_copy(
        update={
            name: getattr(RECIPE, name).model_copy(update=changes)
            for name, changes in parts.items()
        }
    )


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return disc_cases(tmp_path_factory.mktemp("discs"), 4, 2)


def run_of(recipe: Recipe, cases: list[Case], run: Path) -> Trained:
    return train(recipe, cases, run, device="cpu", workers=0)


@pytest.fixture(scope="module")
def trained(cases: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return run_of(RECIPE, cases, tmp_path_factory.mktemp("run") / "run")


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_best_way_of_the_table_is_in_the_bundle(trained: Trained) -> None:
    table = table_of(trained.run / "selection.csv")
    ways = {(row["threshold"], row["min_area_um2"], row["fill_holes_um2"]) for row in table}
    assert len(ways) == len(table) == 3 * 2 * 2
    (chosen,) = [row for row in table if row["chosen"]]
    assert float(chosen["dice slides"]) == max(float(row["dice slides"]) for row in table)
    info = Bundle.load(trained.run, "cpu").info
    assert info.use["post"] == Post(
        threshold=float(chosen["threshold"]),
        min_area_um2=float(chosen["min_area_um2"]),
        fill_holes_um2=float(chosen["fill_holes_um2"]),
        simplify_px=1.5,
    ).model_dump(mode="json")
    told = info.provenance["selection"]
    assert told["chosen"] == info.use["post"]
    assert told["chosen_value"] == float(chosen["dice slides"])
    assert (told["level"], told["epoch"]) == ("whole slides", info.provenance["epoch"])
    assert (told["tiles"], told["tiles_threshold"]) == ("positive tiles", 0.5)
    assert "Positive tiles would have chosen epoch" in trained.chosen
    card = (trained.run / "bundle" / "card.md").read_text(encoding="utf-8")
    assert trained.chosen in card
    for title in ("positive tiles", "whole slides, before cleaning", "whole slides, after"):
        assert f"### Validation, {title}" in card
    assert not (trained.run / ".validation").exists()


def masks_of(
    bundle: Bundle, cases: list[Case], folder: Path
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Truth of each validation slide and the mask that `segment` writes, (H, W) bool."""
    validation = [case for case in cases if case.split == "validation"]
    for outcome in segment(validation, bundle, folder, Options()):
        with open_mask(outcome.folder / "mask.ome.tif") as mask:
            found = mask.rows(0, mask.size.height) > 0
        labels = outcome.slide.parent.parent / "labels" / outcome.slide.name
        yield np.asarray(cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)) > 0, found


def test_its_figure_is_that_of_the_masks_which_segment_writes(
    trained: Trained, cases: list[Case], tmp_path: Path
) -> None:
    """Dice of every slide, counted anew from mask files and label images."""
    bundle = Bundle.load(trained.run, "cpu")
    each = [
        2 * (truth & found).sum() / (truth.sum() + found.sum())
        for truth, found in masks_of(bundle, cases, tmp_path)
    ]
    assert bundle.info.provenance["selection"]["chosen_value"] == pytest.approx(np.mean(each))
    scores = json.loads((trained.run / "bundle" / "scores.json").read_text(encoding="utf-8"))
    after = scores["validation, whole slides, after cleaning"]
    assert after["dice slides"] == pytest.approx(np.mean(each))


def test_a_calibrated_bundle_was_chosen_with_its_temperature(
    cases: list[Case], tmp_path: Path
) -> None:
    """Threshold and figure are those of calibrated masks, and weights stay as they were."""
    plain, calibrated = (
        run_of(with_parts(selection={"calibrate": calibrate}), cases, tmp_path / str(calibrate))
        for calibrate in (False, True)
    )
    bundle = Bundle.load(calibrated.run, "cpu")
    temperature = bundle.info.model.temperature
    assert temperature != pytest.approx(1.0, abs=0.01)
    assert f"divided by {temperature:.3f}" in calibrated.chosen
    weights = [load_file(one.run / "bundle" / "weights.safetensors") for one in (plain, calibrated)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    each = [
        2 * (truth & found).sum() / (truth.sum() + found.sum())
        for truth, found in masks_of(bundle, cases, tmp_path / "masks")
    ]
    assert bundle.info.provenance["selection"]["chosen_value"] == pytest.approx(np.mean(each))


def test_calibration_needs_whole_slides() -> None:
    with pytest.raises(ValueError, match="level"):
        Selection(level="tiles", calibrate=True)


def test_whole_slides_have_their_turn_every_so_many_epochs_and_at_the_last(
    trained: Trained,
) -> None:
    rows = table_of(trained.run / "history.csv")
    assert [bool(row["whole slides dice slides"]) for row in rows] == [False, True, True]
    assert all(row["positive tiles dice slides"] for row in rows)
    last = trained.progress.history[-1]
    assert (
        last[f"whole slides dice slides at {last[THRESHOLD]:g}"]
        == (last["whole slides dice slides"])
    )
    assert trained.progress.best_epoch in (2, 3)
    assert cv2.imread(str(trained.run / "curves.png")) is not None


def test_without_cleaning_the_table_is_what_the_epoch_has_shown(
    cases: list[Case], tmp_path: Path
) -> None:
    selection = {"min_areas_um2": (), "fill_holes_um2": ()}
    recipe = with_parts(selection=selection, schedule={"epochs": 2})
    progress = run_of(recipe, cases, tmp_path / "run").progress
    best = progress.history[progress.best_epoch - 1]
    table = table_of(tmp_path / "run" / "selection.csv")
    assert {row["threshold"]: float(row["dice slides"]) for row in table} == {
        threshold: best[f"whole slides dice slides at {threshold}"]
        for threshold in ("0.3", "0.5", "0.7")
    }
    (chosen,) = [row["threshold"] for row in table if row["chosen"]]
    assert float(chosen) == best[THRESHOLD]
    assert progress.best == best["whole slides dice slides"]


@pytest.mark.parametrize("level", ["tiles", "positive tiles"])
def test_where_tiles_decide_the_recipe_s_own_post_stays(
    cases: list[Case], tmp_path: Path, level: str
) -> None:
    recipe = with_parts(
        selection={"level": level}, schedule={"epochs": 1}, post={"threshold": 0.35}
    )
    trained = run_of(recipe, cases, tmp_path / "run")
    info = Bundle.load(tmp_path / "run", "cpu").info
    assert info.use["post"] == recipe.post.model_dump(mode="json")
    assert info.provenance["selection"]["level"] == level
    assert not (tmp_path / "run" / "selection.csv").exists()
    assert f"{level} dice slides" in trained.progress.history[0]
    assert not any("whole" in name for name in trained.progress.history[0])


def test_a_tile_classifier_is_trained_and_chosen_like_any_other(
    cases: list[Case], tmp_path: Path
) -> None:
    """Smoothed masks are counted as `segment` smooths them; recall stands beside the figure."""
    recipe = with_parts(
        tiling={"overlap": 0.5}, post={"smooth_px": 3.0, "simplify_px": 0.0},
        schedule={"epochs": 2, "keep_epochs": True}, sampling={"min_positive_share": 0.1},
        selection={
            "figure": "iou", "scope": "any class", "min_recall": 0.4, "every_epochs": 1,
            "min_areas_um2": (), "fill_holes_um2": (),
        },
    )  # fmt: skip
    model = ModelSpec(architecture="tile", filters=(4, 6), activation="sigmoid", min_share=0.1)
    recipe = recipe.model_copy(
        update={"model": model, "loss": LossSpec(terms={"bce": 1}), "name": "votes"}
    )
    trained = run_of(recipe, cases, tmp_path / "run")
    bundle = Bundle.load(tmp_path / "run", "cpu")
    assert bundle.segmenter.votes
    card = (tmp_path / "run" / "bundle" / "card.md").read_text(encoding="utf-8")
    assert f"dense head; {bundle.segmenter.parameters_count:,} trainable parameters" in card
    assert re.search(r"any class iou 0\.\d{4} at recall [01]\.\d{4}", trained.chosen)
    assert bundle.info.provenance["selection"]["figure"] == "any class iou"
    assert len(list((tmp_path / "run" / "epochs").iterdir())) == 2
    table = table_of(tmp_path / "run" / "selection.csv")
    (chosen,) = [row for row in table if row["chosen"]]
    votes = bundle.info.use["blend"]["votes"]["threshold"]
    assert votes == bundle.info.use["post"]["threshold"] == float(chosen["threshold"])
    enough = [row for row in table if float(row["any class recall slides"]) >= 0.4]
    assert float(chosen["any class iou slides"]) == max(
        float(row["any class iou slides"]) for row in enough
    )
    each = [
        (truth & found).sum() / (truth | found).sum()
        for truth, found in masks_of(bundle, cases, tmp_path / "out")
    ]
    assert float(chosen["any class iou slides"]) == pytest.approx(np.mean(each), abs=1e-9)


class PressedError(BaseException):
    """As Ctrl-C or a signal, at a place of our choice."""


def on_call(number: int, told: Callable[..., Any], stop: type[BaseException]) -> Callable[..., Any]:
    calls = []

    def stopping(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise stop
        return told(*args, **options)

    return stopping


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("history.csv", "curves.png", "selection.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    weights = [load_file(run / "bundle" / "weights.safetensors") for run in (one, other)]
    assert all(bool((value == weights[1][key]).all()) for key, value in weights[0].items())
    infos = [Bundle.load(run, "cpu").info for run in (one, other)]
    for info in infos:
        del info.provenance["trained"]
    assert infos[0] == infos[1]
    for name in ("card.md", "scores.json"):
        assert (one / "bundle" / name).read_bytes() == (other / "bundle" / name).read_bytes()


@pytest.mark.parametrize(
    ("place", "number"),
    [("histogram_slide", 2), ("histogram_slide", 4), ("score_slide", 5)],
    ids=["second slide of the first pass", "last slide of the last pass", "while cleaning"],
)
def test_stopped_among_whole_slides_it_goes_on_to_the_same(
    trained: Trained,
    cases: list[Case],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    place: str,
    number: int,
) -> None:
    with monkeypatch.context() as patched:
        told = getattr(wholeslides, place)
        patched.setattr(wholeslides, place, on_call(number, told, PressedError))
        with pytest.raises(PressedError):
            run_of(RECIPE, cases, tmp_path / "run")
    resumed = run_of(RECIPE, cases, tmp_path / "run")
    assert resumed.progress == trained.progress
    assert_same_run(tmp_path / "run", trained.run)


@pytest.mark.parametrize("place", ["write_text", "write_json"])
def test_stopped_while_the_choice_is_written_it_is_made_again(
    trained: Trained,
    cases: list[Case],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    place: str,
) -> None:
    """Before the card, when scores are new already; before bundle.json, when all else is."""
    with monkeypatch.context() as patched:
        patched.setattr(choosing, place, on_call(2, getattr(choosing, place), PressedError))
        with pytest.raises(PressedError):
            run_of(RECIPE, cases, tmp_path / "run")
    assert "chosen" not in Bundle.load(tmp_path / "run", "cpu").info.provenance["selection"]
    run_of(RECIPE, cases, tmp_path / "run")
    assert_same_run(tmp_path / "run", trained.run)


def test_what_is_chosen_is_not_chosen_again(
    trained: Trained, cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wholeslides, "predict", on_call(1, wholeslides.predict, PressedError))
    before = (trained.run / "bundle" / "bundle.json").read_bytes()
    assert run_of(RECIPE, cases, trained.run).chosen == trained.chosen
    assert (trained.run / "bundle" / "bundle.json").read_bytes() == before


def test_stopped_before_whole_slides_had_their_turn_there_is_no_bundle_yet(
    cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        stop = on_call(1, wholeslides.histogram_slide, KeyboardInterrupt)
        patched.setattr(wholeslides, "histogram_slide", stop)
        stopped = run_of(RECIPE, cases, tmp_path / "run")
    assert (stopped.progress.epoch, stopped.progress.best_epoch) == (1, 0)
    assert not stopped.finished
    assert not (tmp_path / "run" / "bundle").exists()
    assert not (tmp_path / "run" / ".validation").exists()


def test_early_stop_waits_for_whole_slides(cases: list[Case], tmp_path: Path) -> None:
    """Epoch 2 is the first that is judged; nothing improves; epoch 4 is the next."""
    recipe = with_parts(
        schedule={"epochs": 9, "early_stop_epochs": 1, "optimiser": "sgd", "learning_rate": 1e-30},
        selection={"thresholds": (1.0,)},
    )
    trained = run_of(recipe, cases, tmp_path / "run")
    assert trained.finished
    assert (trained.progress.best_epoch, trained.progress.epoch) == (2, 4)


def test_areas_need_a_pixel_size_before_anything_is_learned(
    cases: list[Case], tmp_path: Path
) -> None:
    bare = [replace(case, mpp=None) for case in cases]
    recipe = RECIPE.model_copy(update={"tiling": Tiling(tile_px=32, overlap=0.0, downsample=1.0)})
    with pytest.raises(SettingsError, match=r"p4\.png has no pixel size.*`mpp` column"):
        run_of(recipe, bare, tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.toml").exists()


def test_a_validation_part_without_the_object_cannot_choose_by_tiles_that_hold_it(
    cases: list[Case], tmp_path: Path
) -> None:
    nothing = write_png(tmp_path / "none.png", np.zeros((64, 64), np.uint8))
    empty = [
        replace(case, annotations=nothing) if case.split == "validation" else case for case in cases
    ]
    published = with_parts(selection={"level": "positive tiles"})
    with pytest.raises(CohortError, match=r"No tile of the validation part .*selection\.level"):
        run_of(published, empty, tmp_path / "published")
    recipe = with_parts(schedule={"epochs": 1})
    trained = run_of(recipe, empty, tmp_path / "run")
    assert trained.progress.history[0]["tiles dice slides"] == 0
    assert trained.finished
