"""Whole slides by networks that see a tile's surroundings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fakes import Darkness, info
from slidemask.base.errors import OutputError
from slidemask.base.stages import Stages
from slidemask.infer.augmentation import predict_views
from slidemask.infer.blend import Blend
from slidemask.infer.predict import Job, predict
from slidemask.io.array import ArraySlide
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle
from slidemask.models.segmenter import Segmenter
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.reading import read_around
from slidemask.tiles.select import TileSet


class Around(Darkness):
    """Calls each pixel a gland by the red of the surroundings that stands in its place."""

    def predict(self, tiles: np.ndarray, precision: str = "auto") -> np.ndarray:
        assert tiles.shape[3] == 6
        return super().predict(tiles[..., 3:], precision)


def slide_of(height: int, width: int) -> ArraySlide:
    rng = np.random.default_rng(1)
    return ArraySlide("random", rng.integers(0, 256, (height, width, 3), np.uint8))


def job_of(slide: ArraySlide, bundle: object, grid: TileGrid, blend: Blend | None = None) -> Job:
    tiles = TileSet(grid, np.ones(grid.shape, bool))
    return Job(slide, tiles, bundle, blend or Blend(batch=3, window="flat"))  # type: ignore[arg-type]


def whole(job: Job, to: Path) -> np.ndarray:
    return np.concatenate([band for _, band in predict(job, to, Stages()).bands()], axis=1)


def test_each_tile_comes_with_its_own_surroundings(tmp_path: Path) -> None:
    slide = slide_of(100, 70)
    grid = TileGrid(slide.size, tile=32, stride=32, context=2.5)
    found = whole(job_of(slide, Around(), grid), tmp_path)[0]
    assert found.shape == (100, 70)
    for tile in grid:
        red = read_around(slide, tile.box, 1.0, 2.5)[..., 0]
        part = found[tile.row * 32 : tile.row * 32 + 32, tile.column * 32 : tile.column * 32 + 32]
        np.testing.assert_array_equal(part, 255 - red[: part.shape[0], : part.shape[1]])


def test_filters_judge_the_tile_and_not_its_surroundings(tmp_path: Path) -> None:
    slide = slide_of(64, 96)
    slide.pixels[:32, 32:64] = 240  # a plain tile in the midst of others
    filters = info().filters.model_copy(update={"min_std": 12.5})
    bundle = Around(info=info().model_copy(update={"filters": filters}))
    found = whole(job_of(slide, bundle, TileGrid(slide.size, 32, 32, 1.0, 2.0)), tmp_path)
    assert bundle.seen == 5
    assert not found[0, :32, 32:64].any()
    slide.pixels[:] = 240
    nothing = whole(job_of(slide, bundle, TileGrid(slide.size, 32, 32, 1.0, 2.0)), tmp_path / "2")
    assert not nothing.any()


def both_views() -> Bundle:
    torch.manual_seed(0)
    plain = info()
    spec = ModelSpec(width=2, depth=2)
    known = plain.model_copy(
        update={"tiling": plain.tiling.model_copy(update={"context": 3.0}), "model": spec}
    )
    segmenter = Segmenter(spec, 1, 3.0).eval()
    return Bundle(known, segmenter, "both", torch.device("cpu"))


class KilledError(Exception):
    pass


@pytest.mark.parametrize("at", [0, 3, 7])
def test_a_killed_run_goes_on_bit_by_bit(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide, bundle = slide_of(150, 60), both_views()
    grid = TileGrid(slide.size, tile=32, stride=20, context=3.0)
    job = job_of(slide, bundle, grid, Blend(batch=2, augmentation="flips"))
    expected = whole(job, tmp_path / "whole")
    assert len(np.unique(expected)) > 2
    left = 4 * at  # views

    def dying(self: Bundle, tiles: np.ndarray, precision: str = "auto") -> np.ndarray:
        nonlocal left
        if not left:
            raise KilledError
        left -= 1
        return alive(self, tiles, precision)  # type: ignore[arg-type]

    alive = Bundle.predict
    with monkeypatch.context() as patch:
        patch.setattr(Bundle, "predict", dying)
        with pytest.raises(KilledError):
            predict(job, tmp_path / "cut", Stages())
    np.testing.assert_array_equal(whole(job, tmp_path / "cut"), expected)


def test_another_context_is_another_job(tmp_path: Path) -> None:
    slide = slide_of(64, 64)
    predict(job_of(slide, Around(), TileGrid(slide.size, 32, 32, 1.0, 2.0)), tmp_path, Stages())
    with pytest.raises(OutputError, match=r"context.*--overwrite"):
        predict(job_of(slide, Around(), TileGrid(slide.size, 32, 32, 1.0, 3.0)), tmp_path, Stages())


def test_surroundings_turn_with_their_tile() -> None:
    """The mean over all eight views is that of turned tiles, turned back."""
    bundle, blend = both_views(), Blend(augmentation="all", precision="fp32")
    tiles = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 6), np.uint8)
    found = predict_views(bundle, tiles, blend)
    for turns in range(1, 4):
        turned = np.ascontiguousarray(np.rot90(tiles, turns, axes=(1, 2)))
        again = np.rot90(predict_views(bundle, turned, blend), -turns, axes=(2, 3))
        np.testing.assert_allclose(again, found, atol=1e-5)
