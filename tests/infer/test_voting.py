"""Slides by a tile classifier against the network itself, tile by tile."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import OutputError, SettingsError
from slidemask.base.stages import Stages
from slidemask.infer import shared, voting
from slidemask.infer.blend import Blend
from slidemask.infer.job import Job
from slidemask.infer.predict import predict
from slidemask.infer.votes import Votes, map_bands, tally
from slidemask.infer.voting import VOTES
from slidemask.io.array import ArraySlide
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, BundleInfo
from slidemask.models.segmenter import Segmenter
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import TileGrid, Tiling, lay_grid
from slidemask.tiles.reading import read_tile
from slidemask.tiles.select import TileSet

CLASSES = ClassMap(classes=(ClassInfo(name="high"), ClassInfo(name="low")))
TILE = 24


def bundle_of(
    head: str = "dense",
    filters: Filters | None = None,
    overlap: float = 0.5,
    temperature: float = 1.0,
) -> Bundle:
    torch.manual_seed(1)
    spec = ModelSpec.model_validate(
        {
            "architecture": "tile", "filters": (4, 6), "head": head, "activation": "softmax",
            "temperature": temperature,
        }
    )  # fmt: skip
    segmenter = Segmenter(spec, 2, None, TILE).eval()
    with torch.no_grad():
        for layer in segmenter.tile_net().head:
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(6)
    info = BundleInfo(
        name="votes",
        model=spec,
        classes=CLASSES,
        tiling=Tiling(tile_px=TILE, overlap=overlap, downsample=1.0),
        filters=filters or Filters(tissue=None),
    )
    return Bundle(info, segmenter, "digest", torch.device("cpu"))


def slide_of(height: int = 90, width: int = 130) -> ArraySlide:
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (height // 20 + 1, width // 20 + 1, 3))
    smooth = np.kron(coarse, np.ones((20, 20, 1)))[:height, :width]
    pixels = np.clip(smooth + rng.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)
    pixels[:30, :60] = 244  # glass
    return ArraySlide("noise", pixels)


def job_of(slide: ArraySlide, bundle: Bundle, **blend: Any) -> Job:
    grid = lay_grid(slide, bundle.info.tiling)
    kept = np.ones(grid.shape, bool)
    kept[-1, 2:5] = False
    settings = Blend.model_validate({"precision": "fp32", **blend})
    return Job(slide, TileSet(grid, kept), bundle, settings)


def expected_votes(job: Job, *, light: int = 255) -> np.ndarray:
    """Return the votes of each tile alone; those brighter than `light` vote background."""
    grid = job.tiles.grid
    votes = np.zeros((*grid.shape, 3), np.float32)
    votes[..., 0] = 1
    for tile in job.tiles:
        pixels = read_tile(job.slide, tile.box, 1.0)
        if (pixels > light).mean() <= 0.5:
            found = job.bundle.predict(pixels[None], "fp32")
            assert found.shape == (1, 3, 1, 1)
            votes[tile.row, tile.column] = found[0, :, 0, 0]
    return votes


def whole(job: Job, to: Path) -> np.ndarray:
    return np.concatenate(
        [band for _, band in predict(job, to, Stages(), threads=1).bands()], axis=1
    )


def assert_is_map(found: np.ndarray, votes: np.ndarray, job: Job) -> None:
    expected = np.concatenate(
        list(map_bands(votes, job.tiles.grid, job.blend.votes)), axis=1
    ).astype(int)
    assert len(np.unique(expected)) > 20
    np.testing.assert_allclose(found, expected, atol=1)


@pytest.mark.parametrize("head", ["dense", "pool"])
def test_the_map_is_that_of_each_tile_s_own_vote(tmp_path: Path, head: str) -> None:
    job = job_of(slide_of(), bundle_of(head))
    votes = expected_votes(job)
    prediction = predict(job, tmp_path, Stages())
    assert prediction.canvas == (130, 90)
    assert_is_map(whole(job, tmp_path), votes, job)
    assert prediction.positive == tally(votes, 0.5)
    assert any(tally(votes, 0.5))


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_votes_are_as_warm_as_the_bundle_says(tmp_path: Path, temperature: float) -> None:
    job = job_of(slide_of(), bundle_of(temperature=temperature))
    votes = expected_votes(job)
    assert np.abs(votes - expected_votes(job_of(slide_of(), bundle_of()))).max() > 0.05
    np.testing.assert_allclose(voting.votes_of(job, tmp_path, Stages()), votes, atol=1e-5)


def test_glass_votes_background(tmp_path: Path) -> None:
    filters = Filters(tissue=None, max_background_share=0.5)
    job = job_of(slide_of(), bundle_of(filters=filters))
    votes = expected_votes(job, light=235)
    assert (votes[..., 0] == 1).sum() > 5
    assert_is_map(whole(job, tmp_path / "a"), votes, job)
    # Other views of a tile share nothing: the same filters on another path.
    turned = job_of(slide_of(), bundle_of(filters=filters), augmentation="flips")
    whole(turned, tmp_path / "b")
    with np.load(tmp_path / "b" / VOTES) as file:
        np.testing.assert_array_equal(file["votes"][..., 0] == 1, votes[..., 0] == 1)


def test_augmentation_means_over_views(tmp_path: Path) -> None:
    job = job_of(slide_of(), bundle_of(), augmentation="all", batch=3)
    votes = np.zeros((*job.tiles.grid.shape, 3), np.float32)
    votes[..., 0] = 1
    for tile in job.tiles:
        pixels = read_tile(job.slide, tile.box, 1.0)
        views = [np.rot90(p, n) for n in range(4) for p in (pixels, pixels[:, ::-1])]
        found = job.bundle.predict(np.stack(views), "fp32")
        votes[tile.row, tile.column] = found[:, :, 0, 0].mean(axis=0)
    assert_is_map(whole(job, tmp_path), votes, job)


def test_a_killed_run_goes_on_without_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slidemask.infer.votes.BAND_ROWS", 20)
    job = job_of(slide_of(), bundle_of())
    expected = predict(job, tmp_path / "whole", Stages())
    predict(job, tmp_path / "cut", Stages())
    bands, journal = tmp_path / "cut" / "bands.bin", tmp_path / "cut" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    journal.write_bytes(b"".join(lines[:2]) + lines[2][:9])
    monkeypatch.setattr(shared, "vote_map", None)
    found = predict(job, tmp_path / "cut", Stages())
    assert bands.read_bytes() == (tmp_path / "whole" / "bands.bin").read_bytes()
    assert found.positive == expected.positive


@pytest.mark.parametrize("damage", ["torn", "gone", "other job's"])
def test_votes_that_are_no_use_are_made_again(tmp_path: Path, damage: str) -> None:
    job = job_of(slide_of(), bundle_of())
    expected = predict(job, tmp_path, Stages()).positive
    path = tmp_path / VOTES
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "gone":
        path.unlink()
    else:
        np.savez(path, votes=np.zeros((2, 2, 3)), key=np.array("another"))
    (tmp_path / "journal.jsonl").unlink()
    assert predict(job, tmp_path, Stages()).positive == expected


def test_votes_serve_other_maps_but_bands_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide, bundle = slide_of(), bundle_of()
    mean, union = job_of(slide, bundle), job_of(slide, bundle, votes=Votes(combine="union"))
    whole(mean, tmp_path / "mean")
    with pytest.raises(OutputError, match=r"blend.*--overwrite"):
        predict(union, tmp_path / "mean", Stages())
    (tmp_path / "union").mkdir()
    (tmp_path / "mean" / VOTES).rename(tmp_path / "union" / VOTES)
    monkeypatch.setattr(shared, "vote_map", None)
    assert set(np.unique(whole(union, tmp_path / "union")).tolist()) >= {0, 255}


def test_a_pooling_head_takes_other_tiles_and_a_dense_one_says_that_it_does_not(
    tmp_path: Path,
) -> None:
    slide = slide_of()
    grid = TileGrid(slide.size, 40, 20)
    tiles = TileSet(grid, np.ones(grid.shape, bool))
    wide = Job(slide, tiles, bundle_of("pool"), Blend(precision="fp32"))
    spec = wide.bundle.segmenter.tile_net().spec
    whole(wide, tmp_path / "pool")
    assert wide.bundle.segmenter.tile_net().spec == spec
    other = Segmenter(wide.bundle.info.model, 2, None, 40).eval()
    other.load_state_dict(wide.bundle.segmenter.state_dict())
    fresh = Bundle(wide.bundle.info, other, "digest", torch.device("cpu"))
    same = Job(slide, tiles, fresh, Blend(precision="fp32"))
    np.testing.assert_array_equal(whole(same, tmp_path / "same"), whole(wide, tmp_path / "pool"))
    views = Blend(precision="fp32", augmentation="flips")
    expected = whole(replace(same, blend=views), tmp_path / "same, turned")
    found = whole(replace(wide, blend=views), tmp_path / "pool, turned")
    np.testing.assert_array_equal(found, expected)
    dense = Job(slide, tiles, bundle_of("dense"), Blend())
    for blend in (dense.blend, views):
        with pytest.raises(SettingsError, match=r"40 px.*takes 24 px.*tiling.tile_px"):
            predict(replace(dense, blend=blend), tmp_path / blend.augmentation, Stages())


def test_a_share_of_pixels_is_not_for_a_network_that_votes(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"vote_share = 0.7.*votes by itself"):
        predict(job_of(slide_of(), bundle_of(), vote_share=0.7), tmp_path, Stages())
