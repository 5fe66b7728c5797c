"""Evaluate a Core ML program without Core ML: its operations one by one, by PyTorch.

Core ML runs on Apple's systems only. What a converter gets wrong (a weight, a layout, a padding)
shows in its program as well, so that the program can be compared where it cannot be run.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Values = Mapping[str, Any]
"""An operation's inputs by name: tensors, plain values, or absent."""


class UnknownOperationError(Exception):
    """An operation that is not evaluated here."""


def evaluate(program: Any, inputs: Mapping[str, Tensor]) -> list[Tensor]:  # noqa: ANN401 - coremltools has no types
    """Run the function "main" of a MIL program.

    Parameters
    ----------
    program : coremltools.converters.mil.Program
    inputs : dict of str to Tensor

    Returns
    -------
    list of Tensor
        The outputs, in order.

    Raises
    ------
    UnknownOperationError
        Naming the operation that has no counterpart here.
    """
    function = program.functions["main"]
    known: dict[str, Any] = dict(inputs)

    def value(var: Any) -> Any:  # noqa: ANN401 - a tensor, a number, a text
        if isinstance(var, list | tuple):
            return [value(one) for one in var]
        if var is None:
            return None
        return known[var.name] if var.name in known else _constant(var)

    for operation in function.operations:
        if operation.op_type == "const":
            continue
        if operation.op_type not in _OPERATIONS:
            raise UnknownOperationError(operation.op_type)
        given = {name: value(var) for name, var in operation.inputs.items()}
        result = _OPERATIONS[operation.op_type](given)
        results = result if isinstance(result, list | tuple) else [result]
        for var, one in zip(operation.outputs, results, strict=True):
            known[var.name] = one
    return [value(var) for var in function.outputs]


def operations(program: Any) -> dict[str, int]:  # noqa: ANN401 - coremltools has no types
    """Count the operations of "main" by name, constants apart."""
    counts: dict[str, int] = {}
    for operation in program.functions["main"].operations:
        if operation.op_type != "const":
            counts[operation.op_type] = counts.get(operation.op_type, 0) + 1
    return counts


def _constant(var: Any) -> Any:  # noqa: ANN401
    held = var.val
    if isinstance(held, np.ndarray) and held.ndim:
        return torch.from_numpy(np.ascontiguousarray(held))
    return held.item() if isinstance(held, np.generic | np.ndarray) else held


def _ints(value: Tensor | None, otherwise: list[int]) -> list[int]:
    return otherwise if value is None else [int(one) for one in value]


def _padded(x: Tensor, given: Values, spatial: int) -> Tensor:
    """Pad as a convolution's or pooling's `pad_type` says, beforehand."""
    if given.get("pad_type", "valid") == "valid":
        return x
    if given["pad_type"] != "custom":
        raise UnknownOperationError(f"pad_type {given['pad_type']}")
    before_after = _ints(given.get("pad"), [0] * (2 * spatial))
    return functional.pad(x, _torch_order(before_after))


def _torch_order(pads: list[int]) -> list[int]:
    """First axis first, as MIL has it -> last axis first, as torch has it."""
    pairs = [pads[index : index + 2] for index in range(0, len(pads), 2)]
    return [one for pair in reversed(pairs) for one in pair]


def _conv(given: Values) -> Tensor:
    x, weight = given["x"], given["weight"]
    return functional.conv2d(
        _padded(x, given, 2),
        weight.to(x.dtype),
        given.get("bias"),
        _ints(given.get("strides"), [1, 1]),
        0,
        _ints(given.get("dilations"), [1, 1]),
        int(given.get("groups") or 1),
    )


def _conv_transpose(given: Values) -> Tensor:
    x, weight, strides = given["x"], given["weight"], _ints(given.get("strides"), [1, 1])
    full = functional.conv_transpose2d(
        x, weight.to(x.dtype), given.get("bias"), strides, groups=int(given.get("groups") or 1)
    )
    custom = given.get("pad_type", "valid") == "custom"
    top, bottom, left, right = _ints(given.get("pad"), [0] * 4) if custom else [0] * 4
    return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]


def _max_pool(given: Values) -> Tensor:
    sizes = _ints(given["kernel_sizes"], [])
    x = given["x"]
    if given.get("pad_type") == "custom":
        x = functional.pad(x, _torch_order(_ints(given["pad"], [])), value=float("-inf"))
    return functional.max_pool2d(
        x, sizes, _ints(given.get("strides"), sizes), ceil_mode=bool(given.get("ceil_mode"))
    )


def _avg_pool(given: Values) -> Tensor:
    sizes = _ints(given["kernel_sizes"], [])
    if given.get("pad_type") == "custom" and any(_ints(given["pad"], [])):
        raise UnknownOperationError("avg_pool with padding")
    return functional.avg_pool2d(given["x"], sizes, _ints(given.get("strides"), sizes))


def _pad(given: Values) -> Tensor:
    modes = {"constant": "constant", "replicate": "replicate", "reflect": "reflect"}
    mode, pads = given.get("mode", "constant"), _ints(given["pad"], [])
    while mode != "constant" and len(pads) > 4 and pads[:2] == [0, 0]:
        pads = pads[2:]
    options = {"value": given.get("constant_val") or 0.0} if mode == "constant" else {}
    return functional.pad(given["x"], _torch_order(pads), mode=modes[mode], **options)


def _slice(given: Values) -> Tensor:
    x = given["x"]
    rank = x.ndim
    begin, end = _ints(given["begin"], []), _ints(given["end"], [])
    step = _ints(given.get("stride"), [1] * rank)
    masks = {
        name: [bool(one) for one in given[name]] if given.get(name) is not None else [False] * rank
        for name in ("begin_mask", "end_mask", "squeeze_mask")
    }
    index: list[Any] = []
    for axis in range(rank):
        if masks["squeeze_mask"][axis]:
            index.append(begin[axis])
            continue
        first = None if masks["begin_mask"][axis] else begin[axis]
        last = None if masks["end_mask"][axis] else end[axis]
        index.append(slice(first, last, step[axis]))
    return x[tuple(index)]


def _split(given: Values) -> list[Tensor]:
    axis = int(given["axis"])
    if given.get("split_sizes") is not None:
        return list(given["x"].split(_ints(given["split_sizes"], []), dim=axis))
    return list(given["x"].chunk(int(given["num_splits"]), dim=axis))


def _upsample(mode: str) -> Callable[[Values], Tensor]:
    def upsample(given: Values) -> Tensor:
        x = given["x"]
        factors = given.get("scale_factor_height", 1), given.get("scale_factor_width", 1)
        size = [round(float(f) * side) for f, side in zip(factors, x.shape[2:], strict=True)]
        align = {"align_corners": bool(given.get("align_corners", True))}
        return functional.interpolate(x, size, mode=mode, **({} if mode == "nearest" else align))

    return upsample


def _resize_bilinear(given: Values) -> Tensor:
    kinds = {"STRICT_ALIGN_CORNERS": True, "UNALIGN_CORNERS": False}
    mode = given.get("sampling_mode", "DEFAULT")
    if mode not in kinds:
        raise UnknownOperationError(f"resize_bilinear with sampling_mode {mode}")
    size = [int(given["target_size_height"]), int(given["target_size_width"])]
    return functional.interpolate(given["x"], size, mode="bilinear", align_corners=kinds[mode])


def _cast(given: Values) -> Tensor:
    kinds = {
        "fp16": torch.float16, "fp32": torch.float32, "int32": torch.int32,
        "bool": torch.bool, "uint8": torch.uint8,
    }  # fmt: skip
    return given["x"].to(kinds[given["dtype"]])


def _affine(given: Values) -> Tensor:
    """Weights of 8 bits, with scale and zero point along one axis."""
    data, axis = given["quantized_data"], int(given["axis"])
    shape = [1] * data.ndim
    shape[axis] = -1

    def along(value: Any) -> Any:  # noqa: ANN401 - a tensor or a number
        return value.reshape(shape) if isinstance(value, Tensor) and value.ndim else value

    zero = given.get("zero_point")
    moved = data.float() - (0 if zero is None else along(zero))
    return moved * along(given["scale"])


def _matmul(given: Values) -> Tensor:
    x, y = given["x"], given["y"]
    x = x.mT if given.get("transpose_x") else x
    return x @ (y.mT if given.get("transpose_y") else y)


def _reduce(name: str) -> Callable[[Values], Tensor]:
    def reduce(given: Values) -> Tensor:
        x, keep = given["x"], bool(given.get("keep_dims"))
        axes = _ints(given.get("axes"), list(range(x.ndim)))
        if name != "prod":
            return getattr(x, name)(dim=axes, keepdim=keep)
        for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
            x = x.prod(dim=axis, keepdim=keep)
        return x

    return reduce


_OPERATIONS: dict[str, Callable[[Values], Any]] = {
    "add": lambda v: v["x"] + v["y"],
    "sub": lambda v: v["x"] - v["y"],
    "mul": lambda v: v["x"] * v["y"],
    "real_div": lambda v: v["x"] / v["y"],
    "identity": lambda v: v["x"],
    "relu": lambda v: v["x"].relu(),
    "thresholded_relu": lambda v: functional.threshold(v["x"], float(v["alpha"]), 0.0),
    "leaky_relu": lambda v: functional.leaky_relu(v["x"], float(v["alpha"])),
    "sigmoid_hard": lambda v: (float(v["alpha"]) * v["x"] + float(v["beta"])).clamp(0, 1),
    "relu6": lambda v: v["x"].clamp(0, 6),
    "sigmoid": lambda v: v["x"].sigmoid(),
    "silu": lambda v: functional.silu(v["x"]),
    "tanh": lambda v: v["x"].tanh(),
    "gelu": lambda v: functional.gelu(v["x"]),
    "clip": lambda v: v["x"].clamp(float(v["alpha"]), float(v["beta"])),
    "softmax": lambda v: v["x"].softmax(dim=int(v["axis"])),
    "concat": lambda v: torch.cat(v["values"], dim=int(v["axis"])),
    "reshape": lambda v: v["x"].reshape(_ints(v["shape"], [])),
    "transpose": lambda v: v["x"].permute(_ints(v["perm"], [])),
    "expand_dims": lambda v: _expanded(v["x"], _ints(v["axes"], [])),
    "squeeze": lambda v: v["x"].squeeze(tuple(_ints(v["axes"], []))),
    "linear": lambda v: functional.linear(v["x"], v["weight"].to(v["x"].dtype), v.get("bias")),
    "matmul": _matmul,
    "batch_norm": lambda v: functional.batch_norm(
        v["x"], v["mean"], v["variance"], v.get("gamma"), v.get("beta"), eps=float(v["epsilon"])
    ),
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "pad": _pad,
    "pixel_shuffle": lambda v: functional.pixel_shuffle(v["x"], int(v["upscale_factor"])),
    "slice_by_index": _slice,
    "split": _split,
    "upsample_nearest_neighbor": _upsample("nearest"),
    "upsample_bilinear": _upsample("bilinear"),
    "resize_bilinear": _resize_bilinear,
    "cast": _cast,
    "constexpr_affine_dequantize": _affine,
    "reduce_mean": _reduce("mean"),
    "reduce_sum": _reduce("sum"),
    "reduce_prod": _reduce("prod"),
    "reduce_max": _reduce("amax"),
}


def _expanded(x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axes):
        x = x.unsqueeze(axis)
    return x
