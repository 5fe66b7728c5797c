"""What the processor can do and whether there is a GPU, found out without PyTorch where it is sure.

Importing PyTorch takes longer than all else before a converted network computes. What it says of a
processor is kept in the user's cache folder, under a digest of what the processor says of itself;
where anything is in doubt, PyTorch is imported and asked.
"""

import ctypes
import json
import os
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from slidemask.base.errors import OutputError
from slidemask.base.files import cache_folder, output_folder, write_json
from slidemask.base.settings import digest

_PROCESSOR = Path("/proc/cpuinfo")
_DESCRIBES = (
    "vendor_id", "cpu family", "model", "model name", "stepping", "flags", "Features",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision",
)  # fmt: skip
_GPU_NODES = tuple(Path("/dev") / name for name in ("nvidiactl", "nvidia0", "dxg"))
_AMD_NODE = Path("/dev/kfd")
_NO_DEVICE = 100
"""What CUDA's driver answers where there is none."""


@cache
def capabilities() -> dict[str, bool]:
    """Return what `torch.cpu.get_capabilities` says: names, and whether the processor has that.

    >>> import torch
    >>> set(capabilities()) == set(torch.cpu.get_capabilities())
    True
    """
    kept = _kept_at()
    if kept is not None and not _is_imported() and (able := _read(kept)) is not None:
        return able
    import torch

    able = {name: bool(can) for name, can in torch.cpu.get_capabilities().items()}
    if kept is not None and _read(kept) != able:
        with suppress(OSError, OutputError):  # a folder that cannot be written to keeps nothing
            write_json(output_folder(kept.parent) / kept.name, able)
    return able


def surely_no_gpu() -> bool:
    """Whether it is sure, without asking PyTorch, that it would find no GPU."""
    if _is_imported() or sys.platform == "darwin" or "rocm" in version("torch"):
        return False
    if _AMD_NODE.exists():
        return False
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return True
    driver = _cuda_driver()
    if driver is None:
        return not any(node.exists() for node in _GPU_NODES)
    return bool(driver.cuInit(0) == _NO_DEVICE)


def _is_imported() -> bool:
    return "torch" in sys.modules


def _cuda_driver() -> ctypes.CDLL | None:
    """Return the library by which CUDA's driver is called, where there is one."""
    with suppress(OSError):
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    return None


def _kept_at() -> Path | None:
    """Return where what PyTorch said of this processor is kept; None: what it is is not known."""
    try:
        lines = _PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    said = sorted({line for line in lines if line.partition(":")[0].strip() in _DESCRIBES})
    if not any(line.startswith(("flags", "Features")) for line in said):
        return None
    key = digest({"torch": version("torch"), "processor": said})
    folder = cache_folder() / "processors"
    return folder / f"{key}.json"


def _read(path: Path) -> dict[str, bool] | None:
    with suppress(OSError, ValueError):
        able = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(able, dict) and able and all(type(can) is bool for can in able.values()):
            return able
    return None
