"""Weights and views."""

import numpy as np
import pytest

from fakes import Corner, Darkness
from slidemask.infer.augmentation import predict_views
from slidemask.infer.blend import Blend, Ring, weights


@pytest.mark.parametrize("window", ["ramp", "flat"])
@pytest.mark.parametrize(("tile", "stride"), [(8, 8), (8, 5), (8, 1), (9, 4)])
def test_weights_are_symmetric_positive_and_full_in_the_core(
    window: str, tile: int, stride: int
) -> None:
    weight = weights(tile, stride, window)
    assert weight.min() > 0
    np.testing.assert_array_equal(weight, weight[::-1, ::-1])
    np.testing.assert_array_equal(weight, weight.T)
    if window == "ramp" and 2 * (tile - stride) < tile:
        assert weight[tile // 2, tile // 2] == 1


@pytest.mark.parametrize(
    ("tile", "stride", "width", "last"), [(4, 2, 8, 3), (5, 2, 40, 5), (4, 4, 9, 2), (6, 1, 31, 6)]
)
def test_ring_is_the_weighted_mean_of_all_tiles(
    tile: int, stride: int, width: int, last: int
) -> None:
    """As sums over the whole canvas, in rows with gaps and rows without a tile."""
    rng, rows, weight = np.random.default_rng(0), 5, weights(tile, stride, "ramp")
    ring = Ring(classes=2, tile=tile, stride=stride, width=width)
    total = np.zeros((2, rows * stride + tile, width + tile), np.float32)
    share, bands = np.zeros(total.shape[1:], np.float32), list[np.ndarray]()
    for row in range(rows):
        y = row * stride
        for x in range(0, width, stride):
            if row == 3 or rng.random() < 0.4:
                continue
            probs = rng.random((2, tile, tile), np.float32)
            ring.add(probs, x, weight)
            total[:, y : y + tile, x : x + tile] += probs * weight
            share[y : y + tile, x : x + tile] += weight
        bands.append(ring.flush(stride if row < rows - 1 else last))
    mean = np.divide(total, share, out=np.zeros_like(total), where=share > 0)
    expected = np.rint(255 * mean)[:, : (rows - 1) * stride + last, :width]
    np.testing.assert_array_equal(np.concatenate(bands, axis=1), expected)


def test_ring_of_a_wide_canvas_holds_only_what_tiles_may_reach() -> None:
    ring, weight = Ring(classes=1, tile=4, stride=3, width=1001), weights(4, 3, "ramp")
    one = np.ones((1, 4, 4), np.float32)
    for x in (0, 3, 300, 402, 405, 999):
        ring.add(one, x, weight)
    assert set(ring._open) == {249, 250}  # what lies left of the last tile is finished
    below = (block.sum.shape for block in ring._below.values())
    assert set(below) == {(1, 1, 4)}  # only the overlap of what is finished
    np.testing.assert_array_equal(np.flatnonzero(ring.flush(3)[0, 0])[[0, 7, -1]], [0, 300, 1000])
    assert ring.flush(3)[0].any(axis=1).tolist() == [True, False, False]
    assert not ring.flush(3).any()
    assert not ring._open
    assert not ring._above


def test_ring_wants_tiles_from_the_left_to_the_right() -> None:
    ring, weight = Ring(classes=1, tile=4, stride=3, width=40), weights(4, 3, "ramp")
    ring.add(np.ones((1, 4, 4), np.float32), 9, weight)
    with pytest.raises(ValueError, match="from the left to the right, not 9 before 6"):
        ring.add(np.ones((1, 4, 4), np.float32), 6, weight)


def test_views_of_a_network_without_context_change_nothing() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    plain = predict_views(Darkness(), tiles, Blend())  # type: ignore[arg-type]
    for views in ("flips", "all"):
        found = predict_views(Darkness(), tiles, Blend(augmentation=views))  # type: ignore[arg-type]
        np.testing.assert_allclose(found, plain, atol=1e-6)


@pytest.mark.parametrize("views", ["flips", "all"])
def test_views_turn_what_the_network_says_back(views: str) -> None:
    """Each view marks another quarter of the tile, so the mean marks all four alike."""
    found = predict_views(Corner(), np.zeros((1, 8, 8, 3), np.uint8), Blend(augmentation=views))  # type: ignore[arg-type]
    np.testing.assert_allclose(found[0, 1], np.full((8, 8), 0.25), atol=1e-6)
