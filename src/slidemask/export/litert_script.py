"""Graph of torch.export -> .tflite; a script for an environment that has litert-torch.

    python -I litert_script.py FOLDER

FOLDER holds graph.pt2, tiles.npy and wanted.json, and gets model.tflite and versions.json.
Nothing of slidemask is imported: it need not be there.
"""

import json
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("litert-torch", "torch", "ai-edge-quantizer")


def main(folder: Path) -> None:
    """Convert what lies in `folder`."""
    torch, litert, numpy = (import_module(name) for name in ("torch", "litert_torch", "numpy"))
    wanted = json.loads((folder / "wanted.json").read_text(encoding="utf-8"))
    module = torch.export.load(folder / "graph.pt2").module()
    single = folder / "single.tflite"
    litert.convert(module, (torch.zeros(wanted["shape"]),)).export(str(single))
    result = folder / "model.tflite"
    if wanted["precision"] == "fp32":
        single.rename(result)
    else:
        tiles = numpy.load(folder / "tiles.npy")
        _quantise(single, result, wanted["precision"], tiles)
    versions = {f"{name} (converter)": version(name) for name in PACKAGES}
    (folder / "versions.json").write_text(json.dumps(versions), encoding="utf-8")


def _quantise(single: Path, result: Path, precision: str, tiles: Any) -> None:  # noqa: ANN401 - numpy's array
    quantiser = import_module("ai_edge_quantizer.quantizer").Quantizer(str(single))
    if precision == "fp16":
        quantiser.load_quantization_recipe(_half_weights())
        quantiser.quantize().export_model(str(result))
        return
    kinds = import_module("ai_edge_quantizer.qtyping").TFLOperationName
    quantiser.load_quantization_recipe(import_module("ai_edge_quantizer.recipe").static_wi8_ai8())
    for end in (kinds.INPUT, kinds.OUTPUT):  # these stay float
        quantiser.update_quantization_recipe(
            regex=".*", operation_name=end, algorithm_key="no_quantize"
        )
    (signature,) = _signatures(single)
    data = {signature[0]: [{signature[1]: tile[None].astype("float32")} for tile in tiles]}
    quantiser.quantize(quantiser.calibrate(data)).export_model(str(result))


def _half_weights() -> list[dict[str, Any]]:
    """Return the recipe that stores weights in half precision."""
    return [
        {
            "regex": ".*",
            "operation": "*",
            "algorithm_key": "float_casting",
            "op_config": {
                "weight_tensor_config": {"num_bits": 16, "dtype": "FLOAT"},
                "compute_precision": "FLOAT",
                "explicit_dequantize": True,
            },
        }
    ]


def _signatures(path: Path) -> list[tuple[str, str]]:
    """Return name and input of each signature of a .tflite file."""
    interpreter = import_module("ai_edge_litert.interpreter").Interpreter(model_path=str(path))
    signatures = interpreter.get_signature_list()
    return [(name, *about["inputs"]) for name, about in signatures.items()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
