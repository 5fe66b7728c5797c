"""ONNX of every kind of network, run by ONNX Runtime."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import slidemask
from exportkinds import KINDS
from slidemask.export.export import Options, export
from slidemask.export.to_onnx import start
from slidemask.models.bundle import Bundle

MakeBundle = Callable[[str], Bundle]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind == "smp" else ()) for kind in KINDS]
)
def test_every_kind_says_what_pytorch_says(
    kind: str, make_bundle: MakeBundle, picture: Path, tmp_path: Path
) -> None:
    bundle = make_bundle(kind)
    done = export(bundle, "onnx", tmp_path / "out", Options(tiles=[picture], count=4))
    assert done.parity.largest < 1e-4
    about = json.loads((done.folder / "export.json").read_text())
    varies = "batch" if kind in {"votes", "context"} else "batch, height and width"
    assert about["dynamic"] == varies


@pytest.mark.slow
def test_open_sizes_metadata_and_smaller_numbers(
    make_bundle: MakeBundle, picture: Path, tmp_path: Path
) -> None:
    bundle = make_bundle("unet")
    single = export(bundle, "onnx", tmp_path / "fp32", Options(tiles=[picture], count=2))
    rng = np.random.default_rng(4)
    predict = start(single.path)
    for shape in ((1, 40, 40, 3), (2, 33, 57, 3), (3, 8, 100, 3)):
        tiles = rng.integers(0, 256, shape, np.uint8)
        assert np.allclose(predict(tiles), bundle.predict(tiles, "fp32"), atol=1e-5)
    told = {entry.key: entry.value for entry in onnx.load(single.path).metadata_props}
    assert told["digest"] == bundle.digest
    assert [one["name"] for one in json.loads(told["classes"])] == ["background", "gland", "vessel"]
    assert json.loads(told["tiling"])["tile_px"] == 40
    assert json.loads(told["use"]) == {"post": {"threshold": 0.4}}
    half = export(
        bundle, "onnx", tmp_path / "fp16", Options(precision="fp16", tiles=[picture], count=2)
    )
    assert half.megabytes < single.megabytes
    halves = [one for one in onnx.load(half.path).graph.initializer if one.data_type == 10]
    assert sum(np.prod(one.dims) for one in halves) > 6000  # nearly all
    assert str(Path(slidemask.__file__).parent) not in single.path.read_bytes().decode("latin-1")
    eighth = export(
        bundle, "onnx", tmp_path / "int8", Options(precision="int8", tiles=[picture], count=6)
    )
    kinds = {node.op_type for node in onnx.load(eighth.path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert 0 < eighth.parity.mean < 0.02
    weights = [
        numpy_helper.to_array(one).astype(int)
        for one in onnx.load(eighth.path).graph.initializer
        if one.data_type == TensorProto.INT8 and len(one.dims) == 4
    ]
    largest = max(np.abs(one).max() for one in weights)
    assert 2 * 255 * largest < 2**15  # two products fit what some processors add them up in
    assert largest > 50  # and the range is used
