"""A graph in 8 bits is used as long as it is of the bundle's own network, and sound."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from journey import save_dark_bundle
from slidemask.base.errors import BundleError, SettingsError
from slidemask.models import backends, converted
from slidemask.models.backends import FEW_TILES, Name, with_backend
from slidemask.models.bundle import INT8, Bundle, zip_bundle
from slidemask.models.int8 import GRAPH, Dice, Int8Info, fingerprint, has_int8, hashes, read_int8
from slidemask.tiles.grid import Tiling

SIDE = 32


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose graph "in 8 bits" is the one in single precision: only the rules are tried."""
    home = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(converted, "cache_folder", lambda: home / "cache")
        bundle = Bundle.load(save_dark_bundle(home / "b", tile=SIDE), "cpu")
        kept = converted.converted(bundle).parent
    (home / "b" / INT8).mkdir()
    for name in GRAPH:
        shutil.copy(kept / name, home / "b" / INT8 / name)
    xml, weights = ((kept / name).read_bytes() for name in GRAPH)
    info = Int8Info(
        network=fingerprint(bundle), files=hashes(xml, weights), tile_px=SIDE, left="nothing",
        max_fall=0.005, dice={},
    )  # fmt: skip
    (home / "b" / INT8 / "int8.json").write_text(info.model_dump_json())
    (home / "b" / INT8 / "card.md").write_text("# dark in 8 bits")
    return home


@pytest.fixture(autouse=True)
def _fresh(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converted, "cache_folder", lambda: made / "cache")
    monkeypatch.setattr(backends, "_judged", {})
    monkeypatch.setattr(backends, "_unusable", set())
    monkeypatch.setattr(backends, "multiplies_int8", lambda: True)


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "b", tmp_path / "b"))


@pytest.fixture
def tiles() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)


def backend_of(bundle: Bundle, tiles: np.ndarray, name: Name = "auto") -> str | None:
    with_one = with_backend(bundle, name, lambda: tiles, tiles=FEW_TILES, precision="fp32")
    return with_one.backend.name if with_one.backend else None


def test_auto_takes_it_where_the_processor_is_made_for_it(
    folder: Path, tiles: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.load(folder, "cpu")
    assert backend_of(bundle, tiles) == "int8"
    by_name = with_backend(bundle, "int8", lambda: tiles, tiles=1, precision="fp32")
    np.testing.assert_allclose(
        by_name.predict(tiles, "fp32"), bundle.predict(tiles, "fp32"), atol=1e-3
    )
    monkeypatch.setattr(backends, "multiplies_int8", lambda: False)
    assert backend_of(bundle, tiles) == "openvino"
    assert backend_of(bundle, tiles, "int8") == "int8", "who asks for it gets it"


def test_a_zip_brings_it_too(folder: Path, tmp_path: Path, tiles: np.ndarray) -> None:
    zip_bundle(folder, tmp_path / "b.zip")
    bundle = Bundle.load(tmp_path / "b.zip", "cpu")
    assert has_int8(bundle)
    assert backend_of(bundle, tiles) == "int8"


def test_on_slides_of_another_kind_auto_does_without(
    folder: Path, tiles: np.ndarray, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    bundle = Bundle.load(folder, "cpu")

    def off(_: object, some: np.ndarray, __: str) -> np.ndarray:
        return 0.06 + bundle.predict(some, "fp32")

    monkeypatch.setattr(backends.OpenVinoInt8, "__call__", off)
    assert backend_of(bundle, tiles) == "openvino"
    assert "int8 differs from PyTorch by 0.06" in caplog.text


def changed_weights(folder: Path) -> None:
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(bytes(data))


def changed_network(folder: Path) -> None:
    told = json.loads((folder / "bundle.json").read_text())
    told["model"]["temperature"] = 2.0
    (folder / "bundle.json").write_text(json.dumps(told))


def damaged(folder: Path) -> None:
    (folder / INT8 / "model.bin").write_bytes(b"0" * 99)


def not_ours(folder: Path) -> None:
    (folder / INT8 / "int8.json").write_text("{}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed_weights, "made of other weights"),
        (changed_network, "made of other weights"),
        (damaged, "is damaged"),
        (not_ours, "not of format 1"),
    ],
)
def test_what_is_not_its_own_is_not_used(
    folder: Path, tiles: np.ndarray, change: object, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(change)
    change(folder)
    bundle = Bundle.load(folder, "cpu")
    with pytest.raises(BundleError, match=said):
        backend_of(bundle, tiles, "int8")
    assert backend_of(bundle, tiles) == "openvino"
    assert said in caplog.text
    caplog.clear()
    assert backend_of(bundle, tiles) == "openvino"
    assert not caplog.text, "once is enough"


def test_what_changes_no_network_leaves_it_in_use(folder: Path, tiles: np.ndarray) -> None:
    told = json.loads((folder / "bundle.json").read_text())
    told["use"] = {"post": {"threshold": 0.4}}
    (folder / "bundle.json").write_text(json.dumps(told))
    assert backend_of(Bundle.load(folder, "cpu"), tiles) == "int8"


def test_other_tiles_are_not_for_it(folder: Path) -> None:
    bundle = Bundle.load(folder, "cpu")
    tiling = Tiling(tile_px=SIDE * 2, overlap=0.25, downsample=1.0)
    other = replace(bundle, info=bundle.info.model_copy(update={"tiling": tiling}))
    with pytest.raises(BundleError, match=r"takes tiles of 32 px, and tiling.tile_px is 64"):
        read_int8(other)


def test_a_bundle_without_it_says_how_to_make_it(folder: Path) -> None:
    shutil.rmtree(folder / INT8)
    with pytest.raises(BundleError, match="slidemask quantise"):
        read_int8(Bundle.load(folder, "cpu"))


def test_other_devices_are_not_for_it(folder: Path, tiles: np.ndarray) -> None:
    import torch

    bundle = replace(Bundle.load(folder, "cpu"), device=torch.device("cuda"))
    with pytest.raises(SettingsError, match="runs on cuda"):
        backend_of(bundle, tiles, "int8")


def dice(*values: float | None) -> Dice:
    names = ("pooled_fp32", "pooled_int8", "slides_fp32", "slides_int8")
    return Dice(**dict(zip(names, values, strict=True)))


def test_the_larger_fall_counts_and_what_ceases_to_be_defined() -> None:
    assert dice(0.9, 0.9, 0.8, 0.7).fall == pytest.approx(0.1)
    assert dice(0.9, 0.95, 0.8, 0.81).fall < 0
    assert dice(None, None, None, None).fall == 0
    assert dice(None, 0.0, None, 0.0).fall == float("inf"), "it finds what is not there"
    assert dice(0.0, None, 0.0, None).fall == 0
