"""Bundles: what is saved comes back; what is damaged is refused by name."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from fakes import GLAND, info
from slidemask.base.errors import BundleError, SettingsError
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import FILES, Bundle, save_bundle, zip_bundle
from slidemask.models.devices import choose_device
from slidemask.models.segmenter import Segmenter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    segmenter = Segmenter(info().model, 1)
    save_bundle(tmp_path / "run" / "bundle", info(), segmenter, card="# fake", scores={})
    return tmp_path / "run" / "bundle"


def tiles() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 30, 45, 3), np.uint8)


def test_comes_back_as_it_was(folder: Path) -> None:
    torch.manual_seed(0)
    original = Segmenter(info().model, 1).eval()
    with torch.inference_mode():
        expected = original.probabilities(original(torch.from_numpy(tiles()))).numpy()
    bundle = Bundle.load(folder, "cpu")
    found = bundle.predict(tiles())
    assert found.shape == (2, 2, 30, 45)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-3)  # kernels are stored in half precision
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert bundle.info == info()


def test_is_found_by_run_folder_by_zip_and_by_path(folder: Path, tmp_path: Path) -> None:
    zip_bundle(folder, tmp_path / "model.zip")
    digests = {
        Bundle.load(p, "cpu").digest for p in (folder, folder.parent, tmp_path / "model.zip")
    }
    assert len(digests) == 1


def test_digest_follows_weights_and_settings(folder: Path) -> None:
    before = Bundle.load(folder, "cpu").digest
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace('"fake"', '"other"'))
    assert Bundle.load(folder, "cpu").digest != before


@pytest.mark.parametrize("missing", FILES[:2])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(BundleError, match=f"lacks {missing}"):
        Bundle.load(folder, "cpu")


def test_damage_is_named(folder: Path) -> None:
    whole = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="do not fit"):
        Bundle.load(folder, "cpu")


def test_another_format_is_refused(folder: Path) -> None:
    table = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(table | {"format": 99}))
    with pytest.raises(BundleError, match="format"):
        Bundle.load(folder, "cpu")


def test_an_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"does not exist.*shipped models"):
        Bundle.load(tmp_path / "nothing", "cpu")
    with pytest.raises(BundleError, match="is no bundle"):
        Bundle.load(tmp_path, "cpu")


def test_saving_again_replaces_the_whole_folder(folder: Path) -> None:
    (folder / "leftover").write_text("x")
    save_bundle(folder, info(tile=64), Segmenter(info().model, 1), card="", scores={"a": 1})
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert Bundle.load(folder, "cpu").info.tiling.tile_px == 64
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize(("depth", "width"), [(1, 3), (3, 2), (4, 4)])
def test_u_net_keeps_any_size_and_has_the_parameters_of_its_formula(depth: int, width: int) -> None:
    segmenter = Segmenter(ModelSpec(depth=depth, width=width), 2).eval()
    logits = segmenter(torch.zeros(1, 37, 50, 3, dtype=torch.uint8))
    assert logits.shape == (1, 3, 37, 50)

    def double(a: int, b: int) -> int:
        return 9 * a * b + 9 * b * b + 4 * b  # two kernels, two batch norms

    widths = [width * 2**stage for stage in range(depth + 1)]
    pairs = list(pairwise(widths))
    expected = double(3, width) + sum(double(a, b) for a, b in pairs)
    expected += sum(4 * b * a + a + double(2 * a, a) for a, b in pairs)
    expected += width * 3 + 3
    assert sum(p.numel() for p in segmenter.network.parameters()) == expected


def test_sigmoids_leave_the_rest_to_the_background() -> None:
    segmenter = Segmenter(ModelSpec(width=1, depth=1, activation="sigmoid"), 1)
    logits = torch.tensor([[[[-2.0, 0.0, 3.0]]]])
    found = segmenter.probabilities(logits)
    torch.testing.assert_close(found[:, 1:], logits.sigmoid())
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1, 1, 3))


def test_names_that_do_not_exist_get_the_nearest() -> None:
    with pytest.raises(SettingsError, match="unetplusplus"):
        Segmenter(ModelSpec(architecture="UnetPlusPlu"), 1)
    with pytest.raises(SettingsError, match="resnet34"):
        Segmenter(ModelSpec(architecture="Unet", encoder="resnet_34", depth=5), 1)
    with pytest.raises(SettingsError, match="cpu"):
        choose_device("tpu")


@pytest.mark.parametrize("architecture", ["Unet", "UnetPlusPlus", "FPN"])
def test_library_networks_take_any_size(architecture: str) -> None:
    spec = ModelSpec(architecture=architecture, encoder="resnet18", depth=5)
    segmenter = Segmenter(spec, len(GLAND.classes)).eval()
    with torch.inference_mode():
        assert segmenter(torch.zeros(1, 70, 33, 3, dtype=torch.uint8)).shape == (1, 2, 70, 33)


def test_encoder_weights_come_from_a_local_file(shared_data: Path) -> None:
    path = shared_data / "weights" / "mobilenetv2_100_imagenet.safetensors"
    spec = ModelSpec(
        architecture="Unet", encoder="tu-mobilenetv2_100", encoder_weights=str(path), depth=5
    )
    from safetensors.torch import load_file

    encoder = Segmenter(spec, 1).network.get_submodule("encoder.model")
    stored, loaded = load_file(path), encoder.state_dict()
    assert loaded
    for name, value in loaded.items():
        torch.testing.assert_close(value, stored[name])


def test_weights_of_another_encoder_are_refused(shared_data: Path) -> None:
    path = shared_data / "weights" / "mobilenetv2_100_imagenet.safetensors"
    spec = ModelSpec(architecture="Unet", encoder="resnet18", encoder_weights=str(path), depth=5)
    with pytest.raises(BundleError, match="does not fit"):
        Segmenter(spec, 1)
    with pytest.raises(BundleError, match="do not exist"):
        Segmenter(spec.model_copy(update={"encoder_weights": "nothing.safetensors"}), 1)


def test_a_damaged_zip_is_named(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    zip_bundle(folder, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 255  # in the weights, which the zip guards by a checksum
    path.write_bytes(bytes(data))
    with pytest.raises(BundleError, match=r"model\.zip cannot be read"):
        Bundle.load(path, "cpu")
