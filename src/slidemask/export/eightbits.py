"""A network in 8 bits as `segment` uses it, learnt by NNCF from tiles."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidemask.export.quiet import quiet
from slidemask.models.bundle import Bundle
from slidemask.models.converted import converted
from slidemask.models.int8 import GRAPH
from slidemask.models.unreported import import_openvino

FIRST = 10
"""Convolutions at the beginning, whose errors all others multiply."""
LEFT = ("nothing", "depthwise convolutions", "depthwise and the first convolutions")
"""What may stay out of 8 bits, least first. Depthwise convolutions cost little time and, with
numbers of its own for each channel, lose most (measured on `glands`)."""


def in_8_bits(
    bundle: Bundle, calibration: NDArray[np.uint8], left: str
) -> tuple[bytes, bytes] | None:
    """Return OpenVINO's .xml and .bin of a network in 8 bits.

    `find_format("openvino")` says what to install where packages are missing.

    Parameters
    ----------
    bundle : Bundle
        On the CPU.
    calibration : (N, side, side, 3 or 6) uint8
        Tiles of the bundle's side, from which ranges of activations are learnt.
    left : str
        One of `LEFT`.

    Returns
    -------
    (bytes, bytes) or None
        None where there is nothing of this kind to leave out.
    """
    os.environ.setdefault("NNCF_CI", "1")  # so that it does not report its use
    with quiet(), tempfile.TemporaryDirectory(prefix="slidemask-") as name:
        openvino = import_openvino()
        model = openvino.Core().read_model(converted(bundle, as_trained=True))
        layers = [(op.get_friendly_name(), op.get_type_name()) for op in model.get_ordered_ops()]
        out = left_out(layers, left)
        if out is None:
            return None
        import nncf

        model = nncf.quantize(
            model,
            nncf.Dataset([tile[None] for tile in calibration]),
            preset=nncf.QuantizationPreset.MIXED,  # activations of both signs use all of 8 bits
            subset_size=len(calibration),
            ignored_scope=nncf.IgnoredScope(names=out) if out else None,
        )
        openvino.save_model(model, Path(name) / GRAPH[0], compress_to_fp16=False)
        del model
        xml, weights = ((Path(name) / file).read_bytes() for file in GRAPH)
        return xml, weights


def left_out(layers: Sequence[tuple[str, str]], left: str) -> list[str] | None:
    """Return the names of layers, given with their kinds, that stay out of 8 bits.

    >>> layers = [("a", "Convolution"), ("b", "Add"), ("c", "GroupConvolution")]
    >>> [left_out(layers, left) for left in LEFT]
    [[], ['c'], ['a', 'c']]
    >>> [left_out(layers[:2], left) for left in LEFT]
    [[], None, ['a']]
    """
    convolutions = [name for name, kind in layers if kind.endswith("Convolution")]
    wanted = {name for name, kind in layers if kind == "GroupConvolution"}
    if left == LEFT[0]:
        return []
    if left == LEFT[1] and not wanted:
        return None
    if left == LEFT[2]:
        wanted |= {*convolutions[:FIRST]}
    return [name for name in convolutions if name in wanted]
