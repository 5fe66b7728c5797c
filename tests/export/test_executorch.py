"""ExecuTorch, run by its own runtime with XNNPACK."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slidemask.export.export import Options, export
from slidemask.export.to_executorch import convert, start
from slidemask.export.wanted import Precision, Wanted
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


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "apart"), [("fp32", False), ("fp16", False), ("int8", True)])
def test_maps_are_doubled_and_convolved_in_one_step_but_in_8_bits(
    precision: Precision,
    apart: bool,
    make_bundle: MakeBundle,
    tmp_path: Path,
) -> None:
    bundle = make_bundle("half")
    tiles = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    wanted = Wanted(bundle, precision, (48, 48), fixed=True, calibration=tiles, metadata={})
    done = convert(wanted, tmp_path)
    assert (b"upsample" in done.path.read_bytes()) == apart
    differing = np.abs(start(done.path)(tiles) - bundle.predict(tiles, "fp32"))
    assert differing.mean() < {"fp32": 1e-5, "fp16": 0.01, "int8": 0.1}[precision]


def test_votes_in_half_precision(make_bundle: MakeBundle, picture: Path, tmp_path: Path) -> None:
    options = Options(precision="fp16", tiles=[picture], count=2)
    done = export(make_bundle("votes"), "executorch", tmp_path / "fp16", options)
    assert 0 < done.parity.largest < 0.05
