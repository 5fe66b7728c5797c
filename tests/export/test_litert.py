"""LiteRT: converted in an environment of its own, run by its interpreter here."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from slidemask.base.errors import OutputError, SettingsError
from slidemask.export.export import Options, export
from slidemask.models.bundle import Bundle

MakeBundle = Callable[[str], Bundle]
PYTHON = os.environ.get("SLIDEMASK_LITERT_PYTHON", "")
"""Python of an environment with litert-torch; without one only the errors are looked at."""


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="SLIDEMASK_LITERT_PYTHON names no environment")
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_says_what_pytorch_says(
    precision: str, make_bundle: MakeBundle, picture: Path, tmp_path: Path
) -> None:
    options = Options(precision=precision, tiles=[picture], count=4, converter=Path(PYTHON))  # type: ignore[arg-type]  # one of the three
    done = export(make_bundle("unet"), "litert", tmp_path / "out", options)
    assert 0 < done.parity.mean < {"fp16": 1e-3, "int8": 0.02}[precision]
    assert sorted(path.suffix for path in done.folder.iterdir()) == [".json", ".md", ".tflite"]
    assert "litert-torch (converter)" in (done.folder / "card.md").read_text()


def test_without_a_converter_the_error_says_how_to_get_one(
    make_bundle: MakeBundle, picture: Path, tmp_path: Path
) -> None:
    bundle = make_bundle("unet")
    with pytest.raises(SettingsError, match=r"uv venv litert .* pass --litert-python"):
        export(bundle, "litert", tmp_path / "out", Options(tiles=[picture], count=1))
    missing = Options(tiles=[picture], count=1, converter=tmp_path / "none")
    with pytest.raises(SettingsError, match="none does not exist"):
        export(bundle, "litert", tmp_path / "out", missing)
    false = tmp_path / "python"
    false.write_text("#!/bin/sh\necho no such module >&2\nexit 3\n")
    false.chmod(0o755)
    failing = Options(tiles=[picture], count=1, converter=false)
    with pytest.raises(OutputError, match="failed: no such module"):
        export(bundle, "litert", tmp_path / "out", failing)
    assert [path.name for path in tmp_path.iterdir()] == ["python"]
