"""The graph says what the bundle says, whatever its layout."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from exportkinds import KINDS
from slidemask.models.bundle import Bundle
from slidemask.models.graph import Graph


def tiles_of(bundle: Bundle, count: int = 2) -> np.ndarray:
    side, channels = bundle.info.tiling.tile_px, bundle.segmenter.channels
    rng = np.random.default_rng(2)
    return rng.integers(0, 256, (count, side, side, channels), np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_graph_is_the_bundles_prediction_in_any_layout(
    kind: str, make_bundle: Callable[[str], Bundle]
) -> None:
    bundle = make_bundle(kind)
    tiles = tiles_of(bundle)
    wanted = bundle.predict(tiles, "fp32")
    pixels = torch.from_numpy(tiles)
    plain = Graph(bundle.segmenter)(pixels).numpy()
    assert np.allclose(plain.reshape(wanted.shape), wanted, atol=1e-5)
    turned = Graph(bundle.segmenter, channels_first=True, classes_last=True)
    answer = turned(pixels.permute(0, 3, 1, 2).float()).numpy()
    if not bundle.segmenter.votes:
        answer = answer.transpose(0, 3, 1, 2)
    assert np.allclose(answer.reshape(wanted.shape), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_near_and_leaves_the_bundle_alone(
    kind: str, make_bundle: Callable[[str], Bundle]
) -> None:
    bundle = make_bundle(kind)
    tiles = tiles_of(bundle)
    before = bundle.predict(tiles, "fp32")
    graph = Graph(bundle.segmenter, half=True)
    answer = graph(torch.from_numpy(tiles))
    assert answer.dtype == torch.float32
    assert np.abs(answer.numpy().reshape(before.shape) - before).max() < 0.05
    halves = [one for one in graph.parameters() if one.dtype == torch.float16]
    assert len(halves) == len(list(graph.parameters()))
    assert np.array_equal(bundle.predict(tiles, "fp32"), before)
