"""The tile classifier: sizes, counts and probabilities worked out by hand."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from slidemask.base.errors import SettingsError
from slidemask.models.tilecnn import TileNet, TileNetSpec


def by_hand(tile: int, side: int, outputs: int) -> int:
    """Count as Keras's summary does, without what is not trained."""
    stages = 0
    for inputs, filters in [(3, 32), (32, 64), (64, 96), (96, 96), (96, 64)]:
        stages += (9 * inputs + 1) * filters + 2 * filters
    half = tile // 2
    dense = (64 * side * side + 1) * tile + (tile + 1) * half + (half + 1) * outputs
    return stages + dense


@pytest.mark.parametrize(
    ("tile", "side", "changes", "outputs"),
    [
        (400, 10, {}, 1),
        (200, 4, {}, 1),
        (400, 10, {"classes": 2, "activation": "softmax"}, 3),
        (94, 1, {}, 1),
    ],
)
def test_parameters_are_those_of_the_published_network(
    tile: int, side: int, changes: dict[str, object], outputs: int
) -> None:
    net = TileNet(TileNetSpec.model_validate({"tile_px": tile, **changes}))
    assert net.parameters_count == by_hand(tile, side, outputs)
    assert net.spec.sides[-1] == side


def test_pool_head_is_small_at_any_tile_size() -> None:
    counts = {TileNet(TileNetSpec(tile_px=px, head="pool")).parameters_count for px in (94, 650)}
    assert len(counts) == 1
    assert counts.pop() < 500_000


def test_smallest_tile_and_one_pixel_less() -> None:
    spec = TileNetSpec(tile_px=94, head="pool")
    assert TileNet(spec).eval()(torch.zeros(1, 94, 94, 3, dtype=torch.uint8)).shape == (1, 1)
    with pytest.raises(SettingsError, match="94 or more"):
        TileNet(spec.model_copy(update={"tile_px": 93}))


def test_tiles_of_another_size_are_refused() -> None:
    net = TileNet(TileNetSpec(tile_px=100, head="pool"))
    with pytest.raises(SettingsError, match="100 x 100"):
        net(torch.zeros(1, 101, 100, 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": 2},
        {"filters": (4, 0)},
        {"dropouts": (0.2, 0.2, 1.0)},
        {"std": (0, 1, 1)},
        {"heads": "pool"},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TileNetSpec.model_validate(wrong)


def test_probabilities_of_known_logits() -> None:
    binary = TileNet(TileNetSpec(tile_px=94, head="pool"))
    np.testing.assert_allclose(
        binary.probabilities(torch.tensor([[np.log(3.0)], [-100.0]])), [[0.25, 0.75], [1, 0]]
    )
    spec = TileNetSpec(tile_px=94, head="pool", classes=2, activation="softmax")
    logits = torch.tensor([[0.0, np.log(2.0), np.log(5.0)]], dtype=torch.float16)
    found = TileNet(spec).probabilities(logits)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, [[1 / 8, 2 / 8, 5 / 8]], atol=1e-3)


def test_normalisation_is_inside() -> None:
    """A tile whose pixels are shifted and scaled as the spec says gives the same logits."""
    torch.manual_seed(0)
    plain = TileNetSpec(tile_px=94, head="pool", mean=(0, 0, 0), std=(1, 1, 1))
    moved = plain.model_copy(update={"mean": (20 / 255, 40 / 255, 0), "std": (2, 2, 2)})
    a, b = TileNet(plain).eval(), TileNet(moved).eval()
    b.load_state_dict(a.state_dict() | {"mean": b.mean, "std": b.std})
    tile = torch.randint(0, 100, (1, 94, 94, 3), dtype=torch.uint8)
    other = 2 * tile + torch.tensor([20, 40, 0], dtype=torch.uint8)
    with torch.inference_mode():
        np.testing.assert_allclose(a(tile), b(other), rtol=1e-4)


def test_it_learns_to_tell_bright_from_dark() -> None:
    torch.manual_seed(0)
    net = TileNet(TileNetSpec(tile_px=22, filters=(4, 6, 6)))
    tiles = torch.randint(0, 100, (8, 22, 22, 3), dtype=torch.uint8)
    tiles[::2] += 120
    truth = torch.tensor([1.0, 0.0] * 4)[:, None]
    parameters = list(net.parameters())
    for _ in range(40):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(tiles), truth)
        with torch.no_grad():  # plain descent: torch.optim takes seconds to import
            for value, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                value.sub_(0.1 * slope)
    assert (net(tiles).sigmoid().round() == truth).all()
