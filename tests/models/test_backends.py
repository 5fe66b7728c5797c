"""Backends give what PyTorch gives, and are left alone where they do not or cannot."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fakes import GLAND
from slidemask.base.errors import SettingsError
from slidemask.models import backends, converted
from slidemask.models.backends import FEW_TILES, Name, load, with_backend
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, BundleInfo, save_bundle
from slidemask.models.late import Late
from slidemask.models.segmenter import Segmenter
from slidemask.tiles.grid import Tiling

SIDE = 50  # no multiple of what the network needs: padding is part of the graph
HALF = ModelSpec(
    architecture="Unet", encoder="tu-mobilenetv3_small_050", depth=3, decoder_channels=(8, 4)
)


def bundle_of(
    spec: ModelSpec, context: float | None = None, digest: str = "d", side: int = SIDE
) -> Bundle:
    torch.manual_seed(0)
    tiling = Tiling(tile_px=side, overlap=0.0, downsample=1.0, context=context)
    info = BundleInfo(name="tiny", model=spec, classes=GLAND, tiling=tiling)
    segmenter = Segmenter(spec, 1, context, side).eval()
    return Bundle(info, segmenter, digest, torch.device("cpu"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(converted, "cache_folder", lambda: tmp_path / "c")
    monkeypatch.setattr(backends, "_judged", {})
    monkeypatch.setattr(backends, "_unusable", set())
    return tmp_path / "c" / "networks"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def tiles(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(width=3, depth=2),
        ModelSpec(width=3, depth=2, activation="sigmoid"),
        ModelSpec(
            architecture="tile", head="pool", refine=8, filters=(4, 6, 8), dropouts=(0, 0, 0)
        ),
    ],
    ids=["softmax", "sigmoid", "refined"],
)
def test_a_backend_says_what_pytorch_says(name: Name, spec: ModelSpec, tiles: np.ndarray) -> None:
    bundle = bundle_of(spec)
    other = with_backend(bundle, name, lambda: tiles[:1], tiles=1, precision="fp32")
    assert other.backend is not None
    assert other.backend.name == name
    for some in (tiles[:1], tiles):
        np.testing.assert_allclose(
            other.predict(some, "fp32"), bundle.predict(some, "fp32"), atol=1e-4
        )


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("context", [None, 4.0])
def test_sides_that_are_multiples_give_the_same(
    name: Name, context: float | None, rng: np.random.Generator
) -> None:
    bundle = bundle_of(ModelSpec(width=3, depth=2), context=context, side=48)
    tiles = rng.integers(0, 256, (2, 48, 48, 3 if context is None else 6), np.uint8)
    other = with_backend(bundle, name, lambda: tiles[:1], tiles=1, precision="fp32")
    np.testing.assert_allclose(
        other.predict(tiles, "fp32"), bundle.predict(tiles, "fp32"), atol=1e-4
    )


@pytest.mark.parametrize(("side", "padded"), [(48, False), (50, True)])
def test_only_sides_that_are_no_multiples_are_padded(side: int, padded: bool) -> None:
    bundle = bundle_of(ModelSpec(width=3, depth=2), side=side)
    layers = converted.converted(bundle).read_text(encoding="utf-8")
    # repeating the last row and column is picking rows and columns there
    assert ('type="Gather"' in layers) == padded
    graph = onnx.load(converted.converted_to_onnx(bundle)).graph
    assert any(node.op_type == "Pad" for node in graph.node) == padded


def test_networks_with_surroundings_too(rng: np.random.Generator) -> None:
    pairs = rng.integers(0, 256, (2, SIDE, SIDE, 6), np.uint8)
    bundle = bundle_of(ModelSpec(width=3, depth=2), context=4.0)
    other = with_backend(bundle, "openvino", lambda: pairs[:1], tiles=1, precision="fp32")
    np.testing.assert_allclose(
        other.predict(pairs, "fp32"), bundle.predict(pairs, "fp32"), atol=1e-4
    )


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("spec", [ModelSpec(width=3, depth=2), HALF], ids=["whole", "half"])
def test_networks_for_photos_see_pictures_of_any_size(
    name: Name, spec: ModelSpec, cache: Path, rng: np.random.Generator
) -> None:
    tiles_only = bundle_of(spec)
    bundle = replace(tiles_only, info=tiles_only.info.model_copy(update={"use": {"photo": {}}}))
    small = rng.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    other = with_backend(bundle, name, lambda: small, tiles=None, precision="fp32")
    assert [path.name.split("-")[1] for path in cache.iterdir()] == ["anypx"]
    for rows, columns in [(SIDE, SIDE), (64, 32), (33, 70), (3, 5)]:
        photo = rng.integers(0, 256, (1, rows, columns, 3), np.uint8)
        found = other.predict(photo, "fp32")
        assert found.shape == (1, 2, rows, columns)
        np.testing.assert_allclose(found, bundle.predict(photo, "fp32"), atol=1e-4)


def test_any_number_of_tiles_is_worth_it_where_none_is_told(tiles: np.ndarray) -> None:
    bundle = bundle_of(ModelSpec(width=3, depth=2))
    assert with_backend(bundle, "auto", lambda: tiles, tiles=1, precision="fp32").backend is None
    assert with_backend(bundle, "auto", lambda: tiles, tiles=None, precision="fp32").backend


def test_a_network_that_cannot_be_converted_is_left_to_pytorch(
    tiles: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no rule for this operation\nand a long list")

    monkeypatch.setattr(converted, "_write_openvino", refuse)
    bundle = bundle_of(ModelSpec(width=3, depth=2))
    assert with_backend(bundle, "auto", lambda: tiles, tiles=99, precision="fp32").backend is None
    assert "no rule for this operation" in caplog.text
    assert "long list" not in caplog.text
    assert with_backend(bundle, "auto", lambda: tiles, tiles=99, precision="fp32").backend is None
    assert caplog.text.count("no rule") == 1, "said once, and not tried again"


def test_several_threads_get_their_own_answers(tiles: np.ndarray) -> None:
    bundle = bundle_of(ModelSpec(width=3, depth=2))
    other = with_backend(bundle, "openvino", lambda: tiles[:1], tiles=1, precision="fp32")
    expected = [other.predict(tile[None], "fp32") for tile in tiles]
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(20):
            found = other.predict(tiles[number][None], "fp32")
            if not np.array_equal(found, expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_that_want_a_network_at_once_prepare_it_once(
    tiles: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, made = bundle_of(ModelSpec(width=3, depth=2)), list[Bundle]()
    make, late = backends.BACKENDS["openvino"], threading.Event()

    def slowly(bundle: Bundle) -> backends.Backend:
        made.append(bundle)
        late.wait(0.3)  # long enough for the other thread to begin, if nothing holds it
        return make(bundle)

    monkeypatch.setitem(backends.BACKENDS, "openvino", slowly)
    with ThreadPoolExecutor(3) as pool:
        asked = ("auto", "openvino", "auto")
        found = list(
            pool.map(
                lambda name: (
                    with_backend(bundle, name, lambda: tiles, tiles=99, precision="fp32").backend
                ),
                asked,
            )
        )
    assert len(made) == 1
    assert found[0] is found[1] is found[2] is not None


def test_a_network_is_converted_once(
    cache: Path, tiles: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of(ModelSpec(width=3, depth=2))
    with_backend(bundle, "openvino", lambda: tiles[:1], tiles=1, precision="fp32")
    (kept,) = cache.iterdir()
    assert "-50px-" in kept.name
    monkeypatch.setattr(converted, "_write_openvino", lambda *_: pytest.fail("again"))
    backends._judged.clear()  # as in another process
    with_backend(bundle, "openvino", lambda: tiles[:1], tiles=1, precision="fp32")
    another = replace(bundle, digest="other")
    with pytest.raises(pytest.fail.Exception):
        with_backend(another, "openvino", lambda: tiles[:1], tiles=1, precision="fp32")
    assert [path.name for path in cache.iterdir()] == [kept.name], "nothing half-written stays"


def test_pytorch_s_network_is_not_built_where_openvino_has_agreed(
    tmp_path: Path, tiles: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle_of(ModelSpec(width=3, depth=2))
    save_bundle(tmp_path / "b", made.info, made.segmenter, card="", scores={})
    first = load(str(tmp_path / "b"), "cpu")
    assert not isinstance(first.network, Late), "there is nothing yet to do without it"
    many = with_backend(first, "auto", lambda: tiles[:1], tiles=FEW_TILES, precision="auto")
    backends._judged.clear()  # as in another process
    later = load(str(tmp_path / "b"), "cpu")
    built = later.network
    monkeypatch.setattr(built, "_build", lambda: pytest.fail("built"))
    again = with_backend(later, "auto", lambda: tiles[:1], tiles=FEW_TILES, precision="auto")
    np.testing.assert_array_equal(again.predict(tiles), many.predict(tiles))
    few = with_backend(later, "auto", lambda: tiles, tiles=1, precision="auto")
    np.testing.assert_array_equal(few.predict(tiles), many.predict(tiles))
    known = Bundle.load(str(tmp_path / "b"), "cpu")  # whoever loads it, the answer is the same
    few = with_backend(known, "auto", lambda: tiles, tiles=1, precision="auto")
    np.testing.assert_array_equal(few.predict(tiles), many.predict(tiles))
    with pytest.raises(pytest.fail.Exception):
        with_backend(later, "torch", lambda: tiles, tiles=FEW_TILES, precision="auto")
    assert not isinstance(load(str(tmp_path / "b"), "cpu", "torch").network, Late)


@pytest.mark.parametrize("photo", [False, True])
def test_nor_where_onnx_runtime_has(
    photo: bool, tmp_path: Path, tiles: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle_of(ModelSpec(width=3, depth=2))
    use = {"photo": {}} if photo else {}
    info = made.info.model_copy(update={"use": use})
    save_bundle(tmp_path / "b", info, made.segmenter, card="", scores={})
    first = load(str(tmp_path / "b"), "cpu", "onnxruntime")
    said = with_backend(first, "onnxruntime", lambda: tiles, tiles=9, precision="auto")
    backends._judged.clear()  # as in another process
    later = load(str(tmp_path / "b"), "cpu", "onnxruntime")
    monkeypatch.setattr(later.network, "_build", lambda: pytest.fail("built"))
    again = with_backend(later, "onnxruntime", lambda: tiles, tiles=9, precision="auto")
    np.testing.assert_array_equal(again.predict(tiles), said.predict(tiles))
    monkeypatch.setattr(backends, "version", lambda _: "another")
    assert not isinstance(load(str(tmp_path / "b"), "cpu", "onnxruntime").network, Late)


def test_what_is_kept_of_an_agreement_may_be_damaged(
    cache: Path, tmp_path: Path, tiles: np.ndarray
) -> None:
    made = bundle_of(ModelSpec(width=3, depth=2))
    save_bundle(tmp_path / "b", made.info, made.segmenter, card="", scores={})
    bundle = load(str(tmp_path / "b"), "cpu")
    with_backend(bundle, "auto", lambda: tiles[:1], tiles=FEW_TILES, precision="auto")
    (kept,) = cache.glob("*/agrees-*.json")
    kept.write_text("{")
    assert not isinstance(load(str(tmp_path / "b"), "cpu").network, Late)


def test_auto_stays_with_pytorch_where_it_must(
    tiles: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = bundle_of(ModelSpec(width=3, depth=2))
    few = with_backend(bundle, "auto", lambda: tiles, tiles=FEW_TILES - 1, precision="fp32")
    assert few.backend is None
    many = with_backend(bundle, "auto", lambda: tiles, tiles=FEW_TILES, precision="fp32")
    assert many.backend is not None
    votes = bundle_of(ModelSpec(architecture="tile", head="pool", filters=(4, 4)))
    assert with_backend(votes, "auto", lambda: tiles, tiles=99, precision="fp32").backend is None

    def wrong(_self: object, tiles: np.ndarray, _precision: str) -> np.ndarray:
        return 1 - bundle.predict(tiles, "fp32")

    monkeypatch.setattr(backends.OpenVino, "__call__", wrong)
    backends._judged.clear()
    assert with_backend(bundle, "auto", lambda: tiles, tiles=99, precision="fp32").backend is None
    assert "PyTorch computes instead" in caplog.text
    asked = with_backend(bundle, "openvino", lambda: tiles, tiles=99, precision="fp32")
    assert asked.backend is not None, "who asks for it gets it, after a warning"


def test_what_cannot_be_is_refused(tiles: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    votes = bundle_of(ModelSpec(architecture="tile", head="pool", filters=(4, 4)))
    with pytest.raises(SettingsError, match="votes for tiles"):
        with_backend(votes, "openvino", lambda: tiles, tiles=99, precision="fp32")
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda _: None)
    bundle = bundle_of(ModelSpec(width=3, depth=2))
    with pytest.raises(SettingsError, match="pip install onnxruntime"):
        with_backend(bundle, "onnxruntime", lambda: tiles, tiles=99, precision="fp32")
    assert with_backend(bundle, "auto", lambda: tiles, tiles=99, precision="fp32").backend is None
