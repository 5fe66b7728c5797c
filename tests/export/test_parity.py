"""Differences are found, and refused."""

import numpy as np
import pytest

from slidemask.base.errors import OutputError
from slidemask.export.parity import compare, one_by_one

TILES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)


def red(tiles: np.ndarray) -> np.ndarray:
    dark = 1 - tiles[..., 0].astype(np.float32) / 255
    return np.stack([1 - dark, dark], axis=1)


def off_by(amount: float) -> object:
    def predict(tiles: np.ndarray) -> np.ndarray:
        shift = np.float32(amount) * np.array([-1, 1], np.float32)[:, None, None]
        return red(tiles) + shift

    return predict


def test_equal_networks_are_equal() -> None:
    parity = compare(red, red, [TILES])
    assert (parity.tiles, parity.largest, parity.mean, parity.agreement) == (3, 0, 0, 1)
    assert (parity.differing, parity.decided) == (0, 3 * 64)
    parity.require("fp32", "ONNX")


def test_figures_are_those_of_a_naive_count() -> None:
    parity = compare(off_by(0.1), red, [TILES[:1], TILES[1:]])  # type: ignore[arg-type]  # a function all the same
    differ = 0
    for tile in TILES:
        for value in tile[..., 0].ravel():
            dark = 1 - value / 255
            ours, theirs = dark + 0.1 > 1 - dark - 0.1, dark > 1 - dark
            differ += ours != theirs
    assert parity.differing == differ > 0
    assert parity.largest == pytest.approx(0.1, abs=1e-6)
    assert parity.mean == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("amount", [0.01, float("nan")])
def test_what_differs_is_refused(amount: float) -> None:
    parity = compare(off_by(amount), red, [TILES])  # type: ignore[arg-type]  # a function all the same
    with pytest.raises(OutputError, match=r"ONNX in fp32 says something else .* largest diff"):
        parity.require("fp32", "ONNX")


def test_one_pixel_may_differ_but_not_two_percent() -> None:
    def some(count: int) -> object:
        def predict(tiles: np.ndarray) -> np.ndarray:
            near = np.full((len(tiles), 2, *tiles.shape[1:3]), 0.5, np.float32)
            near[:, 1] -= 1e-4
            near[0, 1].flat[:count] += 2e-4
            return near

        return predict

    for count, passes in ((1, True), (6, False)):
        parity = compare(some(count), some(0), [TILES])  # type: ignore[arg-type]  # functions all the same
        if passes:
            parity.require("fp32", "ONNX")
        else:
            with pytest.raises(OutputError, match="same class"):
                parity.require("fp32", "ONNX")


def test_another_shape_is_an_error() -> None:
    with pytest.raises(OutputError, match="answers tiles"):
        compare(lambda tiles: red(tiles)[:, :, :4], red, [TILES])


def test_one_by_one_is_all_at_once() -> None:
    assert np.array_equal(one_by_one(red)(TILES), red(TILES))
