"""What is kept compiled computes the very same; whatever happens to it changes no answer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fakes import GLAND
from slidemask.models import backends, compiled, converted
from slidemask.models.backends import load, with_backend
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import BundleInfo, save_bundle
from slidemask.models.late import Late
from slidemask.models.segmenter import Segmenter
from slidemask.tiles.grid import Tiling

SIDE = 40
Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "empty": lambda _: b"",
    "garbage": lambda _: np.random.default_rng(0).bytes(4000),
    "cut off": lambda whole: whole[: len(whole) // 2],
    "no head": lambda whole: whole[512:],
    "weights": lambda whole: (
        whole[: len(whole) // 8]
        + bytes(byte ^ 0x15 for byte in whole[len(whole) // 8 : len(whole) // 4])
        + whole[len(whole) // 4 :]
    ),
    "the last byte": lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle; the cache is beside it."""
    monkeypatch.setattr(converted, "cache_folder", lambda: tmp_path / "c")
    monkeypatch.setattr(backends, "_judged", {})
    torch.manual_seed(0)
    spec, tiling = ModelSpec(width=4, depth=2), Tiling(tile_px=SIDE, downsample=1.0)
    info = BundleInfo(name="t", model=spec, classes=GLAND, tiling=tiling, use={"photo": {}})
    save_bundle(tmp_path / "b", info, Segmenter(spec, 1).eval(), card="", scores={})
    return tmp_path / "b"


def answer(folder: Path) -> np.ndarray:
    """As another process gets it."""

    backends._judged.clear()
    rng = np.random.default_rng(0)
    bundle = load(str(folder), "cpu")
    tiles = rng.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    bundle = with_backend(bundle, "auto", lambda: tiles, tiles=None, precision="auto")
    assert bundle.backend is not None
    return bundle.predict(rng.integers(0, 256, (2, 33, 47, 3), np.uint8))


def test_it_is_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = answer(folder)
    assert len(list(folder.parent.glob("c/networks/*/compiled-*.blob"))) == 1
    monkeypatch.setattr(compiled, "_keep", lambda *_, **__: pytest.fail("compiled again"))
    np.testing.assert_array_equal(answer(folder), first)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_damaged_it_is_compiled_again(folder: Path, damage: Damage) -> None:
    first = answer(folder)
    (kept,) = folder.parent.glob("c/networks/*/compiled-*.blob")
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    np.testing.assert_array_equal(answer(folder), first)
    assert compiled._read(kept)[1], "it is whole again"


def test_of_a_network_that_was_converted_again_it_is_compiled_again(folder: Path) -> None:
    first = answer(folder)
    (kept,) = folder.parent.glob("c/networks/*/compiled-*.blob")
    head = kept.read_bytes()[:512]
    xml = kept.with_name("model.xml")
    xml.write_bytes(xml.read_bytes() + b"\n")
    np.testing.assert_array_equal(answer(folder), first)
    assert kept.read_bytes()[:512] != head


def test_a_converted_network_that_has_changed_is_compared_again(folder: Path) -> None:
    answer(folder)
    assert isinstance(load(str(folder), "cpu").network, Late)
    (weights,) = folder.parent.glob("c/networks/*/model.bin")
    weights.write_bytes(weights.read_bytes()[:-64] + bytes(64))
    assert not isinstance(load(str(folder), "cpu").network, Late)


def test_what_cannot_be_kept_is_compiled_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiled, "written_whole", full)
    first = answer(folder)
    assert not list(folder.parent.glob("c/networks/*/compiled-*.blob"))
    np.testing.assert_array_equal(answer(folder), first)
