"""Memory that runs out halves the batch; the answer stays the same, and the summary says so."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fakes import Darkness
from slidemask.base.errors import SettingsError
from slidemask.base.stages import Stages
from slidemask.infer import fitting
from slidemask.infer.blend import Blend
from slidemask.infer.fitting import LANES, MOST, SHARE, Fitting, batch_that_fits, tiles_in
from slidemask.infer.job import Job
from slidemask.infer.predict import predict
from slidemask.io.array import ArraySlide
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.select import TileSet


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_chosen", {})


class Small(Darkness):
    """A device that has room for `room` tiles."""

    room = 3
    error: type[RuntimeError] = torch.OutOfMemoryError

    def predict(self, tiles: np.ndarray, precision: str = "auto") -> np.ndarray:
        if len(tiles) > self.room:
            raise self.error(f"CUDA out of memory. Tried to allocate {len(tiles)} tiles.\nMore.")
        return super().predict(tiles, precision)


def job_of(bundle: Darkness, batch: int = 8) -> Job:
    rng = np.random.default_rng(0)
    slide = ArraySlide("random", rng.integers(0, 256, (90, 400, 3), np.uint8))
    grid = TileGrid(slide.size, 32, 20)
    tiles = TileSet(grid, np.ones(grid.shape, bool))
    return Job(slide, tiles, bundle, Blend(batch=batch))  # type: ignore[arg-type]


def whole(job: Job, to: Path) -> np.ndarray:
    return np.concatenate([band for _, band in predict(job, to, Stages()).bands()], axis=1)


@pytest.mark.parametrize("streams", [0, 2])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_memory_that_runs_out_halves_the_batch(
    tmp_path: Path, streams: int, error: type[RuntimeError], caplog: pytest.LogCaptureFixture
) -> None:
    bundle = Small(streams=streams)
    bundle.error = error  # Apple's GPUs raise the plain one
    job = job_of(bundle)
    found = predict(job, tmp_path / "1", Stages())
    assert found.batch == 2
    assert found.notes == (
        "the memory of cpu ran out with 8 tiles a forward pass: went on with 4",
        "the memory of cpu ran out with 4 tiles a forward pass: went on with 2",
    )
    assert found.notes[0] in caplog.text
    expected = whole(job_of(Darkness()), tmp_path / "2")
    np.testing.assert_array_equal(np.concatenate([b for _, b in found.bands()], axis=1), expected)


def test_not_even_one_tile_fits(tmp_path: Path) -> None:
    bundle = Small()
    bundle.room = 0
    with pytest.raises(SettingsError, match=r"One tile of 32 px does not fit.*out of memory.*\)"):
        predict(job_of(bundle), tmp_path, Stages())


def test_other_errors_are_not_taken_for_it(tmp_path: Path) -> None:
    bundle = Small()
    bundle.error = type("OtherError", (RuntimeError,), {"__str__": lambda _: "sizes differ"})
    with pytest.raises(RuntimeError, match="sizes differ"):
        predict(job_of(bundle), tmp_path, Stages())


def test_threads_that_run_out_together_halve_once() -> None:
    together = threading.Barrier(2)

    def predicted(tiles: np.ndarray) -> np.ndarray:
        if len(tiles) == 8:
            together.wait(10)
            raise torch.OutOfMemoryError("full")
        return tiles.astype(np.float32)

    fit, tiles = Fitting(job_of(Darkness()), predicted), np.zeros((8, 1, 1, 3), np.uint8)
    threads = [threading.Thread(target=fit, args=(tiles,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fit.most == 4
    assert len(fit.notes) == 1


def test_processors_keep_to_one_tile_and_wishes_are_kept() -> None:
    assert batch_that_fits(job_of(Darkness(), batch=0)) == 1
    assert batch_that_fits(job_of(Darkness(), batch=5)) == 5


@given(free=st.integers(0, 10**11), first=st.integers(1, 10**10), more=st.integers(1, 10**10))
def test_what_is_chosen_fits_and_twice_as_many_would_not(free: int, first: int, more: int) -> None:
    count = tiles_in(free, first, more)
    assert count in {1, 2, 4, 8, 16, 32}
    if count > 1:
        assert LANES * (first + (count - 1) * more) <= SHARE * free + 1
    if count < MOST:
        assert LANES * (first + (2 * count - 1) * more) > SHARE * free - 1 - 2 * LANES * more


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
def test_a_real_device_runs_out_and_goes_on(tmp_path: Path) -> None:
    class Greedy(Darkness):
        def predict(self, tiles: np.ndarray, precision: str = "auto") -> np.ndarray:
            free = torch.cuda.mem_get_info()[0]
            torch.empty(free * len(tiles) // 3, dtype=torch.uint8, device="cuda")
            return super().predict(tiles, precision)

    found = predict(job_of(Greedy()), tmp_path, Stages())
    assert found.batch == 2
