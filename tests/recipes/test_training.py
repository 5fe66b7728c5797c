"""From a cohort to a bundle: what a run leaves, refuses and takes up again."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file

from journey import GLAND, disc_cases, discs, write_png
from slidemask.base.errors import CohortError, LeakError, OutputError
from slidemask.data.case import Case
from slidemask.data.cohort import read_cohort, write_cohort
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import FILES, Bundle
from slidemask.recipes.recipe import Recipe, load_recipe, write_recipe
from slidemask.recipes.segment import Options, segment
from slidemask.recipes.training import train
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling
from slidemask.train.schedule import Schedule

RECIPE = Recipe(
    name="discs",
    about="Dark discs.",
    classes=GLAND,
    tiling=Tiling(tile_px=32, overlap=0.0, mpp=1.0),
    filters=Filters(tissue=None),
    model=ModelSpec(width=2, depth=1),
    schedule=Schedule(epochs=2, batch=4, learning_rate=0.02, precision="fp32"),
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return disc_cases(tmp_path_factory.mktemp("discs"))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_run_leaves_a_bundle_that_segments(cases: list[Case], tmp_path: Path) -> None:
    run = tmp_path / "runs" / "mine ü"
    trained = train(RECIPE, cases, run, device="cpu", workers=0)
    assert trained.finished
    assert trained.progress.epoch == 2
    names = {path.name for path in run.iterdir()}
    assert names == {
        "bundle", "cohort.csv", "curves.png", "history.csv", "inputs.json", "last.safetensors",
        "recipe.toml", "samples.png", "selection.csv", "tensorboard",
    }  # fmt: skip
    assert {path.name for path in (run / "bundle").iterdir()} == set(FILES)
    samples = cv2.imdecode(np.fromfile(run / "samples.png", np.uint8), cv2.IMREAD_COLOR)
    assert samples is not None
    assert min(samples.shape[:2]) > 300
    assert load_recipe(run / "recipe.toml") == RECIPE
    told = read_cohort(run / "cohort.csv")
    assert [case.slide.resolve() for case in told] == [case.slide.resolve() for case in cases]

    bundle = Bundle.load(run, "cpu")
    made = bundle.info.provenance
    assert made["cases"] == {"train": 6, "validation": 3, "test": 0}
    assert made["patients"] == {"train": 6, "validation": 3, "test": 0}
    card = (run / "bundle" / "card.md").read_text(encoding="utf-8")
    assert "Not for diagnosis" in card
    assert f"| dice slides | {trained.progress.best:.4g} |" in card
    (outcome,) = segment([cases[0]], bundle, tmp_path / "out", Options())
    assert (outcome.state, outcome.message) == ("done", "")


def test_the_bundle_is_the_best_epoch_s(cases: list[Case], tmp_path: Path) -> None:
    """By the second epoch the rate is so high that the first stays the best."""
    schedule = RECIPE.schedule.model_copy(
        update={"optimiser": "sgd", "rate": "constant", "warmup_epochs": 0.0, "epochs": 1}
    )
    once = RECIPE.model_copy(update={"schedule": schedule})
    trained = train(once, cases, tmp_path / "one", device="cpu", workers=0)
    bundle = load_file(tmp_path / "one" / "bundle" / "weights.safetensors")
    state = load_file(tmp_path / "one" / "last.safetensors")
    assert trained.progress.best_epoch == 1
    for name, value in bundle.items():
        np.testing.assert_allclose(value.float(), state[f"model.{name}"].float(), rtol=1e-3)


def test_the_same_call_again_changes_nothing(cases: list[Case], tmp_path: Path) -> None:
    train(RECIPE, cases, tmp_path / "run", device="cpu", workers=0)
    before = contents(tmp_path / "run" / "bundle")
    history = (tmp_path / "run" / "history.csv").read_bytes()
    assert train(RECIPE, cases, tmp_path / "run", device="cpu", workers=0).finished
    assert contents(tmp_path / "run" / "bundle") == before
    assert (tmp_path / "run" / "history.csv").read_bytes() == history


def test_another_recipe_is_refused_and_replaced_on_request(
    cases: list[Case], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(RECIPE, cases, run, device="cpu", workers=0)
    other = RECIPE.model_copy(
        update={"schedule": RECIPE.schedule.model_copy(update={"epochs": 1, "seed": 5})}
    )
    before = contents(run)
    with pytest.raises(OutputError, match=r"other settings.*--overwrite"):
        train(other, cases, run, device="cpu", workers=0)
    assert contents(run) == before
    trained = train(other, cases, run, device="cpu", workers=0, overwrite=True)
    assert trained.progress.epoch == 1
    assert load_recipe(run / "recipe.toml") == other
    assert (run / "history.csv").read_text().count("\n") == 2


def test_another_cohort_is_refused(cases: list[Case], tmp_path: Path) -> None:
    """A run that went on with other cases would be no run that anyone could repeat."""
    run = tmp_path / "run"
    train(RECIPE, cases, run, device="cpu", workers=0)
    with pytest.raises(OutputError, match=r"other cases.*--overwrite"):
        train(RECIPE, cases[1:], run, device="cpu", workers=0)


def test_changed_annotations_are_noticed(cases: list[Case], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(RECIPE, cases, run, device="cpu", workers=0)
    changed = cases[0].annotations
    assert changed
    whole = changed.read_bytes()
    changed.write_bytes(cases[1].annotations.read_bytes())  # type: ignore[union-attr]  # all have
    try:
        with pytest.raises(OutputError, match=r"1 files have changed .*--overwrite"):
            train(RECIPE, cases, run, device="cpu", workers=0)
    finally:
        changed.write_bytes(whole)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_the_user_s_own_files_is_not_touched(
    cases: list[Case], tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "recipe.toml").write_text("# mine\n" + write_recipe(RECIPE), encoding="utf-8")
    write_cohort(tmp_path / "cohort.csv", cases[1:])
    (tmp_path / "thesis.txt").write_text("years of work")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="--out"):
        train(RECIPE, cases, tmp_path, device="cpu", workers=0, overwrite=overwrite)
    assert contents(tmp_path) == before


def test_a_patient_or_a_file_on_both_sides_is_a_leak(cases: list[Case], tmp_path: Path) -> None:
    both = [replace(case, patient="same") for case in cases]
    with pytest.raises(LeakError, match="same"):
        train(RECIPE, both, tmp_path / "run", device="cpu")
    copied = write_png(tmp_path / "copy.png", discs(64, 64, seed=0)[0])
    twin = replace(cases[-1], slide=copied, patient="another")
    assert copied.read_bytes() == cases[0].slide.read_bytes()
    with pytest.raises(LeakError, match="are the same file"):
        train(RECIPE, [*cases, twin], tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_cohort_without_patients_or_without_a_part_is_refused(
    cases: list[Case], tmp_path: Path
) -> None:
    with pytest.raises(CohortError, match="no patient"):
        train(RECIPE, [replace(c, patient=None) for c in cases], tmp_path / "run", device="cpu")
    with pytest.raises(CohortError, match="validation part"):
        train(RECIPE, cases[:6], tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


CUT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from slidemask.data.loader import TrainingLoader
from slidemask.train import wholeslides
told, count, mark = TrainingLoader.epoch, wholeslides.histogram_slide, sys.argv.pop()
place, counted = sys.argv.pop(), []
def stop():
    open(mark, "w").close()
    time.sleep(600)
def epoch(self, number):
    for batch, tiles in enumerate(told(self, number)):
        if place == "tiles" and (number, batch) == (2, 1):
            stop()
        yield tiles
def histogram(*slide, **how):
    counted.append(1)
    if place == "slides" and len(counted) == 5:  # the second of three, of epoch 2
        stop()
    return count(*slide, **how)
TrainingLoader.epoch, wholeslides.histogram_slide = epoch, histogram
from slidemask.apps.cli import main
main()
"""


def _stopped(running: subprocess.Popen[str], stop: signal.Signals) -> tuple[str, str]:
    """Stop a training; return what it printed, once its workers have ended too."""
    if stop == signal.SIGINT:
        os.killpg(running.pid, stop)  # as a terminal does
    else:
        running.send_signal(stop)
    try:
        return running.communicate(timeout=120)  # workers hold the pipes too
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize(
    ("stop", "place"),
    [(signal.SIGINT, "tiles"), (signal.SIGKILL, "tiles"), (signal.SIGKILL, "slides")],
)
def test_a_command_that_is_stopped_goes_on_to_the_same_bytes(
    cases: list[Case], tmp_path: Path, stop: signal.Signals, place: str
) -> None:
    recipe, cohort, mark = (tmp_path / name for name in ("r.toml", "in/c.csv", "reached"))
    cohort.parent.mkdir()
    recipe.write_text(write_recipe(RECIPE), encoding="utf-8")
    write_cohort(cohort, cases)
    rest = ["train", str(recipe), "--cohort", str(cohort), "--device", "cpu", "--workers", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [sys.executable, "-c", CUT, *rest, "--out", str(tmp_path / "cut"), place, str(mark)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip
    began = time.monotonic()
    while not mark.exists():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() - began < 600
        time.sleep(0.05)
    out, err = _stopped(running, stop)
    if stop == signal.SIGINT:
        assert running.returncode == 130
        assert "stopped; the same command goes on after epoch 1" in out
        assert "Traceback" not in err
        assert Bundle.load(tmp_path / "cut", "cpu").info.provenance["epoch"] == 1
    assert (tmp_path / "cut" / ".validation").exists() == (place == "slides")
    trained = train(RECIPE, cases, tmp_path / "whole", device="cpu", workers=0)
    resumed = train(RECIPE, cases, tmp_path / "cut", device="cpu", workers=0)
    assert resumed.progress == trained.progress
    same = ("history.csv", "curves.png", "samples.png", "selection.csv")
    for name in (*same, "bundle/weights.safetensors"):
        if name.endswith("safetensors"):
            one, other = load_file(tmp_path / "cut" / name), load_file(tmp_path / "whole" / name)
            assert all(bool((value == other[key]).all()) for key, value in one.items())
        else:
            whole, cut = tmp_path / "whole" / name, tmp_path / "cut" / name
            assert whole.read_bytes() == cut.read_bytes(), name
