"""ExecuTorch: float (1, 3, H, W) of 0..255 in, XNNPACK inside, for Android and small boards."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from slidemask.base.errors import OutputError
from slidemask.base.types import Probs
from slidemask.export.exported import ports, shape_of, write_down
from slidemask.export.parity import one_by_one
from slidemask.export.quiet import quiet
from slidemask.export.wanted import Format, Predict, Wanted, Written
from slidemask.models.doubled import with_doubling
from slidemask.models.graph import Graph

with quiet():  # they warn of their own ways
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

_NOTES = {
    "fp32": (),
    "fp16": (
        "It computes in half precision: slower on processors without such arithmetic. XNNPACK "
        "stores the weights of convolutions in single precision all the same, so that the file is "
        "hardly smaller.",
    ),
    "int8": ("Weights and activations are 8 bits, weights per channel.",),
}


def convert(wanted: Wanted, folder: Path) -> Written:
    """Write the network as a .pte file for XNNPACK."""
    graph = Graph(wanted.bundle.segmenter, channels_first=True, half=wanted.precision == "fp16")
    if wanted.precision != "int8":  # whose ranges are learnt layer by layer
        with_doubling(graph.segmenter, torch.zeros(shape_of(wanted)))  # XNNPACK cannot double
    program = write_down(graph, torch.zeros(shape_of(wanted, channels_first=True)))
    with quiet():
        if wanted.precision == "int8":
            program = _quantised(program, _channels_first(wanted.calibration))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        blob = lowered.to_executorch().buffer
    path = folder / f"{wanted.stem}.pte"
    path.write_bytes(blob)
    return Written(
        path,
        *ports(wanted, "nothing", "float32", channels_first=True),
        notes=(*_NOTES[wanted.precision], "A .pte file holds no metadata; export.json has them."),
    )


def start(path: Path) -> Predict:
    """Open a .pte file with ExecuTorch's own runtime."""
    method = Runtime.get().load_program(path).load_method("forward")
    if method is None:
        raise OutputError(f"ExecuTorch finds no method in {path}.")

    def predict(tiles: NDArray[np.uint8]) -> Probs:
        (probabilities,) = method.execute([_channels_first(tiles)])
        array = probabilities.clone().numpy()  # the next call writes to the same memory
        return array if array.ndim == 4 else array[:, :, None, None]

    return one_by_one(predict)


def _channels_first(tiles: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(tiles).permute(0, 3, 1, 2).float().contiguous()


def _quantised(program: ExportedProgram, tiles: torch.Tensor) -> ExportedProgram:
    quantiser = XNNPACKQuantizer().set_global(
        get_symmetric_quantization_config(is_per_channel=True)
    )
    prepared = prepare_pt2e(program.module(), quantiser)
    for tile in tiles:
        prepared(tile[None])
    return torch.export.export(convert_pt2e(prepared), (tiles[:1],))


FORMAT = Format(convert, start, ("executorch", "torchao"))
