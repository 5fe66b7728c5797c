"""Which tiles an epoch is made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.types import IGNORE
from slidemask.data import sampling as module
from slidemask.data.sampling import (
    Sampling,
    TileTable,
    draw,
    epoch_length,
    join,
    known_shares,
    moved,
    tabulate,
)
from slidemask.data.truth import LabelImageTruth
from slidemask.geometry.box import Size
from slidemask.tiles.grid import TileGrid


def table(positive: list[float], unknown: float = 0.0) -> TileTable:
    count = len(positive)
    place = np.arange(count, dtype=np.float64)
    return TileTable(
        np.zeros(count, np.int32),
        place,
        place,
        np.array(positive, np.float32),
        np.full(count, unknown, np.float32),
        (np.array(positive) > 0).astype(np.uint8),
        np.full(count, 24, np.int32),
        np.full(count, np.nan),
    )


def labels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blocks of 4 px of background, two classes and unknown."""
    rng = np.random.default_rng(seed)
    blocks = rng.choice(np.array([0, 1, 2, IGNORE], np.uint8), (height // 4 + 1, width // 4 + 1))
    return np.kron(blocks, np.ones((4, 4), np.uint8))[:height, :width]


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(st.integers(5, 90), st.integers(5, 90)),
    tile=st.integers(8, 40),
    overlap=st.floats(0, 0.9),
    band=st.sampled_from([1, 1 << 24]),
)
def test_shares_equal_counting_in_each_tile(
    size: tuple[int, int], tile: int, overlap: float, band: int
) -> None:
    width, height = size
    pixels = labels(height, width)
    grid = TileGrid(Size(width, height), tile, max(1, int(tile * (1 - overlap))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BAND_SAMPLES", band)
        positive, unknown = known_shares(grid, LabelImageTruth(pixels))
    assert positive.shape == grid.shape
    for cell in grid:
        inside = pixels[cell.box.slices]
        known = inside[inside != IGNORE]
        share = np.mean(known > 0) if known.size else 0
        assert positive[cell.row, cell.column] == pytest.approx(share, abs=1e-6)
        assert unknown[cell.row, cell.column] == pytest.approx((inside == IGNORE).mean(), abs=1e-6)


@pytest.mark.parametrize("downsample", [0.7, 1.3, 2.0])
def test_shares_of_large_tiles_are_near_the_exact_ones(downsample: float) -> None:
    pixels = np.kron(labels(10, 12), np.ones((40, 40), np.uint8))
    grid = TileGrid(Size(480, 400), 130, 100, downsample)
    positive, _ = known_shares(grid, LabelImageTruth(pixels))
    for cell in grid:
        inside = pixels[cell.box.slices]
        known = inside[inside != IGNORE]
        exact = (known > 0).sum() / max(1, known.size)
        assert positive[cell.row, cell.column] * known.size == pytest.approx(
            exact * known.size, abs=0.03 * inside.size
        )


def test_table_lists_all_tiles_and_of_which_enough_is_known() -> None:
    pixels = np.zeros((20, 30), np.uint8)
    pixels[:10, :10] = IGNORE
    pixels[10:, :4] = IGNORE
    pixels[:10, 20:] = 1
    grid = TileGrid(Size(30, 20), 10, 10, 1.0)
    whole = tabulate(7, grid, LabelImageTruth(pixels), Sampling())
    assert len(whole) == 6
    found = whole.where(whole.is_known(Sampling(max_unknown_share=0.4)))
    assert found.case.tolist() == [7] * 5
    assert list(zip(found.x.tolist(), found.y.tolist(), strict=True)) == [
        (10, 0), (20, 0), (0, 10), (10, 10), (20, 10)
    ]  # fmt: skip
    assert found.positive.tolist() == [0, 1, 0, 0, 0]
    assert found.label.tolist() == [0, 1, 0, 0, 0]
    assert found.stride.tolist() == [10] * 5
    assert np.isnan(found.entropy).all()
    np.testing.assert_allclose(found.unknown, [0, 0, 0.4, 0, 0])
    assert whole.is_known(Sampling(max_unknown_share=0.3)).sum() == 4
    assert whole.is_known(Sampling(max_unknown_share=1)).sum() == 5, "nothing known, no lesson"
    assert len(join([found, whole])) == 11


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.3, 0.6]),
    overlap=st.floats(0, 0.8),
    band=st.sampled_from([1, 1 << 24]),
)
def test_a_tile_s_label_is_the_class_that_holds_most_of_it(
    seed: int, share: float, overlap: float, band: int
) -> None:
    pixels = labels(60, 70, seed)
    grid = TileGrid(Size(70, 60), 20, max(1, int(20 * (1 - overlap))))
    sampling = Sampling(min_positive_share=share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BAND_SAMPLES", band)
        found = tabulate(0, grid, LabelImageTruth(pixels), sampling, classes=2)
    for cell, label in zip(grid, found.label.tolist(), strict=True):
        inside = pixels[cell.box.slices]
        first, second = (np.count_nonzero(inside == value) for value in (1, 2))
        foreground = (first + second) / max(1, np.count_nonzero(inside != IGNORE))
        if abs(foreground - share) > 1e-6 or share == 0:
            positive = foreground > 0 and foreground >= share
            assert label == (0 if not positive else 1 if first >= second else 2)


@settings(deadline=None, max_examples=100)
@given(
    positives=st.integers(1, 30),
    negatives=st.integers(1, 30),
    ratio=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    wanted=st.none() | st.integers(1, 100),
)
def test_ratio_is_kept(positives: int, negatives: int, ratio: float, wanted: int | None) -> None:
    tiles = table([0.5] * positives + [0.0] * negatives)
    settings_ = Sampling(tiles_per_epoch=wanted, negatives_per_positive=ratio)
    chosen = draw(tiles, settings_, negatives)
    ones = int(np.sum(chosen < positives))
    expected = positives if wanted is None else max(1, round(wanted / (1 + ratio)))
    assert ones == expected
    rest = round(ratio * positives) if wanted is None else wanted - expected
    assert len(chosen) == expected + rest == epoch_length(tiles, settings_)
    for pool in (range(positives), range(positives, positives + negatives)):
        times = np.bincount(chosen, minlength=positives + negatives)[list(pool)]
        assert times.max() - times.min() <= 1


def test_without_a_ratio_every_tile_comes_once_in_a_new_order() -> None:
    tiles = table([0.5, 0, 0, 0, 0.1, 0.9, 0, 0])
    orders = [draw(tiles, Sampling(), epoch).tolist() for epoch in range(4)]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert orders[2] == draw(tiles, Sampling(), 2).tolist()
    assert orders[2] != draw(tiles, Sampling(seed=1), 2).tolist()
    some = draw(tiles, Sampling(tiles_per_epoch=20), 0)
    assert set(np.bincount(some, minlength=8)) == {2, 3}


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_one_kind_alone_is_taken_as_it_comes(share: float) -> None:
    assert len(draw(table([share] * 5), Sampling(negatives_per_positive=3), 0)) == 5


def test_positive_needs_its_share() -> None:
    tiles = table([0, 0.01, 0.49, 0.5, 1])
    assert tiles.is_positive(Sampling()).sum() == 4
    assert tiles.is_positive(Sampling(min_positive_share=0.5)).sum() == 2


@settings(deadline=None, max_examples=100)
@given(
    size=st.tuples(st.integers(3, 300), st.integers(3, 300)),
    downsample=st.sampled_from([0.5, 1.0, 1.3, 4.0]),
    jitter=st.floats(0, 2),
    seed=st.integers(0, 100),
)
def test_moved_tiles_stay_on_the_slide(
    size: tuple[int, int], downsample: float, jitter: float, seed: int
) -> None:
    grid = TileGrid(Size(*size), 32, 24, downsample)
    side = 32 * downsample
    for cell in list(grid)[-3:]:
        rng = np.random.default_rng(seed)
        box = moved((cell.box.x, cell.box.y), grid, jitter, rng)
        for start, length, width in (
            (box.x, size[0], box.width),
            (box.y, size[1], box.height),
        ):
            assert width == side
            low, high = sorted((0.0, length - side))
            assert low <= start <= high


def test_jitter_reaches_half_a_stride_to_either_side_in_whole_pixels() -> None:
    grid = TileGrid(Size(10_000, 10_000), 100, 80, 2.5)
    rng = np.random.default_rng(0)
    steps = np.array([moved((5000, 5000), grid, 0.5, rng)[:2] for _ in range(3000)]) - 5000
    pixels = steps / 2.5
    np.testing.assert_array_equal(pixels, np.round(pixels))
    assert pixels.min() == -20
    assert pixels.max() == 20
    assert abs(pixels.mean()) < 1
    assert moved((5000, 4000), grid, 0, rng)[:2] == (5000, 4000)
