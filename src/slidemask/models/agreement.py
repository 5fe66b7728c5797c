"""How far a converted network was found to be off on this machine, kept beside it."""

import json
from contextlib import suppress
from pathlib import Path

from slidemask.base.errors import OutputError
from slidemask.base.files import write_json
from slidemask.base.settings import digest
from slidemask.models.compiled import sum_of
from slidemask.models.machine import capabilities


def known(network: Path, numbers: str) -> float | None:
    """Return the difference that was kept for these numbers and this processor, if any was.

    Of a file that has changed since, nothing is known.

    >>> known(Path("nowhere", "model.xml"), "bf16") is None
    True
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(_path(network, numbers).read_text(encoding="utf-8"))
        return float(told["off"]) if told["of"] == sum_of(network) else None
    return None


def keep(network: Path, numbers: str, off: float) -> None:
    """Keep a difference for later processes; a folder that cannot be written to keeps none."""
    with suppress(OSError, OutputError):
        told = {"numbers": numbers, "off": off, "of": sum_of(network)}
        write_json(_path(network, numbers), told)


def _path(network: Path, numbers: str) -> Path:
    return network.parent / f"agrees-{numbers}-{digest(capabilities())}.json"
