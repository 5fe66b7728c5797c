"""Whole-slide prediction against what a network without context must give."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import Constant, Darkness, info
from slidemask.base.errors import OutputError
from slidemask.base.stages import Stages
from slidemask.geometry.box import Box
from slidemask.infer.blend import Blend
from slidemask.infer.predict import Job, predict
from slidemask.infer.prediction import Prediction
from slidemask.io.array import ArraySlide
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.select import TileSet


def slide_of(height: int, width: int, seed: int = 0) -> ArraySlide:
    rng = np.random.default_rng(seed)
    return ArraySlide("random", rng.integers(0, 256, (height, width, 3), np.uint8))


def job_of(slide: ArraySlide, bundle: Darkness, grid: TileGrid, blend: Blend | None = None) -> Job:
    tiles = TileSet(grid, np.ones(grid.shape, bool))
    return Job(slide, tiles, bundle, blend or Blend(batch=3))  # type: ignore[arg-type]


def whole(prediction: Prediction) -> np.ndarray:
    return np.concatenate([band for _, band in prediction.bands()], axis=1)


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    tile=st.integers(8, 40),
    data=st.data(),
    window=st.sampled_from(["ramp", "flat"]),
)
@settings(max_examples=60, deadline=None)
def test_cut_predict_blend_gives_the_network_s_own_answer(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    tile: int,
    data: st.DataObject,
    window: str,
) -> None:
    stride = data.draw(st.integers(max(1, tile // 4), tile))
    slide = slide_of(height, width)
    grid = TileGrid(slide.size, tile, stride)
    job = job_of(slide, Darkness(), grid, Blend(window=window, batch=3))  # type: ignore[arg-type]

    prediction = predict(job, tmp_path_factory.mktemp("work"), Stages())

    np.testing.assert_array_equal(whole(prediction)[0], 255 - slide.pixels[..., 0])


class Uneven(Darkness):
    """Some tiles take longer than others, in threads side by side."""

    def predict(self, tiles: np.ndarray, precision: str = "auto") -> np.ndarray:
        time.sleep(0.003 * (int(tiles[0, 0, 0, 0]) % 4))
        self.at_once = max(getattr(self, "at_once", 0), threading.active_count())
        return super().predict(tiles, precision)


@pytest.mark.parametrize("streams", [1, 3])
def test_threads_change_nothing(tmp_path: Path, streams: int) -> None:
    slide = slide_of(150, 130)
    grid = TileGrid(slide.size, 32, 20)
    alone = predict(job_of(slide, Darkness(), grid, Blend(batch=1)), tmp_path / "0", Stages())
    bundle = Uneven(streams=streams)
    stages = Stages()
    found = predict(job_of(slide, bundle, grid, Blend(batch=1)), tmp_path / "1", stages)
    np.testing.assert_array_equal(whole(found), whole(alone))
    assert bundle.at_once >= streams
    assert stages.seconds["network"] > 0


def test_a_fault_in_a_thread_is_told_and_ends_the_run(tmp_path: Path) -> None:
    class Faulty(Darkness):
        def predict(self, tiles: np.ndarray, precision: str = "auto") -> np.ndarray:
            if self.seen > 4:
                raise MemoryError("no room")
            return super().predict(tiles, precision)

    slide = slide_of(150, 130)
    job = job_of(slide, Faulty(streams=2), TileGrid(slide.size, 32, 20), Blend(batch=1))
    with pytest.raises(MemoryError, match="no room"):
        predict(job, tmp_path, Stages())


@pytest.mark.parametrize("value", [0.0, 0.35, 0.6, 1.0])
def test_constant_probability_comes_back_constant(tmp_path: Path, value: float) -> None:
    slide = slide_of(333, 217)
    grid = TileGrid(slide.size, tile=64, stride=40)
    prediction = predict(job_of(slide, Constant(value=value), grid), tmp_path, Stages())
    assert np.unique(whole(prediction)).tolist() == [round(value * 255)]


def test_tiles_that_are_not_kept_are_background_and_never_predicted(tmp_path: Path) -> None:
    slide = slide_of(64, 96)
    grid = TileGrid(slide.size, tile=32, stride=32)
    kept = np.array([[True, False, True], [False, False, True]])
    bundle = Darkness()
    job = Job(slide, TileSet(grid, kept), bundle, Blend())  # type: ignore[arg-type]
    found = whole(predict(job, tmp_path, Stages()))[0]
    mask = np.kron(kept, np.ones((32, 32), bool))
    np.testing.assert_array_equal(found, np.where(mask, 255 - slide.pixels[..., 0], 0))
    assert bundle.seen == 3


def test_reads_like_a_slide(tmp_path: Path) -> None:
    slide = slide_of(70, 50)
    grid = TileGrid(slide.size, tile=32, stride=24)
    prediction = predict(job_of(slide, Darkness(), grid), tmp_path, Stages())
    probs = prediction.read(Box(-5, 10, 40, 70), 1.0)
    assert probs.shape == (2, 70, 40)
    np.testing.assert_allclose(probs.sum(axis=0), 1, atol=1e-6)
    expected = np.zeros((70, 40))
    expected[:60, 5:] = 1 - slide.pixels[10:70, :35, 0] / 255
    np.testing.assert_allclose(probs[1], expected, atol=1e-6)


@given(st.integers(1, 70), st.integers(1, 33), st.data())
@settings(max_examples=30, deadline=None)
def test_rows_are_those_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, height: int, stride: int, data: st.DataObject
) -> None:
    slide = slide_of(height, 20)
    job = job_of(slide, Darkness(), TileGrid(slide.size, 33, stride))
    prediction = predict(job, tmp_path_factory.mktemp("work"), Stages())
    assert prediction.size == (20, height)
    top = data.draw(st.integers(0, height - 1))
    count = data.draw(st.integers(1, height - top))
    rows = prediction.rows(top, count)
    np.testing.assert_array_equal(rows, whole(prediction)[:, top : top + count])
    for outside in ((-1, 2), (top, height - top + 1)):
        with pytest.raises(ValueError, match="not inside"):
            prediction.rows(*outside)


class KilledError(Exception):
    pass


class Dying(Darkness):
    """Fails at a given forward pass, as a killed process would stop there."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def predict(self, tiles: np.ndarray, precision: str = "auto") -> np.ndarray:
        if not self.left:
            raise KilledError
        self.left -= 1
        return super().predict(tiles, precision)


@pytest.mark.parametrize("at", range(0, 21, 2))
@pytest.mark.parametrize("stride", [8, 20, 32])
def test_a_killed_run_goes_on_bit_by_bit(tmp_path: Path, at: int, stride: int) -> None:
    slide = slide_of(150, 60)
    grid = TileGrid(slide.size, tile=32, stride=stride)
    smooth = Blend(batch=2)
    expected = whole(predict(job_of(slide, Darkness(), grid, smooth), tmp_path / "whole", Stages()))
    with pytest.raises(KilledError):
        predict(job_of(slide, Dying(min(at, 2)), grid, smooth), tmp_path / "cut", Stages())
    with suppress(KilledError):
        predict(job_of(slide, Dying(at), grid, smooth), tmp_path / "cut", Stages())
    found = whole(predict(job_of(slide, Darkness(), grid, smooth), tmp_path / "cut", Stages()))
    np.testing.assert_array_equal(found, expected)


def test_a_resumed_run_does_not_start_again(tmp_path: Path) -> None:
    slide = slide_of(320, 32)
    grid = TileGrid(slide.size, tile=32, stride=32)
    with pytest.raises(KilledError):
        predict(job_of(slide, Dying(8), grid), tmp_path, Stages())
    bundle = Darkness()
    predict(job_of(slide, bundle, grid), tmp_path, Stages())
    assert bundle.seen == 2  # row 7 was written when row 8 came; 8 and 9 are left


@pytest.mark.parametrize("damage", ["torn journal", "torn bands", "flipped byte"])
def test_what_a_power_cut_tears_is_computed_again(tmp_path: Path, damage: str) -> None:
    slide = slide_of(150, 60)
    grid = TileGrid(slide.size, tile=32, stride=20)
    expected = whole(predict(job_of(slide, Darkness(), grid), tmp_path / "whole", Stages()))
    predict(job_of(slide, Darkness(), grid), tmp_path / "cut", Stages())
    bands, journal = tmp_path / "cut" / "bands.bin", tmp_path / "cut" / "journal.jsonl"
    if damage == "torn journal":
        journal.write_bytes(journal.read_bytes()[:-9])
    elif damage == "torn bands":
        bands.write_bytes(bands.read_bytes()[:-50])
    else:
        data = bytearray(bands.read_bytes())
        data[len(data) // 2] ^= 255
        bands.write_bytes(bytes(data))
    bundle = Darkness()
    found = whole(predict(job_of(slide, bundle, grid), tmp_path / "cut", Stages()))
    np.testing.assert_array_equal(found, expected)
    assert 0 < bundle.seen <= len(grid)


def test_another_job_s_half_done_result_is_refused(tmp_path: Path) -> None:
    slide = slide_of(64, 64)
    predict(job_of(slide, Darkness(), TileGrid(slide.size, 32, 32)), tmp_path, Stages())
    with pytest.raises(OutputError, match=r"stride.*--overwrite"):
        predict(job_of(slide, Darkness(), TileGrid(slide.size, 32, 16)), tmp_path, Stages())


def test_tiles_that_fail_the_pixel_filters_are_left_out(tmp_path: Path) -> None:
    slide = slide_of(32, 64)
    slide.pixels[:, 32:] = 240
    filters = info().filters.model_copy(update={"min_std": 12.5})
    bundle = Darkness(info=info().model_copy(update={"filters": filters}))
    found = whole(predict(job_of(slide, bundle, TileGrid(slide.size, 32, 32)), tmp_path, Stages()))
    assert bundle.seen == 1
    assert not found[0, :, 32:].any()
    np.testing.assert_array_equal(found[0, :, :32], 255 - slide.pixels[:, :32, 0])


@pytest.mark.parametrize(
    ("share", "kept"), [(0.7, [False, True, True]), (1.0, [False, False, True])]
)
def test_tiles_count_as_a_whole_where_enough_of_their_pixels_are_positive(
    tmp_path: Path, share: float, kept: list[bool]
) -> None:
    pixels = np.full((30, 90, 3), 250, np.uint8)
    pixels[:20, :30] = pixels[:21, 30:60] = pixels[:, 60:] = 20
    slide = ArraySlide("thirds", pixels)
    blend = Blend(vote_share=share)
    found = whole(
        predict(job_of(slide, Darkness(), TileGrid(slide.size, 30, 30), blend), tmp_path, Stages())
    )
    np.testing.assert_array_equal(found[0], np.tile(np.repeat(kept, 30) * 255, (30, 1)))
