"""Where a network runs, and in which numbers."""

from typing import Literal

import torch

from slidemask.base.errors import SettingsError

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device `name` stands for; "auto" takes CUDA, then Apple's GPU, then the CPU.

    Raises
    ------
    SettingsError
        If the device is not there.
    """
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    if not available.get(name.split(":", maxsplit=1)[0], False):
        there = [kind for kind, here in available.items() if here]
        raise SettingsError(f"Device {name!r} is not there. This machine has: {', '.join(there)}.")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"Device {name!r} is not understood; write e.g. cuda:1.") from error


def number_type(device: torch.device, precision: Precision = "auto") -> torch.dtype:
    """Return the numbers in which a network computes on a device.

    "auto" takes bfloat16 where processor or GPU multiplies in it, else half precision on CUDA,
    else single precision: on a CPU without such instructions bfloat16 is slower, not faster.
    """
    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision != "auto":
        return named[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    native = device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.bfloat16 if native else torch.float32
