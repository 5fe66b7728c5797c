"""OpenVINO, run by its own runtime."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slidemask.export.export import Options, export
from slidemask.models.bundle import Bundle
from slidemask.models.unreported import import_openvino

MakeBundle = Callable[[str], Bundle]


@pytest.mark.parametrize("kind", ["unet", "votes"])
def test_says_what_pytorch_says_and_carries_its_classes(
    kind: str, make_bundle: MakeBundle, picture: Path, tmp_path: Path
) -> None:
    bundle = make_bundle(kind)
    done = export(bundle, "openvino", tmp_path / "out", Options(tiles=[picture], count=3))
    assert done.parity.largest < 1e-4
    model = import_openvino().Core().read_model(done.path)
    assert model.get_rt_info(["slidemask", "digest"]).value == bundle.digest
    classes = json.loads(model.get_rt_info(["slidemask", "classes"]).value)
    assert classes[2] == {"name": "vessel", "colour": [200, 0, 10]}
    assert {path.suffix for path in done.folder.iterdir()} == {".xml", ".bin", ".md", ".json"}


def test_int8_is_smaller(make_bundle: MakeBundle, picture: Path, tmp_path: Path) -> None:
    bundle = make_bundle("unet")
    options = Options(precision="int8", tiles=[picture], count=6)
    done = export(bundle, "openvino", tmp_path / "out", options)
    assert 0 < done.parity.mean < 0.02
    openvino = import_openvino()
    operations = openvino.Core().read_model(done.path).get_ops()
    assert "FakeQuantize" in [one.get_type_name() for one in operations]
    largest = max(
        np.abs(one.get_data().astype(int)).max()
        for one in operations
        if one.get_type_name() == "Constant" and one.get_element_type() == openvino.Type.i8
    )
    assert 2 * 255 * largest < 2**15  # two products fit what some processors add them up in
    assert largest > 50  # and the range is used
