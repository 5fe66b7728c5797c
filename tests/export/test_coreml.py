"""Core ML: the file is read back, and its program evaluated without Core ML."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from slidemask.export.export import Options, export
from slidemask.export.quiet import quiet
from slidemask.models.bundle import Bundle

with quiet():  # it warns of what it will not do
    import coremltools

MakeBundle = Callable[[str], Bundle]


def test_takes_a_picture_and_previews_as_a_segmenter(
    make_bundle: MakeBundle, picture: Path, tmp_path: Path
) -> None:
    done = export(
        make_bundle("unet"), "coreml", tmp_path / "out", Options(tiles=[picture], count=2)
    )
    assert done.parity.largest < 1e-4
    spec = coremltools.models.MLModel(str(done.path), skip_model_load=True).get_spec()
    (image,) = spec.description.input
    assert (image.name, image.type.imageType.width, image.type.imageType.height) == (
        "image",
        40,
        40,
    )
    told = spec.description.metadata.userDefined
    assert told["com.apple.coreml.model.preview.type"] == "imageSegmenter"
    assert json.loads(told["com.apple.coreml.model.preview.params"]) == {
        "labels": ["background", "gland", "vessel"],
        "colors": ["#FFFFFF", "#00A03C", "#C8000A"],
    }
    about = json.loads((done.folder / "export.json").read_text())
    assert about["ran_here"] is False
    assert about["parity"]["ms_per_tile"] is None
    card = (done.folder / "card.md").read_text()
    assert "Not run" in card
    assert "conv" in card


@pytest.mark.parametrize(
    ("kind", "precision"), [("votes", "fp16"), ("context", "int8"), ("refined", "fp32")]
)
def test_other_kinds_and_precisions(
    kind: str, precision: str, make_bundle: MakeBundle, picture: Path, tmp_path: Path
) -> None:
    options = Options(precision=precision, tiles=[picture], count=4)  # type: ignore[arg-type]  # one of the three
    done = export(make_bundle(kind), "coreml", tmp_path / "out", options)
    assert done.parity.mean < {"fp32": 1e-5, "fp16": 2e-3, "int8": 0.02}[precision]
