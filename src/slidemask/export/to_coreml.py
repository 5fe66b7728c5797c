"""Core ML: a picture in, for Apple's devices; converted anywhere, run on Apple's systems only."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from slidemask.base.errors import OutputError
from slidemask.base.types import Probs
from slidemask.export.exported import ports, shape_of, write_down
from slidemask.export.mil import UnknownOperationError, evaluate, operations
from slidemask.export.parity import one_by_one
from slidemask.export.quiet import quiet
from slidemask.export.wanted import Format, Port, Predict, Wanted, Written
from slidemask.models.graph import Graph

with quiet():  # it warns of what it will not do
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load as load_program
    from coremltools.optimize.coreml import (
        OpLinearQuantizerConfig,
        OptimizationConfig,
        linear_quantize_weights,
    )

_PREVIEW = "com.apple.coreml.model.preview"
_TARGET = coremltools.target.macOS13
"""And iOS 16, its contemporary."""
_NOTES = {
    "fp32": ("Computes in single precision, which Apple's Neural Engine does not: for it, fp16.",),
    "fp16": ("Weights and arithmetic are in half precision, which Apple's Neural Engine takes.",),
    "int8": (
        "Weights are 8 bits, per channel; activations are in half precision, since Core ML learns "
        "their ranges on Apple's systems only.",
    ),
}


def convert(wanted: Wanted, folder: Path) -> Written:
    """Write the network as .mlpackage."""
    graph = Graph(wanted.bundle.segmenter, channels_first=True)
    program = write_down(graph, torch.zeros(shape_of(wanted, channels_first=True)))
    with quiet():
        try:
            model: Any = _converted(program, wanted)
        except (NotImplementedError, ValueError, RuntimeError) as error:
            raise OutputError(
                f"coremltools {coremltools.__version__} cannot convert this network: {error}."
            ) from error
        if wanted.precision == "int8":
            model = linear_quantize_weights(
                model, OptimizationConfig(OpLinearQuantizerConfig(mode="linear_symmetric"))
            )
        _describe(model, wanted)
        path = folder / f"{wanted.stem}.mlpackage"
        model.save(str(path))
    image, probabilities = ports(wanted, "nothing", "float32", channels_first=True)
    if wanted.bundle.segmenter.channels == 3:
        image = image._replace(kind="RGB picture")
    found = _checked(path, image, probabilities, wanted)
    return Written(path, image, probabilities, notes=(*_NOTES[wanted.precision], found))


def start(path: Path) -> Predict:
    """Evaluate the file's program by PyTorch; Core ML itself runs on Apple's systems only."""
    program = _program(path)

    def predict(tiles: NDArray[np.uint8]) -> Probs:
        image = torch.from_numpy(tiles).permute(0, 3, 1, 2).float()
        try:
            with torch.inference_mode():
                (probabilities,) = evaluate(program, {"image": image})
        except UnknownOperationError as error:
            raise OutputError(
                f"The Core ML program has an operation, {error}, that cannot be evaluated here, so "
                "that it cannot be compared with PyTorch. Please report it with the bundle."
            ) from error
        array = probabilities.float().numpy()
        return array if array.ndim == 4 else array[:, :, None, None]

    return one_by_one(predict)


def _converted(program: ExportedProgram, wanted: Wanted) -> Any:  # noqa: ANN401 - coremltools has no types
    precision = coremltools.precision
    shape = shape_of(wanted, channels_first=True)
    if wanted.bundle.segmenter.channels == 3:
        layout = coremltools.colorlayout.RGB
        image = coremltools.ImageType(name="image", shape=shape, color_layout=layout)
    else:
        image = coremltools.TensorType(name="image", shape=shape, dtype=np.float32)
    return coremltools.convert(
        _understood(program.run_decompositions({})),
        inputs=[image],
        outputs=[coremltools.TensorType(name="probabilities", dtype=np.float32)],
        minimum_deployment_target=_TARGET,
        compute_precision=precision.FLOAT32 if wanted.precision == "fp32" else precision.FLOAT16,
        skip_model_load=True,
    )


def _understood(program: ExportedProgram) -> ExportedProgram:
    """Write operations as coremltools 9 knows them.

    It knows none that only give a value another name, and no pooling whose step is left out
    because it is the window's side.
    """
    aten = torch.ops.aten
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.target in {aten.max_pool2d.default, aten.avg_pool2d.default}:
            picture, window, *rest = node.args
            node.args = (picture, window, *(rest or [window]))
    program.graph_module.recompile()
    return program


def _describe(model: Any, wanted: Wanted) -> None:  # noqa: ANN401 - coremltools has no types
    """Write classes and origin; Xcode's preview then shows masks in the classes' colours."""
    classes = json.loads(wanted.metadata["classes"])
    told = {f"slidemask.{key}": value for key, value in wanted.metadata.items()}
    if not wanted.bundle.segmenter.votes:
        told[f"{_PREVIEW}.type"] = "imageSegmenter"
        told[f"{_PREVIEW}.params"] = json.dumps(
            {
                "labels": [one["name"] for one in classes],
                "colors": ["#{:02X}{:02X}{:02X}".format(*one["colour"]) for one in classes],
            }
        )
    model.user_defined_metadata.update(told)
    model.short_description = f"{wanted.metadata['name']}. {wanted.metadata['caution']}"
    model.version = wanted.metadata["digest"]
    model.license = wanted.metadata.get("licence", "")


def _checked(path: Path, image: Port, probabilities: Port, wanted: Wanted) -> str:
    """Read the file again; return in words what is in it.

    Raises
    ------
    OutputError
        If it does not hold the input, output and metadata that it should.
    """
    with quiet():
        model = coremltools.models.MLModel(str(path), skip_model_load=True)
    spec = model.get_spec()
    (into,), (out,) = spec.description.input, spec.description.output
    rows, columns = wanted.size
    taken = (
        (into.type.imageType.height, into.type.imageType.width)
        if image.kind == "RGB picture"
        else tuple(into.type.multiArrayType.shape)[2:]
    )
    said = tuple(out.type.multiArrayType.shape)
    held = dict(spec.description.metadata.userDefined)
    if (
        (into.name, out.name) != (image.name, probabilities.name)
        or taken != (rows, columns)
        or said != probabilities.shape
        or held.get("slidemask.digest") != wanted.metadata["digest"]
    ):
        raise OutputError(
            f"coremltools wrote input {into.name} {taken} and output {out.name} {said}; "
            f"wanted image {wanted.size} and probabilities {probabilities.shape}."
        )
    counts = ", ".join(f"{count} {name}" for name, count in operations(_program(path)).items())
    return (
        "Input, output and metadata of the file were read back, and its program evaluated "
        f"operation by operation with PyTorch: {counts}."
    )


def _program(path: Path) -> Any:  # noqa: ANN401 - coremltools has no types
    with quiet():
        model = coremltools.models.MLModel(str(path), skip_model_load=True)
        spec = model.get_spec()
        return load_program(spec, spec.specificationVersion, model.weights_dir or "")


FORMAT = Format(convert, start, ("coremltools",), runs_here=False)
