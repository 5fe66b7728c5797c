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


def test_ring_is_a_weighted_mean_and_moves_up() -> None:
    rng = np.random.default_rng(0)
    ring = Ring(classes=2, tile=4, width=6)
    tiles = rng.random((3, 2, 4, 4), np.float32)
    weight = weights(4, 2, "ramp")
    for x, tile in zip((0, 2, 4), tiles, strict=True):  # the last reaches over the edge
        ring.add(tile, x, weight)
    total, share = np.zeros((2, 4, 8)), np.zeros((4, 8))
    for x, tile in zip((0, 2, 4), tiles, strict=True):
        total[:, :, x : x + 4] += tile * weight
        share[:, x : x + 4] += weight
    expected = np.rint(255 * total / share)[:, :, :6]
    np.testing.assert_array_equal(ring.flush(3), expected[:, :3])
    np.testing.assert_array_equal(ring.flush(1), expected[:, 3:])
    assert not ring.flush(4).any()


def test_ring_of_a_wide_canvas_holds_only_what_tiles_cover() -> None:
    """Far apart, at the edges of blocks and beyond the canvas: as sums over all of it."""
    rng = np.random.default_rng(1)
    ring, weight = Ring(classes=1, tile=4, width=1001), weights(4, 3, "ramp")
    total, share = np.zeros((1, 4, 1004), np.float32), np.zeros((4, 1004), np.float32)
    for x in (0, 3, 300, 402, 405, 999):
        tile = rng.random((1, 4, 4), np.float32)
        ring.add(tile, x, weight)
        total[:, :, x : x + 4] += tile * weight
        share[:, x : x + 4] += weight
    mean = np.divide(total, share, out=np.zeros_like(total), where=share > 0)
    expected = np.rint(255 * mean)[:, :, :1001]
    assert len(ring._blocks) == 8  # 0, 1; 75; 100 to 102; 249, 250
    np.testing.assert_array_equal(ring.flush(3), expected[:, :3])
    np.testing.assert_array_equal(ring.flush(1), expected[:, 3:])
    assert not ring._blocks


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
