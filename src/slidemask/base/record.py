"""What a result was made with: versions, machine, peak memory."""

import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_NAMED = (
    "slidemask",
    "torch",
    "numpy",
    "openslide-bin",
    "tifffile",
    "shapely",
    "opencv-python-headless",
    "segmentation-models-pytorch",
    "timm",
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _NAMED}


def machine() -> str:
    """Name the operating system and processor.

    >>> bool(machine())
    True
    """
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"


def peak_memory_mb() -> float:
    """Return the most memory that this process has held at once, in MB (10**6 bytes)."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # this program's own peak; getrusage includes what started it
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
