"""How far a converted network was found to be off on this machine, kept beside it."""

import json
from contextlib import suppress
from pathlib import Path

import torch

from slidemask.base.files import write_json
from slidemask.base.settings import digest


def known(folder: Path, numbers: str) -> float | None:
    """Return the difference that was kept for these numbers and this processor, if any was.

    >>> known(Path("nowhere"), "bf16") is None
    True
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        return float(json.loads(_path(folder, numbers).read_text(encoding="utf-8"))["off"])
    return None


def keep(folder: Path, numbers: str, off: float) -> None:
    """Keep a difference for later processes; a folder that cannot be written to keeps none."""
    with suppress(OSError):
        write_json(_path(folder, numbers), {"numbers": numbers, "off": off})


def _path(folder: Path, numbers: str) -> Path:
    able = {name: bool(can) for name, can in torch.cpu.get_capabilities().items()}
    return folder / f"agrees-{numbers}-{digest(able)}.json"
