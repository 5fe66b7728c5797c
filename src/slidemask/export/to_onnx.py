"""ONNX: uint8 (N, H, W, 3) in, for ONNX Runtime everywhere, browsers too."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from slidemask.base.errors import OutputError
from slidemask.base.types import Probs
from slidemask.export.exported import ports, write_down_varying
from slidemask.export.quiet import quiet
from slidemask.export.wanted import Format, Predict, Wanted, Written
from slidemask.models.graph import Graph

_QUANTISED = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Relu", "Clip", "Concat",
    "MaxPool", "AveragePool", "GlobalAveragePool", "Resize",
)  # fmt: skip
_SMALLEST = 256
"""Numbers of a tensor that is worth storing in half precision."""


def convert(wanted: Wanted, folder: Path) -> Written:
    """Write the network as ONNX."""
    model, dynamic = to_onnx(wanted)
    for key, value in wanted.metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    path = folder / f"{wanted.stem}.onnx"
    notes: tuple[str, ...] = ()
    if wanted.precision == "fp16":
        _halve(model)
        notes = ("Weights are stored in half precision; it computes in single precision.",)
    onnx.save(model, path)
    if wanted.precision == "int8":
        _quantise(path, wanted.calibration)
        notes = (
            "Weights (per channel) and activations are 8 bits (QDQ); 7 of a weight's are used.",
        )
    return Written(path, *ports(wanted, dynamic, "uint8"), dynamic=dynamic, notes=notes)


def to_onnx(wanted: Wanted) -> tuple[onnx.ModelProto, str]:
    """Return the network in single precision, and what of its input may vary.

    Raises
    ------
    OutputError
        If an operation has no counterpart.
    """
    program, dynamic = write_down_varying(wanted, Graph(wanted.bundle.segmenter))
    try:
        with quiet():
            made = torch.onnx.export(
                program,
                dynamo=True,
                optimize=True,
                verbose=False,
                input_names=["image"],
                output_names=["probabilities"],
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise OutputError(
            f"torch.onnx cannot translate this network: {str(error).splitlines()[0]}."
        ) from error
    if made is None:
        raise OutputError("torch.onnx returned no program; please report it with the bundle.")
    model = made.model_proto
    for one in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    ):
        one.ClearField("metadata_props")  # where in whose files each operation was called
        one.ClearField("doc_string")
    return model, dynamic


def start(path: Path) -> Predict:
    """Open an ONNX file with ONNX Runtime on the CPU."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def predict(tiles: NDArray[np.uint8]) -> Probs:
        probabilities = np.asarray(session.run(None, {"image": tiles})[0])
        return probabilities if probabilities.ndim == 4 else probabilities[:, :, None, None]

    return predict


def _halve(model: onnx.ModelProto) -> None:
    """Store large weights in half precision, each with a cast back, which runtimes do once."""
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < _SMALLEST:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _quantise(path: Path, tiles: NDArray[np.uint8]) -> None:
    single = path.rename(path.with_suffix(".fp32.onnx"))
    with quiet():
        quantize_static(
            single,
            path,
            _Tiles(tiles),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTISED),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # x86 without VNNI adds two products in 16 bits: weights use 7
        )
    single.unlink()


class _Tiles(CalibrationDataReader):
    """Hands out tiles one by one, as ONNX Runtime wants them."""

    def __init__(self, tiles: NDArray[np.uint8]) -> None:
        self._left: Iterator[NDArray[np.uint8]] = iter(tiles)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:  # type: ignore[override]  # it says dict and means None at the end
        """Return the next input, None after the last."""
        tile = next(self._left, None)
        return None if tile is None else {"image": tile[None]}


FORMAT = Format(convert, start, ("onnx", "onnxscript", "onnxruntime"))
