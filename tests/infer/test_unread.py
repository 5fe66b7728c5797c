"""Tiles that cannot be read: left out, written down, marked."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import Darkness, info
from slidemask.base.errors import SlideError
from slidemask.base.stages import Stages
from slidemask.base.types import Rgb
from slidemask.geometry.box import Box, Size
from slidemask.infer.blend import Blend
from slidemask.infer.job import Job
from slidemask.infer.predict import predict
from slidemask.infer.unread import (
    TolerantSlide,
    Unread,
    read_notes,
    share_unknown,
    with_unknown,
)
from slidemask.infer.voting import votes_of
from slidemask.io.array import ArraySlide
from slidemask.io.slide import Slide
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle
from slidemask.models.segmenter import Segmenter
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.select import TileSet


@dataclass(frozen=True)
class Damaged(ArraySlide):
    """Cannot be read where it touches one of these pixels (row, column)."""

    holes: set[tuple[int, int]] = field(default_factory=set)

    def read(self, box: Box, downsample: float = 1.0) -> Rgb:
        for row, column in self.holes:
            if box.y <= row < box.y + box.height and box.x <= column < box.x + box.width:
                raise SlideError(f"damaged at {row}, {column}")
        return super().read(box, downsample)


def naive_unknown(grid: TileGrid, kept: np.ndarray, unread: set[int]) -> np.ndarray:
    """Pixel by pixel: it lies in an unread tile and in no readable one."""
    canvas = grid.canvas
    lost = np.zeros((canvas.height, canvas.width), bool)
    seen = lost.copy()
    for tile in grid:
        top, left = tile.row * grid.stride, tile.column * grid.stride
        here = slice(top, top + grid.tile), slice(left, left + grid.tile)
        if tile.number in unread:
            lost[here] = True
        elif kept[tile.row, tile.column]:
            seen[here] = True
    return lost & ~seen


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    tile=st.integers(3, 30),
    step=st.floats(0.2, 1),
    band=st.integers(1, 40),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_unknown_is_what_no_readable_tile_covers(
    size: tuple[int, int], tile: int, step: float, band: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    grid = TileGrid(Size(*size), tile, max(1, int(tile * step)))
    kept = rng.random(grid.shape) < 0.8
    unread = {int(n) for n in np.flatnonzero(kept) if rng.random() < 0.3}
    one = Unread(TileSet(grid, kept), dict.fromkeys(unread, "damaged"))
    expected = naive_unknown(grid, kept, unread)
    height, width = expected.shape
    tops = range(0, height, band)
    bands = ((top, np.ones((min(band, height - top), width), np.uint8)) for top in tops)
    found = np.concatenate([labels for _, labels in with_unknown(bands, [one])])
    np.testing.assert_array_equal(found, np.where(expected, 255, 1))
    tissue = rng.random((height, width)) < 0.5
    share = share_unknown([one], grid.canvas, tissue)
    assert share == pytest.approx((expected & tissue).sum() / max(1, tissue.sum()))


def job_of(slide: Slide, grid: TileGrid, bundle: Darkness | None = None) -> Job:
    tiles = TileSet(grid, np.ones(grid.shape, bool))
    return Job(slide, tiles, bundle or Darkness(), Blend(batch=3))  # type: ignore[arg-type]


def picture(holes: set[tuple[int, int]]) -> Damaged:
    rng = np.random.default_rng(3)
    return Damaged("random", rng.integers(0, 256, (150, 90, 3), np.uint8), holes=holes)


def whole(job: Job, folder: Path) -> np.ndarray:
    return np.concatenate([band for _, band in predict(job, folder, Stages()).bands()], axis=1)[0]


def test_without_tolerance_the_place_is_named(tmp_path: Path) -> None:
    grid = TileGrid(Size(90, 150), 32, 20)
    with pytest.raises(SlideError, match="damaged at 70, 30"):
        whole(job_of(picture({(70, 30)}), grid), tmp_path)


def test_a_damaged_tile_costs_what_it_alone_covers(tmp_path: Path) -> None:
    holes = {(70, 30), (149, 89)}
    slide = TolerantSlide(picture(holes), tmp_path / "unread.jsonl")
    grid = TileGrid(slide.size, 32, 20)
    found = whole(job_of(slide, grid), tmp_path / "work")
    hit = {
        tile.number
        for tile in grid
        if any(
            tile.box.y <= row < tile.box.y + 32 and tile.box.x <= column < tile.box.x + 32
            for row, column in holes
        )
    }
    assert set(slide.unread) == hit
    unknown = naive_unknown(grid, np.ones(grid.shape, bool), hit)
    assert unknown.any()
    expected = 255 - picture(set()).pixels[..., 0]
    np.testing.assert_array_equal(found, np.where(unknown, 0, expected))


class KilledError(Exception):
    pass


class Dying(Darkness):
    """Ends the run at a forward pass."""

    def predict(self, tiles: np.ndarray, precision: str = "auto") -> np.ndarray:
        if self.seen >= 14:
            raise KilledError
        return super().predict(tiles, precision)


def test_a_resumed_run_keeps_the_list_even_if_the_tile_can_be_read_by_then(tmp_path: Path) -> None:
    grid = TileGrid(Size(90, 150), 32, 20)
    damaged = picture({(10, 10)})
    undisturbed = TolerantSlide(damaged, tmp_path / "other.jsonl")
    expected = whole(job_of(undisturbed, grid), tmp_path / "undisturbed")

    notes = tmp_path / "unread.jsonl"
    with pytest.raises(KilledError):
        whole(job_of(TolerantSlide(damaged, notes), grid, Dying()), tmp_path / "cut")
    with notes.open("ab") as file:
        file.write(b'{"tile": 3, "wh')  # torn by a power cut
    mended = TolerantSlide(picture(set()), notes)
    assert set(mended.unread) == set(undisturbed.unread) == {0}
    assert mended.unless_unread(grid[0], lambda: 1) is None  # its overlaps must not change either
    assert mended.unless_unread(grid[1], lambda: 1) == 1
    found = whole(job_of(mended, grid), tmp_path / "cut")
    np.testing.assert_array_equal(found, expected)
    assert [json.loads(line) for line in notes.read_text().splitlines()] == [
        {"tile": 0, "why": "damaged at 10, 10"}
    ]
    assert read_notes(notes) == mended.unread


def test_a_network_that_votes_leaves_out_the_same_tiles(tmp_path: Path) -> None:
    spec = ModelSpec.model_validate({"architecture": "tile", "filters": (4, 6), "head": "dense"})
    told = info(tile=16, overlap=0.5).model_copy(update={"model": spec})
    segmenter = Segmenter(spec, 1, None, 16).eval()
    bundle = Bundle(told, segmenter, "digest", torch.device("cpu"))
    grid = TileGrid(Size(90, 60), 16, 8)
    blend = Blend(precision="fp32")
    tiles = TileSet(grid, np.ones(grid.shape, bool))
    pixels = picture(set()).pixels[:60]

    def votes(slide: Slide, folder: str) -> np.ndarray:
        return votes_of(Job(slide, tiles, bundle, blend), tmp_path / folder, Stages())

    expected = votes(ArraySlide("whole", pixels), "whole")
    slide = TolerantSlide(Damaged("damaged", pixels, holes={(20, 30)}), tmp_path / "notes.jsonl")
    found = votes(slide, "damaged")
    lost = np.zeros(grid.shape, bool)
    lost.flat[list(slide.unread)] = True
    assert {(tile.row, tile.column) for tile in grid if lost[tile.row, tile.column]} == {
        (1, 2), (1, 3), (2, 2), (2, 3),
    }  # fmt: skip
    np.testing.assert_allclose(found[~lost], expected[~lost], atol=1e-5)
    assert (found[lost] == [1, 0]).all()
