"""A cascade is trained by one call, keeps the recall asked for, and travels as one bundle."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from journey import GLAND, disc_cases
from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import SettingsError
from slidemask.data.case import Case
from slidemask.data.truth import open_truth
from slidemask.geometry.box import Box
from slidemask.infer import equip
from slidemask.infer.blend import Blend
from slidemask.infer.cascade import CascadeSpec, is_found, level_of, predict_coarse
from slidemask.infer.job import Job
from slidemask.io.open import open_slide
from slidemask.models.backends import Name as Backend
from slidemask.models.backends import load, with_backend
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, zip_bundle
from slidemask.models.int8 import fingerprint, has_int8
from slidemask.models.late import Late
from slidemask.recipes.cascade import (
    Settled,
    Survey,
    coarse_recipe,
    kept_until,
    settle_cascade,
)
from slidemask.recipes.recipe import Recipe, load_recipe, write_recipe
from slidemask.recipes.results import read_summary
from slidemask.recipes.segment import Options, segment
from slidemask.recipes.study.cascade import MASK, CascadeJob, agreement, study_cascade
from slidemask.recipes.study.cascade import trained as both_trained
from slidemask.recipes.study.cascadewriting import in_words, write_cascade
from slidemask.recipes.study.row import Means
from slidemask.recipes.training import Trained, train
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling, lay_grid
from slidemask.tiles.select import TileSet
from slidemask.train.schedule import Schedule, Selection

SPEC = CascadeSpec(
    factor=2, recall=0.9, confidence=0, tile_px=32, epochs=3, model=ModelSpec(width=4, depth=1)
)
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
    made = disc_cases(tmp_path_factory.mktemp("discs"), 4, 4)
    return [*made[:6], *(replace(case, split="test") for case in made[6:])]


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
    strict = RECIPE.model_copy(update={"filters": Filters(max_background_share=0.5)})
    found = coarse_recipe(strict, SPEC).filters
    assert (found.tissue, found.max_background_share) == (strict.filters.tissue, None)
    assert found.min_tissue_share == 0


NONE = np.zeros((2, 256), np.int64)
"""No objects."""


def counts(**pixels: int) -> np.ndarray:
    """Return 256 counts; `at_9=5` is 5 pixels at 9."""
    found = np.zeros(256, np.int64)
    for at, count in pixels.items():
        found[int(at.removeprefix("at_"))] = count
    return found


def test_every_class_keeps_the_recall() -> None:
    """A rare class that the coarse network hardly sees decides, though all pixels would not."""
    common, rare = counts(at_200=10_000), counts(at_50=9, at_90=1)
    tiles = counts(at_10=30, at_50=2, at_90=1, at_200=7)
    survey = Survey(np.array([common, rare]), tiles, 5, NONE)
    assert survey.threshold(0.9) == 50 / 255
    assert survey.recall(50 / 255) == 1
    assert survey.recall(51 / 255) == pytest.approx(0.1)
    assert (survey.left(50 / 255), survey.left(51 / 255)) == (10, 8)
    twice = survey + survey
    assert (twice.left(0), twice.coarse, twice.recall(51 / 255)) == (80, 10, pytest.approx(0.1))
    settled = Settled.of(survey, 0.9)
    assert (settled.recall, settled.tiles, settled.left) == (1, 40, 10)


def test_a_class_that_no_validation_slide_shows_is_looked_for_everywhere() -> None:
    survey = Survey(np.array([counts(at_200=5), counts()]), counts(at_0=3, at_200=1), 1, NONE)
    assert survey.threshold(0.9) == 0
    assert survey.recall(0) == 1
    assert Settled.of(survey, 0.9).left == 4
    assert math.isnan(Survey(np.zeros((1, 256), np.int64), counts(at_0=3), 1, NONE).recall(0.5))


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_recall_promised_is_kept_for_as_many_as_were_to_be_sure(confidence: float) -> None:
    """Many cohorts of 80 objects each: how often does the choice keep 0.9 of all objects?"""
    rng, asked, cohorts, kept = np.random.default_rng(0), 0.9, 1000, 0
    for _ in range(cohorts):
        values = (255 * rng.beta(2, 1, 80)).astype(int)
        found = np.bincount(values, minlength=256)[None]
        survey = Survey(found, counts(at_0=1), 1, found)
        level = level_of(survey.threshold(asked, confidence))
        kept += 1 - (level / 255) ** 2 >= asked  # of beta(2, 1), the share at it or above
    assert kept / cohorts >= confidence - 0.02
    assert kept / cohorts < 1  # and no more than needed


def test_too_few_objects_promise_nothing_and_it_is_said() -> None:
    few = counts(at_3=1, at_90=9)
    survey = Survey(100 * few[None], counts(at_0=50, at_3=20, at_90=30), 5, few[None])
    settled = Settled.of(survey, 0.95, 0.95)
    assert settled.threshold == 3 / 255  # all of them, though 0.9 of the pixels are at 90
    assert (settled.found, settled.objects) == (10, 10)
    assert settled.promised == pytest.approx(0.05 ** (1 / 10))  # the rule of Clopper and Pearson
    assert "cannot be promised from 10 validation objects (that takes 59 objects" in str(settled)
    assert "no number of objects" in Settled.of(survey, 1.0, 0.95).short
    assert Settled.of(survey, 0.7, 0.95).short == ""
    assert Settled.of(survey, 0.9, 0).threshold == 90 / 255
    blind = counts(at_0=1, at_90=99)
    unseen = Settled.of(Survey(blind[None], counts(at_0=5), 1, blind[None]), 0.99, 0.95)
    assert (unseen.threshold, unseen.promised, unseen.short) == (0, 1, "")
    assert "looks everywhere" in str(unseen)
    assert Settled(threshold=0.5, recall=1, tiles=4, left=2).short == ""


@given(seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_an_object_is_kept_while_half_of_it_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask, seen = rng.random((12, 15)) < 0.3, rng.integers(0, 256, (12, 15), np.uint8)
    found: Any = ndimage.label(mask, np.ones((3, 3)))
    ids, number = found
    objects = [seen[ids == one] for one in range(1, number + 1)]
    expected = [max(t for t in range(256) if (one >= t).mean() >= 0.5) for one in objects]
    np.testing.assert_array_equal(kept_until(mask, seen), np.bincount(expected, minlength=256))


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


def coarse_bands(trained: Trained, case: Case, to: Path, backend: Backend) -> np.ndarray:
    bundle = Bundle.load(trained.run, "cpu")
    assert bundle.coarse is not None
    exact = bundle.coarse.info.model_copy(update={"use": {"blend": {"precision": "fp32"}}})
    bundle = replace(bundle, coarse=replace(bundle.coarse, info=exact))
    with open_slide(case.slide, mpp=case.mpp) as slide:
        grid = lay_grid(slide, bundle.info.tiling)
        job = Job(slide, TileSet(grid, np.ones(grid.shape, bool)), bundle, Blend())
        found = predict_coarse(job, to, backend=backend)
        assert is_found(job, to)
        return np.concatenate([band for _, band in found.bands()], axis=1).astype(int)


def test_the_coarse_network_is_computed_by_the_backend_that_is_asked_for(
    trained: Trained, cases: list[Case], tmp_path: Path
) -> None:
    torch, openvino = (
        coarse_bands(trained, cases[0], tmp_path / name, name) for name in ("torch", "openvino")
    )
    assert torch.std() > 0.5
    assert np.abs(torch - openvino).max() <= 1
    coarse_bands(trained, cases[0], tmp_path / "openvino", "torch")  # goes on as it was begun
    for name in ("torch", "openvino"):
        assert json.loads((tmp_path / name / "job.json").read_text())["backend"] == name


def test_a_graph_in_8_bits_of_the_fine_network_is_not_taken_for_the_coarse_one(
    trained: Trained, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where both networks are of one kind and size: then only the weights' place tells."""
    model = tmp_path / "model"
    shutil.copytree(trained.run / "bundle", model)
    (model / "int8").mkdir()
    (model / "int8" / "int8.json").write_text("{}")
    bundle = Bundle.load(model, "cpu")
    assert bundle.coarse is not None
    assert has_int8(bundle)
    assert not has_int8(bundle.coarse)
    alike = replace(bundle.coarse, info=bundle.info)
    assert fingerprint(alike) != fingerprint(bundle)
    expected = coarse_bands(trained, cases[0], tmp_path / "auto", "auto")
    told: list[str] = []
    monkeypatch.setattr(equip, "with_backend", spied(told))
    np.testing.assert_array_equal(
        coarse_bands(trained, cases[0], tmp_path / "int8", "int8"), expected
    )
    assert told[0] == "auto"


def spied(told: list[str]) -> Callable[..., Bundle]:
    """Return `with_backend` that notes which one was asked for."""

    def noted(bundle: Bundle, name: Backend, *rest: Any, **named: Any) -> Bundle:
        told.append(name)
        return with_backend(bundle, name, *rest, **named)

    return noted


def test_masks_are_the_same_whatever_computes(
    trained: Trained, cases: list[Case], tmp_path: Path
) -> None:
    """`segment` asks both networks of the backend; which tiles are left decides the mask."""
    looked_at: dict[str, list[int]] = {}
    for backend in ("torch", "openvino"):
        bundle = load(str(trained.run), "cpu", backend)
        out = tmp_path / backend
        outcomes = list(segment(cases[6:], bundle, out, Options(backend=backend)))
        assert [one.state for one in outcomes] == ["done"] * 2
        looked_at[backend] = [read_summary(o.folder)["tiles"]["looked_at"] for o in outcomes]
    assert looked_at["torch"] == looked_at["openvino"]
    later = load(str(trained.run), "cpu", "openvino")  # both lie ready and have agreed
    assert isinstance(later.network, Late)
    assert later.coarse is not None
    assert isinstance(later.coarse.network, Late)
    for case in cases[6:]:
        total = agreement(*(tmp_path / b / case.slide.stem / MASK for b in looked_at))
        assert total.dice[1] > 0.98


def test_a_study_says_what_is_saved_and_what_it_costs(trained: Trained, cases: list[Case]) -> None:
    out = trained.run.parent
    job = CascadeJob(RECIPE, tuple(cases), out, (0.5, 0.9), Means("cpu", 1))
    assert job.asked == (0.9, 0.5)
    *_, (said, rows) = study_cascade(job)
    assert said == "recall 0.5: done"
    assert [row.label for row in rows] == ["everywhere", "recall 0.9", "recall 0.5"]
    everywhere, careful, bold = rows
    assert (everywhere.threshold, everywhere.agreement) == (0, 1)
    assert (everywhere.tiles_share, everywhere.operations_share) == (1, 1)
    assert careful.threshold == Bundle.load(out / "run", "cpu").info.use["cascade"]["threshold"]
    assert careful.threshold <= bold.threshold
    assert 1 >= careful.tiles_share >= bold.tiles_share
    for row in (careful, bold):
        summaries = [
            read_summary(folder) for folder in (out / row.label.replace(" ", "-")).glob("p*")
        ]
        looked_at = sum(one["tiles"]["looked_at"] for one in summaries)
        kept = sum(one["tiles"]["kept"] for one in summaries)
        assert (kept, looked_at / kept) == (32, row.tiles_share)
        assert row.test.coarse == 2  # one coarse tile a picture
        wanted = (looked_at * row.costs.fine + 2 * row.costs.coarse) / (kept * row.costs.fine)
        assert row.operations_share == pytest.approx(wanted)
        assert 0 <= row.lowest <= row.test.recall(row.threshold) <= 1
        assert row.agreement <= 1
    write_cascade(out, rows, {"cohort": "discs"})
    lines = (out / "study.csv").read_text("utf-8").splitlines()
    assert len(lines) == 4
    assert "recall 0.5" in (out / "report.html").read_text("utf-8")
    assert (out / "cascade.png").stat().st_size > 1000
    assert in_words(rows)[0].startswith("everywhere: Dice ")


def test_a_model_that_is_there_gets_a_coarse_network(trained: Trained, cases: list[Case]) -> None:
    """Its own network stays as it is; a coarse one that it had is replaced."""
    out, model = trained.run.parent.parent / "given", trained.run / "bundle"
    shutil.copytree(trained.run / "coarse", out / "run" / "coarse")
    job = CascadeJob(RECIPE, tuple(cases), out, (), Means("cpu", 1), str(model))
    both_trained(job, out / "run")
    bundle, before = Bundle.load(out / "run", "cpu"), Bundle.load(model, "cpu")
    assert bundle.coarse is not None
    assert before.coarse is not None
    assert bundle.coarse.digest == before.coarse.digest
    assert bundle.info.use["cascade"] == before.info.use["cascade"]
    weights = "weights.safetensors"
    assert (out / "run" / "bundle" / weights).read_bytes() == (model / weights).read_bytes()
    other = RECIPE.model_copy(update={"classes": ClassMap(classes=(ClassInfo(name="tumour"),))})
    with pytest.raises(SettingsError, match="finds gland, and recipe discs tumour"):
        both_trained(replace(job, recipe=other), out / "run")
    alone = RECIPE.model_copy(update={"cascade": None})
    with pytest.raises(SettingsError, match="has no \\[cascade\\]"):
        list(study_cascade(replace(job, recipe=alone)))
