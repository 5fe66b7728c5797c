"""Two magnifications together: the centre is cut where it is, and what is around can be learnt."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from fakes import info
from slidemask.base.errors import BundleError, SettingsError
from slidemask.geometry.box import Box
from slidemask.io.array import ArraySlide
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, save_bundle
from slidemask.models.context import ContextNetwork, cut_centre
from slidemask.models.segmenter import Segmenter
from slidemask.tiles.reading import read_around, read_tile

SMALL = ModelSpec(width=3, depth=2)


class Means(nn.Module):
    """An encoder that only averages: its features are the picture, ever coarser."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.out_channels, self.output_stride = [3] * (depth + 1), 2**depth

    def forward(self, images: Tensor) -> list[Tensor]:
        steps = range(len(self.out_channels))
        return [functional.avg_pool2d(images, 2**step) if step else images for step in steps]


class Deepest(nn.Module):
    """A decoder that hands on what the encoder ends with."""

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[-1]


def averaging(context: float, depth: int) -> ContextNetwork:
    """A network whose output is all that it mixes: the tile's means, then the cut ones."""
    parts = nn.ModuleDict(
        {"encoder": Means(depth), "decoder": Deepest(), "segmentation_head": nn.Identity()}
    )
    parts.encoder, parts.decoder, parts.segmentation_head = parts.values()
    network = ContextNetwork(parts, context)
    network.mix = nn.Sequential(nn.Identity())
    return network


def position_slide(side: int = 250) -> ArraySlide:
    """Red is the column of each pixel, green its row."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(side), np.arange(side)[:, None]
    return ArraySlide("positions", pixels)


def views(slide: ArraySlide, box: Box, downsample: float, context: float) -> Tensor:
    both = [read_tile(slide, box, downsample), read_around(slide, box, downsample, context)]
    return torch.from_numpy(np.stack(both)).float().permute(0, 3, 1, 2)


@pytest.mark.parametrize("context", [1.25, 2.0, 2.5, 3.0, 4.0, 5.7])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_cut_features_are_of_the_same_places_as_the_tile_s(context: float, depth: int) -> None:
    """Where pixels say where they are, the cut surroundings must say what the tile itself says."""
    both = views(position_slide(), Box(117, 109, 32, 32), 1.0, context)
    tile, *around = averaging(context, depth)(both)[0].split(3)
    assert len(around) == sum(context * 2**level >= 2**depth for level in range(1, depth + 1))
    for cut in around:
        torch.testing.assert_close(cut[:2], tile[:2], atol=0.75, rtol=0)  # 8 bits, a pixel a step


@pytest.mark.parametrize("size", [(30, 26), (17, 32), (25, 25)])
def test_padding_does_not_move_the_centre(size: tuple[int, int]) -> None:
    height, width = size
    both = views(position_slide(), Box(117, 109, width, height), 1.0, 2.0)
    padded = functional.pad(both, (0, 32 - width, 0, 32 - height), mode="replicate")
    found = averaging(2.0, 2)(padded, (height / 32, width / 32))[0]
    real = found[:, : height // 4, : width // 4]  # wholly of the tile
    for cut in real[3:].split(3):
        torch.testing.assert_close(cut[:2], real[:2], atol=0.75, rtol=0)


def centroid(feature: Tensor) -> Tensor:
    """Return (row, column) of the centre of mass, in pixels of the tile's features."""
    weight = feature / feature.sum()
    rows, columns = (torch.arange(count) + 0.5 for count in feature.shape)
    return torch.stack([weight.sum(1) @ rows, weight.sum(0) @ columns])


@given(place=st.tuples(st.floats(22, 42), st.floats(22, 42)), context=st.floats(1.5, 4))
@settings(max_examples=20, deadline=None)
def test_a_bright_spot_lands_where_it_is(place: tuple[float, float], context: float) -> None:
    rows, columns = np.mgrid[:264, :264] + 0.5
    spot = np.exp(-((columns - 100 - place[0]) ** 2 + (rows - 100 - place[1]) ** 2) / 50)
    slide = ArraySlide("spot", np.repeat((250 * spot).round().astype(np.uint8)[..., None], 3, 2))
    tile, *around = averaging(context, 1)(views(slide, Box(100, 100, 64, 64), 1.0, context))[
        0
    ].split(3)
    expected = torch.tensor([place[1], place[0]]) / 2
    torch.testing.assert_close(centroid(tile[0]), expected, atol=0.05, rtol=0)
    for cut in around:
        torch.testing.assert_close(centroid(cut[0]), expected, atol=0.15, rtol=0)


@pytest.mark.parametrize("covered", [(1.0, 1.0), (0.8, 0.55)])
@pytest.mark.parametrize("context", [1.3, 2.0, 4.0])
def test_the_cut_is_that_of_torch_s_sampling(context: float, covered: tuple[float, float]) -> None:
    """`grid_sample`, told the same map in its own coordinates, from -1 to 1."""
    features = torch.randn(2, 5, 9, 12)
    scale, (down, across) = 1 / context, covered
    shift = [(1 - scale) * (share - 1) for share in (across, down)]
    theta = torch.tensor([[scale, 0, shift[0]], [0, scale, shift[1]]]).expand(2, 2, 3)
    grid = functional.affine_grid(theta, [2, 5, 7, 6], align_corners=False)
    expected = functional.grid_sample(features, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(cut_centre(features, context, (7, 6), covered), expected)


DEPTHS = {
    "unet": 2, "Unet": 5, "UnetPlusPlus": 5, "Linknet": 5, "FPN": 5, "PSPNet": 3,
    "DeepLabV3Plus": 5, "UPerNet": 5,
}  # fmt: skip


@pytest.mark.parametrize("architecture", DEPTHS)
def test_networks_of_all_kinds_see_both_views(architecture: str) -> None:
    torch.manual_seed(0)
    depth = DEPTHS[architecture]
    spec = ModelSpec(architecture=architecture, encoder="resnet18", depth=depth, width=6)
    segmenter = Segmenter(spec, 1, context=4.0)
    tiles = torch.randint(0, 256, (2, 70, 52, 6), dtype=torch.uint8)
    logits = segmenter(tiles)
    assert logits.shape == (2, 2, 70, 52)
    logits.square().mean().backward()
    silent = [name for name, value in segmenter.named_parameters() if value.grad is None]
    assert not [name for name in silent if "encoder" not in name], "the mixing learns too"
    segmenter.eval()
    for part in (slice(0, 3), slice(3, 6)):
        other = tiles.clone()
        other[..., part] = 255 - other[..., part]
        assert (segmenter(other) - segmenter(tiles)).abs().max() > 1e-6


def test_one_encoder_serves_both_views() -> None:
    spec = ModelSpec(architecture="Unet", encoder="resnet18", depth=5)
    alone, both = (Segmenter(spec, 1, context) for context in (None, 4.0))
    plain = dict(alone.named_parameters())
    extra = {
        name for name, _ in both.named_parameters() if name.replace("network.network", "network")
        not in plain
    }  # fmt: skip
    assert extra == {"network.mix.0.weight", "network.mix.1.weight", "network.mix.1.bias"}
    # Of the surroundings: levels of 8, 16 and 32 pixels, for 32 / 4 = 8; and the tile's deepest.
    assert both.get_parameter("network.mix.0.weight").shape == (512, 512 + 128 + 256 + 512, 1, 1)
    assert both.network.encoder is both.network.get_submodule("network.encoder")


def test_without_context_nothing_is_changed() -> None:
    torch.manual_seed(3)
    segmenter = Segmenter(SMALL, 1)
    assert all(not name.startswith("network.network") for name in segmenter.state_dict())
    torch.manual_seed(3)
    both = Segmenter(SMALL, 1, context=2.0)
    for name, value in segmenter.network.state_dict().items():
        torch.testing.assert_close(both.network.state_dict()[f"network.{name}"], value)


def test_a_bundle_keeps_its_context(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = info()
    known = plain.model_copy(
        update={"tiling": plain.tiling.model_copy(update={"context": 2.5}), "model": SMALL}
    )
    segmenter = Segmenter(SMALL, 1, context=2.5).eval()
    save_bundle(tmp_path / "b", known, segmenter, card="", scores={})
    bundle = Bundle.load(tmp_path / "b", "cpu")
    tiles = np.random.default_rng(0).integers(0, 256, (2, 30, 45, 6), np.uint8)
    with torch.inference_mode():
        expected = segmenter.probabilities(segmenter(torch.from_numpy(tiles))).numpy()
    np.testing.assert_allclose(bundle.predict(tiles, "fp32"), expected, atol=2e-3)
    np.testing.assert_allclose(bundle.predict(tiles, "bf16"), expected, atol=0.03)
    with pytest.raises(SettingsError, match=r"6 channels .*got 3.*tiling\.context"):
        bundle.predict(tiles[..., :3])
    with pytest.raises(SettingsError, match="3 channels"):
        Segmenter(SMALL, 1)(torch.from_numpy(tiles))
    save_bundle(tmp_path / "b", plain.model_copy(update={"model": SMALL}), segmenter,
                card="", scores={})  # fmt: skip
    with pytest.raises(BundleError, match="do not fit"):
        Bundle.load(tmp_path / "b", "cpu")


def test_a_network_without_plain_parts_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"cannot see .*tiling\.context"):
        ContextNetwork(nn.Conv2d(3, 1, 1), 2.0)


def rings(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Views (N, 16, 16, 6) and labels: tiles of noise in a ring, whose colour is their class.

    The ring lies outside the tile; in the surroundings, four times as wide, it is seen.
    """
    rng = np.random.default_rng(seed)
    tiles, labels = [], []
    for _ in range(count):
        field = rng.integers(90, 160, (64, 64, 3)).astype(np.uint8)
        inside = int(rng.integers(2))
        colour = ((220, 40, 40), (40, 40, 220))[inside]
        for rows, columns in ((slice(8, 16), slice(8, 56)), (slice(48, 56), slice(8, 56))):
            field[rows, columns] = colour
        slide, box = ArraySlide("ring", field), Box(24, 24, 16, 16)
        pair = [read_tile(slide, box, 1.0), read_around(slide, box, 1.0, 4.0)]
        tiles.append(np.concatenate(pair, axis=2))
        labels.append(np.full((16, 16), inside))
    return np.stack(tiles), np.stack(labels)


def learnt(context: float | None) -> float:
    """Accuracy on tiles never seen, after a short training."""
    torch.manual_seed(0)
    segmenter = Segmenter(ModelSpec(width=6, depth=2), 1, context)
    optimiser = torch.optim.AdamW(segmenter.parameters(), 5e-3)
    tiles, labels = (torch.from_numpy(part) for part in rings(192, seed=1))
    for step in range(72):
        part = slice(step % 12 * 16, step % 12 * 16 + 16)
        logits = segmenter(tiles[part, ..., : segmenter.channels])
        functional.cross_entropy(logits, labels[part]).backward()
        optimiser.step()
        optimiser.zero_grad()
    segmenter.eval()
    tiles, labels = (torch.from_numpy(part) for part in rings(64, seed=2))
    with torch.inference_mode():
        found = segmenter(tiles[..., : segmenter.channels]).argmax(dim=1)
    return float((found == labels).float().mean())


def test_what_only_the_surroundings_show_is_learnt_from_them() -> None:
    alone, both = learnt(None), learnt(4.0)
    assert alone < 0.65, "the tile itself says nothing"
    assert both > 0.95
