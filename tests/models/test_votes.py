"""Segmenters that vote, and those that refine a vote to pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from fakes import GLAND
from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import BundleError, SettingsError
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, BundleInfo, parameters_count, save_bundle
from slidemask.models.refined import RefinedTileNet
from slidemask.models.segmenter import Segmenter
from slidemask.models.tilecnn import TileNet, TileNetSpec
from slidemask.tiles.grid import Tiling

SMALL = ModelSpec(architecture="tile", filters=(4, 6, 6), activation="sigmoid")
REFINED = SMALL.model_copy(update={"head": "pool", "refine": 5})


def tile_label(labels: np.ndarray, classes: int, least: float) -> int:
    """Naive: pixel by pixel."""
    counts = [0] * (classes + 1)
    for value in labels.ravel().tolist():
        if value != 255:
            counts[value] += 1
    if not sum(counts):
        return 255
    foreground = sum(counts[1:])
    if not foreground or foreground < least * sum(counts):
        return 0
    return 1 + counts[1:].index(max(counts[1:]))


@given(
    st.integers(1, 3),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.integers(0, 10**6),
    st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_labels_of_tiles(classes: int, least: float, seed: int, much: float) -> None:
    rng = np.random.default_rng(seed)
    spec = SMALL.model_copy(update={"min_share": least, "activation": "softmax"})
    segmenter = Segmenter(spec, classes, tile_px=22)
    labels = rng.integers(0, classes + 1, (5, 4, 6), np.uint8)
    labels[rng.random(labels.shape) < much] = 0
    labels[rng.random(labels.shape) < 0.3] = 255
    labels[0] = 255
    found = segmenter.targets(torch.from_numpy(labels))
    assert found.shape == (5, 1, 1)
    assert found.dtype == torch.uint8
    assert found.ravel().tolist() == [tile_label(one, classes, least) for one in labels]


@pytest.mark.parametrize("spec", [ModelSpec(width=1, depth=1), REFINED])
def test_labels_of_pixels_stay(spec: ModelSpec) -> None:
    labels = torch.randint(0, 2, (2, 8, 8), dtype=torch.uint8)
    segmenter = Segmenter(spec, 1)
    assert not segmenter.votes
    assert segmenter.targets(labels) is labels
    with pytest.raises(TypeError, match="no votes"):
        _ = segmenter.tile_net()


@pytest.mark.parametrize(
    ("activation", "classes"), [("sigmoid", 1), ("softmax", 1), ("softmax", 3)]
)
def test_votes_are_those_of_the_tile_classifier(activation: str, classes: int) -> None:
    spec = SMALL.model_copy(update={"activation": activation})
    segmenter = Segmenter(spec, classes, tile_px=30).eval()
    tiles = torch.randint(0, 256, (3, 30, 30, 3), dtype=torch.uint8)
    with torch.inference_mode():
        logits = segmenter(tiles)
        found = segmenter.probabilities(logits)
        alone = segmenter.tile_net().probabilities(segmenter.tile_net()(tiles))
    assert segmenter.votes
    assert logits.shape == (3, 1 if activation == "sigmoid" else classes + 1, 1, 1)
    assert found.shape == (3, classes + 1, 1, 1)
    np.testing.assert_allclose(found[:, :, 0, 0], alone, atol=1e-6)


@pytest.mark.parametrize(("head", "count"), [("dense", 2_854_689), ("pool", 218_113)])
def test_the_published_numbers(head: str, count: int) -> None:
    spec = ModelSpec.model_validate({"architecture": "tile", "activation": "sigmoid", "head": head})
    random = torch.random.get_rng_state()
    assert parameters_count(spec, 1, tile_px=400) == count
    assert torch.equal(torch.random.get_rng_state(), random)
    assert TileNet(TileNetSpec(head=spec.head)).parameters_count == count


@pytest.mark.parametrize("head", ["dense", "pool"])
def test_a_bundle_votes_as_it_did(tmp_path: Path, head: str) -> None:
    torch.manual_seed(0)
    spec = ModelSpec.model_validate(SMALL.model_dump() | {"head": head})
    info = BundleInfo(name="v", model=spec, classes=GLAND, tiling=Tiling(tile_px=24, downsample=1))
    segmenter = Segmenter(spec, 1, tile_px=24).eval()
    tiles = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)
    with torch.inference_mode():
        expected = segmenter.probabilities(segmenter(torch.from_numpy(tiles)))
    save_bundle(tmp_path / "b", info, segmenter, card="", scores={})
    bundle = Bundle.load(tmp_path / "b", "cpu")
    assert bundle.segmenter.votes
    np.testing.assert_allclose(bundle.predict(tiles), expected, atol=2e-3)
    wider = info.model_copy(update={"tiling": Tiling(tile_px=48, downsample=1)})
    save_bundle(tmp_path / "b", wider, segmenter, card="", scores={})
    if head == "pool":  # its weights fit tiles of any size
        assert Bundle.load(tmp_path / "b", "cpu").segmenter.tile_net().spec.tile_px == 48
    else:
        with pytest.raises(BundleError, match="do not fit"):
            Bundle.load(tmp_path / "b", "cpu")


@pytest.mark.parametrize(
    ("changes", "classes", "tile", "message"),
    [
        ({}, 2, 24, "softmax"),
        ({}, 1, None, "tiling.tile_px"),
        ({}, 1, 21, "22 or more"),
        ({"filters": (4, 0)}, 1, 24, "filters must be positive"),
    ],
)
def test_what_cannot_be_built_is_refused(
    changes: dict[str, object], classes: int, tile: int | None, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        Segmenter(SMALL.model_copy(update=changes), classes, tile_px=tile)


def test_surroundings_are_refused() -> None:
    with pytest.raises(SettingsError, match="surroundings"):
        Segmenter(SMALL, 1, context=4.0, tile_px=24)


@pytest.mark.parametrize(
    "wrong",
    [
        {"refine": 4},
        {"architecture": "tile", "refine": 4},
        {"architecture": "tile", "head": "pool", "refine": 4, "kernel": 2},
        {"min_share": 1.5},
    ],
)
def test_impossible_specs_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModelSpec.model_validate(wrong)


@pytest.mark.parametrize(("height", "width"), [(24, 24), (7, 50), (33, 1)])
def test_refined_pixels_of_any_size(height: int, width: int) -> None:
    segmenter = Segmenter(REFINED, 1).eval()
    tiles = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert segmenter.probabilities(segmenter(tiles)).shape == (2, 2, height, width)


def test_a_refined_network_stays_small() -> None:
    spec = ModelSpec(architecture="tile", head="pool", refine=64)
    assert parameters_count(spec, len(three().classes)) < 500_000


def three() -> ClassMap:
    return ClassMap(
        classes=tuple(ClassInfo(name=name, colour=(0, 0, 0)) for name in ("a", "b", "c"))
    )


def test_refinement_is_added_to_the_vote_of_the_whole_tile() -> None:
    """With a decoder that says nothing every pixel has the pooled logit of padded features."""
    torch.manual_seed(0)
    net = RefinedTileNet(TileNetSpec(filters=(4, 6, 6, 5), head="pool"), refine=3).eval()
    for value in net.decode.parameters():
        value.detach().zero_()
    images = torch.rand(1, 3, 32, 48)

    def padded(x: Tensor, stage: nn.Module) -> Tensor:
        inner = stage.get_submodule("convolution")
        x = nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
        x = nn.functional.conv2d(x, inner.weight, inner.bias)  # type: ignore[arg-type]  # torch's stub
        return stage.get_submodule("normalisation")(nn.functional.max_pool2d(x.relu(), 2))

    with torch.inference_mode():
        found, x = net(images), images
        for stage in net.stages:
            x = padded(x, stage)
        assert x.shape == (1, 5, 2, 3)
        np.testing.assert_allclose(
            found, net.head(x).view(1, 1, 1, 1).expand(found.shape), rtol=1e-5
        )


def test_refinement_finds_its_place() -> None:
    """The last stage has 8 px a feature; an impulse in it is drawn as a tent about its centre."""
    net = RefinedTileNet(TileNetSpec(filters=(2, 2, 2), head="pool"), refine=1).eval()
    with torch.inference_mode():
        for value in net.parameters():
            value.zero_()
        net.from_last.weight[0, 0], net.decode.weight[0, 0, 1, 1] = 1.0, 1.0
        net.stages[2] = Impulse()
        found = net(torch.zeros(1, 3, 64, 64))[0, 0].numpy()
    along = np.interp((np.arange(64) + 0.5) / 8 - 0.5, np.arange(8), np.eye(8)[3])
    np.testing.assert_allclose(found, np.outer(along, along), atol=1e-6)


class Impulse(nn.Module):
    """One feature that is 1 at one place, half as large as the input."""

    def forward(self, x: Tensor) -> Tensor:
        result = torch.zeros(len(x), 2, x.shape[2] // 2, x.shape[3] // 2)
        result[:, 0, 3, 3] = 1
        return result
