"""OpenVINO: uint8 (N, H, W, 3) in, for Intel's processors, graphics and small boards."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from slidemask.base.types import Probs
from slidemask.export.exported import ports
from slidemask.export.quiet import quiet
from slidemask.export.to_onnx import to_onnx
from slidemask.export.wanted import Format, Predict, Wanted, Written
from slidemask.models.unreported import import_openvino

if TYPE_CHECKING:
    import openvino
else:
    openvino = import_openvino()


def convert(wanted: Wanted, folder: Path) -> Written:
    """Write the network as OpenVINO's .xml, with its weights in the .bin beside it."""
    proto, dynamic = to_onnx(wanted)
    between = folder / "between.onnx"
    onnx.save(proto, between)
    # Core.read_model, not openvino.convert_model: the latter reports its use over the network.
    model = openvino.Core().read_model(between)
    notes: tuple[str, ...] = (
        "Processors with bfloat16 use it unless told otherwise; the comparison above ran with "
        "INFERENCE_PRECISION_HINT = f32.",
    )
    if wanted.precision == "int8":
        model = _quantised(model, wanted.calibration)
        notes += ("Weights (per channel) and activations are 8 bits; 7 of a weight's are used.",)
    for key, value in wanted.metadata.items():
        model.set_rt_info(value, ["slidemask", key])
    path = folder / f"{wanted.stem}.xml"
    openvino.save_model(model, path, compress_to_fp16=wanted.precision == "fp16")
    del model
    between.unlink()
    return Written(path, *ports(wanted, dynamic, "uint8"), dynamic=dynamic, notes=notes)


def start(path: Path) -> Predict:
    """Open it on the CPU, in single precision where it is not quantised."""
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def predict(tiles: NDArray[np.uint8]) -> Probs:
        probabilities = np.array(compiled(tiles)[0])
        return probabilities if probabilities.ndim == 4 else probabilities[:, :, None, None]

    return predict


def _quantised(model: "openvino.Model", tiles: NDArray[np.uint8]) -> "openvino.Model":
    os.environ.setdefault("NNCF_CI", "1")  # so that it does not report its use either
    with quiet():
        import nncf

        data = nncf.Dataset([tile[None] for tile in tiles])
        # x86 without VNNI adds two products in 16 bits, which 8 x 8 exceed: weights use 7.
        seven = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
        return nncf.quantize(model, data, subset_size=len(tiles), advanced_parameters=seven)


FORMAT = Format(convert, start, ("openvino", "nncf", "onnx", "onnxscript"))
