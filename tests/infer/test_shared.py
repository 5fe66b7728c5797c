"""Shared computation against the network itself, tile by tile."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.errors import SettingsError
from slidemask.infer import shared
from slidemask.infer.shared import how, vote_map
from slidemask.io.array import ArraySlide
from slidemask.models.tilecnn import TileNet, TileNetSpec
from slidemask.tiles.canvas import Canvas, canvas_of
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.reading import read_tile


def network(tile: int, **changes: Any) -> TileNet:
    """Return a network whose batch statistics, dense layers and outputs all matter."""
    torch.manual_seed(0)
    net = TileNet(TileNetSpec.model_validate({"tile_px": tile, **changes}))
    norms = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            norm.weight.uniform_(-1.5, 1.5)
            norm.bias.uniform_(-1, 1)
        net(torch.from_numpy(np.stack([pixels(tile, tile, seed) for seed in range(4)])))
        for layer in net.head:
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(4 if net.spec.head == "pool" else 2)
    return net.eval()


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return blurred noise, so that tiles differ on all scales."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 23 + 1, width // 23 + 1, 3))
    smooth = np.kron(coarse, np.ones((23, 23, 1)))[:height, :width]
    return np.clip(smooth + rng.normal(0, 30, smooth.shape), 0, 255).astype(np.uint8)


@torch.inference_mode()
def tile_by_tile(net: TileNet, canvas: Canvas) -> np.ndarray:
    grid = canvas.grid
    tiles = [torch.from_numpy(read_tile(canvas.slide, t.box, grid.downsample)) for t in grid]
    batches = torch.stack(tiles).split(8)
    votes = torch.cat([net.probabilities(net(batch)) for batch in batches]).numpy()
    return votes.reshape(*grid.shape, -1)


SMALL: dict[str, Any] = {"filters": (4, 6, 8, 8, 6)}


@pytest.mark.parametrize("head", ["dense", "pool"])
@pytest.mark.parametrize(
    ("tile", "stride", "height", "width"),
    [
        (200, 80, 411, 733),
        (200, 32, 333, 301),
        (200, 48, 391, 345),
        (200, 17, 255, 262),
        (101, 25, 207, 190),
        (94, 94, 290, 200),
        (128, 64, 90, 300),
    ],
)
def test_votes_are_those_of_tile_by_tile(
    head: str, tile: int, stride: int, height: int, width: int
) -> None:
    net = network(tile, head=head, classes=2, activation="softmax", **SMALL)
    canvas = canvas_of(pixels(height, width), tile, stride)
    truth = tile_by_tile(net, canvas)
    assert truth.std(axis=(0, 1)).max() > 1e-3, "tiles must differ, or nothing is tested"
    np.testing.assert_allclose(vote_map(net, canvas), truth, atol=1e-5)


def test_published_widths_and_a_sigmoid() -> None:
    net = network(128)
    canvas = canvas_of(pixels(250, 301), 128, 24)
    votes = vote_map(net, canvas)
    assert votes.dtype == np.float32
    np.testing.assert_allclose(votes, tile_by_tile(net, canvas), atol=1e-5)
    np.testing.assert_allclose(votes.sum(axis=-1), 1, atol=1e-6)


@given(
    tile=st.integers(22, 60),
    height=st.integers(5, 120),
    width=st.integers(5, 120),
    kernel=st.sampled_from([1, 3, 4]),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_any_stride_size_and_kernel(
    tile: int, height: int, width: int, kernel: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(max(1, tile // 6), tile))
    filters = data.draw(st.sampled_from([(3,), (3, 4), (4, 3, 5)]))
    depth = TileNetSpec(filters=filters, kernel=kernel).smallest_tile_px
    net = network(max(tile, depth), filters=filters, kernel=kernel)
    canvas = canvas_of(pixels(height, width), net.spec.tile_px, min(stride, net.spec.tile_px))
    np.testing.assert_allclose(vote_map(net, canvas), tile_by_tile(net, canvas), atol=1e-5)


@pytest.mark.parametrize("stages", range(6))
def test_any_number_of_shared_stages_says_the_same(
    monkeypatch: pytest.MonkeyPatch, stages: int
) -> None:
    net = network(120, **SMALL)
    canvas = canvas_of(pixels(201, 190), 120, 36)
    plan = how(net.spec, 36)
    full = (1, 2, 4, 4, 4, 4)
    forced = shared.Plan(stages, full[: stages + 1], plan.products, plan.tilewise, plan.stride)
    monkeypatch.setattr(shared, "how", lambda *_: forced)
    np.testing.assert_allclose(vote_map(net, canvas), tile_by_tile(net, canvas), atol=1e-5)


def test_narrow_strips_and_small_batches_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(100, **SMALL)
    canvas = canvas_of(pixels(160, 420), 100, 20)
    whole = vote_map(net, canvas)
    monkeypatch.setattr(shared, "MOST_NUMBERS", 40_000)
    monkeypatch.setattr(shared, "BATCH_NUMBERS", 200)
    assert shared._Run(net, how(net.spec, 20), "fp32").most_columns < canvas.grid.shape[1] // 2
    np.testing.assert_allclose(vote_map(net, canvas), whole, atol=1e-6)


def test_only_kept_tiles_are_read_and_classified() -> None:
    net = network(100, **SMALL)
    canvas = canvas_of(pixels(700, 700), 100, 25)
    kept = np.zeros(canvas.grid.shape, bool)
    kept[1, 2] = kept[2, 2] = kept[20, 18] = kept[20, 20] = True
    windows: list[tuple[slice, slice]] = []

    class Watched(Canvas):
        def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
            windows.append(window)
            return super().__getitem__(window)

    votes = vote_map(net, Watched(canvas.slide, canvas.grid), kept=kept)
    np.testing.assert_allclose(votes[kept], vote_map(net, canvas)[kept], atol=1e-6)
    assert (votes[~kept] == [1, 0]).all()
    read = sum((r.stop - r.start) * (c.stop - c.start) for r, c in windows)
    assert read == 125 * 100 + 100 * 150


def test_no_tile_is_kept() -> None:
    net = network(100, **SMALL)
    canvas = canvas_of(pixels(200, 200), 100, 50)
    assert (vote_map(net, canvas, kept=np.zeros((3, 3), bool)) == [1, 0]).all()


def test_fractional_downsample_of_a_slide() -> None:
    net = network(100, **SMALL)
    slide = ArraySlide("fine", pixels(433, 517))
    canvas = Canvas(slide, TileGrid(slide.size, 100, 32, downsample=2.0))
    np.testing.assert_allclose(vote_map(net, canvas), tile_by_tile(net, canvas), atol=1e-5)


def test_training_mode_neither_drops_nor_learns() -> None:
    net = network(100, **SMALL)
    canvas = canvas_of(pixels(200, 150), 100, 40)
    expected, state = vote_map(net, canvas), {k: v.clone() for k, v in net.state_dict().items()}
    np.testing.assert_array_equal(vote_map(net.train(), canvas), expected)
    assert net.training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_bfloat16_is_close() -> None:
    net = network(100, **SMALL)
    canvas = canvas_of(pixels(200, 150), 100, 40)
    found = vote_map(net, canvas, precision="bf16")
    np.testing.assert_allclose(found, vote_map(net, canvas), atol=0.1)


def test_what_is_planned() -> None:
    spec = TileNetSpec(tile_px=400)
    assert how(spec, 80).lattice == (1, 2, 4, 8, 16, 16)
    assert 22 < how(spec, 80).saving < 25
    assert how(spec, 400).saving < 1.1
    assert how(spec, 399).mode == "tiles"
    assert "tile by tile" in how(spec, 399).reason
    assert how(TileNetSpec(tile_px=200), 17).mode == "shared"


def test_grid_and_network_must_agree() -> None:
    with pytest.raises(SettingsError, match="tiles of 100 px and the grid has 90 px"):
        vote_map(network(100, **SMALL), canvas_of(pixels(200, 200), 90, 40))
    net, canvas = network(100, **SMALL), canvas_of(pixels(200, 200), 100, 50)
    with pytest.raises(SettingsError, match="`kept`"):
        vote_map(net, canvas, kept=np.ones((2, 2), bool))
