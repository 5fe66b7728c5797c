"""Torch's own first step: the graph written down as operations, with sizes that may vary."""

from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from slidemask.base.errors import OutputError
from slidemask.export.quiet import quiet
from slidemask.export.wanted import Port, Wanted
from slidemask.models.graph import Graph

_VARYING = {
    "batch, height and width": (0, 1, 2),
    "batch": (0,),
    "nothing": (),
}


def write_down(graph: Graph, example: torch.Tensor) -> ExportedProgram:
    """Write the graph down for pictures of exactly this shape.

    Raises
    ------
    OutputError
        If something in the network cannot be written down.
    """
    return _write_down(graph, example, ())


def write_down_varying(wanted: Wanted, graph: Graph) -> tuple[ExportedProgram, str]:
    """Write the graph down for uint8 (N, H, W, C) of as many sizes as the network allows.

    Returns
    -------
    ExportedProgram
    str
        What may vary.
    """
    example = torch.zeros((1 if wanted.fixed else 2, *shape_of(wanted)[1:]), dtype=torch.uint8)
    for dynamic in _choices(wanted):
        try:
            return _write_down(graph, example, _VARYING[dynamic]), dynamic
        except OutputError:
            if dynamic == "nothing":
                raise
            example = example[:1] if dynamic == "batch" else example
    raise AssertionError("the last choice returns or raises")


def shape_of(wanted: Wanted, *, channels_first: bool = False) -> tuple[int, ...]:
    """Return the shape of one tile as a batch."""
    rows, columns = wanted.size
    channels = wanted.bundle.segmenter.channels
    return (1, channels, rows, columns) if channels_first else (1, rows, columns, channels)


def ports(
    wanted: Wanted,
    dynamic: str,
    kind: str,
    *,
    channels_first: bool = False,
    classes_last: bool = False,
) -> tuple[Port, Port]:
    """Return input and output of the graph."""
    segmenter = wanted.bundle.segmenter
    rows: int | str
    columns: int | str
    batch: int | str
    rows, columns = wanted.size
    batch = "batch" if "batch" in dynamic else 1
    if "height" in dynamic:
        rows, columns = "height", "width"
    meaning = "red, green, blue, 0..255" + (
        "; then those of the surroundings" if segmenter.channels == 6 else ""
    )
    colours, classes = segmenter.channels, segmenter.classes + 1
    seen = (batch, colours, rows, columns) if channels_first else (batch, rows, columns, colours)
    if segmenter.votes:
        said: tuple[int | str, ...] = (batch, classes)
    elif classes_last:
        said = (batch, rows, columns, classes)
    else:
        said = (batch, classes, rows, columns)
    return (
        Port("image", kind, seen, meaning),
        Port("probabilities", "float32", said, "of each class, background first; they add up to 1"),
    )


def _choices(wanted: Wanted) -> tuple[str, ...]:
    """Return what may vary, the most first, of what is worth a try."""
    if wanted.fixed:
        return ("nothing",)
    segmenter = wanted.bundle.segmenter
    if segmenter.votes or segmenter.context is not None:  # the tile's side is part of both
        return ("batch", "nothing")
    return ("batch, height and width", "batch", "nothing")


def _write_down(graph: Graph, example: torch.Tensor, axes: tuple[int, ...]) -> ExportedProgram:
    dynamic: Any = (dict.fromkeys(axes, Dim.DYNAMIC),) if axes else None
    if 1 not in axes:  # rows, and columns with them, stay as they are
        graph.see_only(*(example.shape[2:] if graph.channels_first else example.shape[1:3]))
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(graph, (example,), dynamic_shapes=dynamic)
    except Exception as error:
        raise OutputError(
            f"torch.export cannot write this network down for pictures {tuple(example.shape)}: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}."
        ) from error
