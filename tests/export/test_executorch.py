"""ExecuTorch, run by its own runtime with XNNPACK."""

from collections.abc import Callable
from pathlib import Path

import pytest

from slidemask.export.export import Options, export
from slidemask.models.bundle import Bundle

MakeBundle = Callable[[str], Bundle]


@pytest.mark.slow
def test_says_what_pytorch_says_in_all_precisions(
    make_bundle: MakeBundle, picture: Path, tmp_path: Path
) -> None:
    bundle = make_bundle("unet")
    options = Options(tiles=[picture], count=6)
    single = export(bundle, "executorch", tmp_path / "fp32", options)
    assert single.parity.largest < 1e-4
    int8 = Options(precision="int8", tiles=[picture], count=6)
    eighth = export(bundle, "executorch", tmp_path / "int8", int8)
    assert 0 < eighth.parity.mean < 0.02
    assert eighth.megabytes < single.megabytes


@pytest.mark.parametrize("kind", ["smp", "half"])
def test_doubled_maps_are_convolved_in_one_step(
    kind: str, make_bundle: MakeBundle, picture: Path, tmp_path: Path
) -> None:
    bundle = make_bundle(kind)
    options = Options(tiles=[picture], count=3)
    assert export(bundle, "executorch", tmp_path / "fp32", options).parity.largest < 1e-4
    (program,) = (tmp_path / "fp32").glob("*.pte")
    assert b"upsample" not in program.read_bytes()


def test_votes_in_half_precision(make_bundle: MakeBundle, picture: Path, tmp_path: Path) -> None:
    options = Options(precision="fp16", tiles=[picture], count=2)
    done = export(make_bundle("votes"), "executorch", tmp_path / "fp16", options)
    assert 0 < done.parity.largest < 0.05
