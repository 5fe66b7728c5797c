"""Maps from votes against each pixel's tiles, looked up one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.geometry.box import Size
from slidemask.infer import votes as votes_module
from slidemask.infer.blend import as_votes
from slidemask.infer.votes import Votes, leading, map_bands, positive_tiles, tally
from slidemask.tiles.grid import TileGrid

COMBINE = ("mean", "max", "median", "union")


def votes_of(grid: TileGrid, classes: int, seed: int) -> np.ndarray:
    """Return votes of which some are dropped tiles' and some tie at one half."""
    rng = np.random.default_rng(seed)
    votes = rng.dirichlet(np.ones(classes + 1), grid.shape).astype(np.float32)
    votes[rng.random(grid.shape) < 0.3] = np.eye(classes + 1)[0]
    votes[rng.random(grid.shape) < 0.1] = 0.5 * (np.eye(classes + 1)[0] + np.eye(classes + 1)[-1])
    return votes


def naive(votes: np.ndarray, grid: TileGrid, how: Votes, dominant: int = 0) -> np.ndarray:
    """Return (K, H, W) probabilities, pixel by pixel."""
    classes = votes.shape[2] - 1
    positive = np.where(
        votes[..., 1:].sum(axis=2) > how.threshold - 1e-6, votes[..., 1:].argmax(axis=2) + 1, 0
    )
    counts = [int((positive == index).sum()) for index in range(1, classes + 1)]
    keeps = set(range(1, classes + 1))
    if how.dominant and max(counts):
        keeps = {dominant or 1 + counts.index(max(counts))}
    result = np.zeros((classes, grid.canvas.height, grid.canvas.width))
    for y, x in np.ndindex(result.shape[1:]):
        over = [
            (i, j) for i, j in np.ndindex(grid.shape)
            if i * grid.stride <= y < i * grid.stride + grid.tile
            and j * grid.stride <= x < j * grid.stride + grid.tile
        ]  # fmt: skip
        said = np.zeros((len(over), classes))
        for number, place in enumerate(over):
            for index in keeps:
                union = how.combine == "union"
                said[number, index - 1] = positive[place] == index if union else votes[place][index]
        share = said.mean(axis=0)
        if how.combine != "mean" and share.sum():
            figure = np.median if how.combine == "median" else np.max
            share = share * figure(said.sum(axis=1)) / share.sum()
        result[:, y, x] = share
    return result


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    tile = draw(st.integers(1, 9))
    stride = draw(st.integers(max(1, tile // 4), tile))
    size = Size(draw(st.integers(1, 24)), draw(st.integers(1, 24)))
    return TileGrid(size, tile, stride)


@given(grids(), st.sampled_from(COMBINE), st.booleans(), st.integers(1, 3), st.integers(0, 9))
@settings(deadline=None, max_examples=150)
def test_a_map_is_what_the_tiles_over_each_pixel_say(
    grid: TileGrid, combine: str, dominant: bool, classes: int, seed: int
) -> None:
    votes = votes_of(grid, classes, seed)
    how = Votes.model_validate({"combine": combine, "dominant": dominant})
    expected = 255 * naive(votes, grid, how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(votes_module, "BAND_ROWS", 1 + seed)
        patch.setattr(votes_module, "_MOST_NUMBERS", 50)
        bands = list(map_bands(votes, grid, how))
        assert all(band.shape[1] <= 1 + seed for band in bands)
        rest = list(map_bands(votes, grid, how, first_row=1 + seed))
    found = np.concatenate(bands, axis=1)
    np.testing.assert_allclose(found, expected, atol=0.5 + 1e-3)
    assert rest == [] or np.array_equal(np.concatenate(rest, axis=1), found[:, 1 + seed :])


def test_medians_of_more_votes_than_are_sorted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = TileGrid(Size(13, 11), tile=9, stride=1)
    votes, how = votes_of(grid, 1, 0), Votes(combine="median")
    expected = np.concatenate(list(map_bands(votes, grid, how)), axis=1)
    monkeypatch.setattr(votes_module, "_MOST_NUMBERS", 2)
    found = np.concatenate(list(map_bands(votes, grid, how)), axis=1)
    np.testing.assert_array_equal(found, expected)


def test_union_is_full_where_a_positive_tile_lies_and_empty_elsewhere() -> None:
    grid = TileGrid(Size(12, 4), tile=4, stride=2)
    votes = np.zeros((*grid.shape, 2), np.float32)
    votes[..., 1] = [[0.1, 0.5, 0.2, 0.4, 0.49]]
    votes[..., 0] = 1 - votes[..., 1]
    (band,) = map_bands(votes, grid, Votes(combine="union"))
    assert band[0, 0].tolist() == [0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0]
    (band,) = map_bands(votes, grid, Votes(combine="max"))
    assert (band[0, 0] >= 128).tolist() == [False] * 2 + [True] * 4 + [False] * 6


def test_the_dominant_class_alone_keeps_its_votes() -> None:
    grid = TileGrid(Size(3, 1), tile=1, stride=1)
    votes = np.array([[[0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.0, 0.1, 0.9]]], np.float32)
    assert tally(votes, 0.5) == (2, 1)
    assert leading(tally(votes, 0.5)) == 1
    (band,) = map_bands(votes, grid, Votes(combine="union", dominant=True))
    assert band[:, 0].tolist() == [[255, 255, 0], [0, 0, 0]]
    (band,) = map_bands(votes, grid, Votes(combine="union", dominant=True), dominant=2)
    assert band[:, 0].tolist() == [[0, 0, 0], [0, 0, 255]]
    (band,) = map_bands(votes, grid, Votes(combine="union"))
    assert band[:, 0].tolist() == [[255, 255, 0], [0, 0, 255]]


def test_a_tile_is_positive_by_all_its_foreground_and_counts_for_its_first_class() -> None:
    votes = np.array([[[0.5, 0.25, 0.25], [0.45, 0.15, 0.4], [0.6, 0.4, 0.0]]], np.float32)
    assert positive_tiles(votes, 0.5).tolist() == [[1, 2, 0]]
    assert tally(votes, 0.4) == (2, 1)
    assert leading((0, 0)) == 0


@given(st.integers(1, 3), st.floats(0.05, 1), st.integers(0, 30))
@settings(deadline=None, max_examples=60)
def test_pixels_vote_as_a_tile(classes: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(classes + 1, 0.4), (4, 5, 6)).astype(np.float32)
    found = as_votes(np.moveaxis(probs, -1, 1), share)
    assert found.shape == (4, classes + 1, 5, 6)
    for tile, votes in zip(probs, found, strict=True):
        best = [
            1 + int(pixel[1:].argmax()) if pixel[1:].sum() >= 0.5 else 0
            for pixel in tile.reshape(-1, classes + 1)
        ]
        counts = [best.count(index) for index in range(1, classes + 1)]
        said = 1 + counts.index(max(counts)) if sum(counts) >= share * 30 - 1e-6 else 0
        np.testing.assert_array_equal(votes, np.eye(classes + 1)[said][:, None, None] + 0 * votes)
