"""Where a network runs, and in which numbers."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from slidemask.base.errors import SettingsError
from slidemask.models.machine import capabilities, surely_no_gpu

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Numbers = Literal["fp32", "bf16", "fp16"]
LANES = 2
"""Threads that keep a CUDA device busy: one computes while the other copies (`models.lane`)."""
_TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class DeviceName(str):
    """Name of a device, which knows its type as a `torch.device` does; PyTorch takes it as a name.

    Examples
    --------
    >>> DeviceName("cuda:1").type, str(DeviceName("cuda:1"))
    ('cuda', 'cuda:1')
    """

    __slots__ = ()

    @property
    def type(self) -> str:
        """The kind of device."""
        return self.partition(":")[0]


Device: TypeAlias = "DeviceName | torch.device"
CPU = DeviceName("cpu")


def find_device(name: str = "auto") -> Device:
    """Return what `choose_device` does, without importing PyTorch where the processor it is."""
    if name == "cpu" or (name == "auto" and surely_no_gpu()):
        return CPU
    return choose_device(name)


def choose_device(name: str = "auto") -> "torch.device":
    """Return the device `name` stands for; "auto" takes CUDA, then Apple's GPU, then the CPU.

    Raises
    ------
    SettingsError
        If the device is not there.
    """
    import torch

    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    if "," in name:
        raise SettingsError(f"Devices {name!r}: only `segment` takes several; name one.")
    if not available.get(name.split(":", maxsplit=1)[0], False):
        there = [kind for kind, here in available.items() if here]
        raise SettingsError(f"Device {name!r} is not there. This machine has: {', '.join(there)}.")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"Device {name!r} is not understood; write e.g. cuda:1.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"Device {name!r} is not there. This machine has cuda:0 to "
            f"cuda:{torch.cuda.device_count() - 1}."
        )
    return device


def choose_devices(names: str = "auto") -> list[str]:
    """Return the devices that `names` stands for, each for a process of its own.

    "cuda" is every CUDA device, "cuda:0,cuda:1" these two, "cpu,cpu" two processes that share the
    cores; "auto" is one device.

    Raises
    ------
    SettingsError
        If one is not there, or a GPU is named twice.

    Examples
    --------
    >>> choose_devices("cpu"), choose_devices("cpu, cpu")
    (['cpu'], ['cpu', 'cpu'])
    """
    if names == "cuda" and (count := _cuda_count()) > 1:
        return [f"cuda:{number}" for number in range(count)]
    devices = [str(find_device(name.strip())) for name in names.split(",")]
    twice = {name for name in devices if devices.count(name) > 1 and name != "cpu"}
    if twice:
        raise SettingsError(
            f"Device {', '.join(sorted(twice))} was named twice in {names!r}; name each GPU once."
        )
    return devices


def reading_threads(devices: Sequence[str]) -> int:
    """Return how many threads of each process read: on processors the network needs the cores."""
    if devices[0] == "cpu":
        return 2
    return max(2, min(8, (os.cpu_count() or 2) // len(devices)))


def numbers_on(device: Device, precision: Precision = "auto") -> Numbers:
    """Return the numbers in which a network computes on a device.

    "auto" takes bfloat16 where processor or GPU multiplies in it, else half precision on CUDA,
    else single precision: on a CPU without such instructions bfloat16 is slower, not faster.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        import torch

        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    native = device.type == "cpu" and capabilities().get("avx512_bf16", False)
    return "bf16" if native else "fp32"


def number_name(device: Device, precision: Precision = "auto") -> str:
    """Return what `number_type` is called.

    >>> number_name(CPU, "bf16")
    'torch.bfloat16'
    """
    return f"torch.{_TYPES[numbers_on(device, precision)]}"


def number_type(device: Device, precision: Precision = "auto") -> "torch.dtype":
    """Return the numbers of `numbers_on` as PyTorch's."""
    import torch

    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return named[numbers_on(device, precision)]


def _cuda_count() -> int:
    import torch

    return torch.cuda.device_count()
