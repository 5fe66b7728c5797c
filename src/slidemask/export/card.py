"""The card of an export, for people, and its description, for programs."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from slidemask.base.record import machine, versions
from slidemask.export.formats import FORMATS, find_format
from slidemask.export.parity import LIMITS, Parity
from slidemask.export.wanted import Port, Wanted, Written

_CARD = """\
# {name} as {format}

Exported from the bundle {name} (digest {digest}). Normalisation, padding and softmax are inside.

**Research use only. Not for diagnosis.**

| | |
| --- | --- |
| File | `{file}`, {megabytes:.2f} MB |
| Numbers | {precision} |
| Input | `{image[name]}`: {image[kind]} {image[shape]}, {image[meaning]} |
| Output | `{probabilities[name]}`: {probabilities[kind]} {probabilities[shape]}, \
{probabilities[meaning]} |
| May vary | {dynamic} |
| Classes | {classes} |
| Tiles | {tiling} |
| Made with | {versions} |

## Against PyTorch

{parity[tiles]} tiles; PyTorch computed in single precision on the CPU.

| figure | value | allowed |
| --- | --- | --- |
| largest difference of a probability | {parity[largest]:.2g} | {limits.largest:g} |
| mean difference | {parity[mean]:.2g} | {limits.mean:g} |
| pixels (or tiles, of a network that votes) of the same class | {parity[agreement]:.5f} | \
{limits.agreement:g} |
| ms for a tile of {size} px | {ms} | |
| ms, PyTorch in single precision | {parity[torch_ms_per_tile]:.1f} | |

Times are of {machine}.

## To know

{notes}
"""


def describe(
    wanted: Wanted, target: str, written: Written, *, parity: Parity, megabytes: float
) -> dict[str, Any]:
    """Return `export.json`: what was made, how far it agrees, with which versions."""
    form = find_format(target)
    made = versions() | {name: _version(name) for name in form.packages}
    figures = asdict(parity)
    if not form.runs_here:
        figures["ms_per_tile"] = None
    return {
        "file": written.path.name,
        "format": target,
        "precision": wanted.precision,
        "size": list(wanted.size),
        "dynamic": written.dynamic,
        "image": _port(written.image),
        "probabilities": _port(written.probabilities),
        "metadata": wanted.metadata,
        "megabytes": round(megabytes, 3),
        "parity": figures,
        "calibration_tiles": len(wanted.calibration),
        "ran_here": form.runs_here,
        "notes": list(written.notes),
        "versions": made | (written.versions or {}),
        "machine": machine(),
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_card(about: dict[str, Any]) -> str:
    """Return the card that `export.json` makes, as Markdown."""
    told, parity = about["metadata"], about["parity"]
    notes = list(about["notes"])
    if not about["ran_here"]:
        notes.insert(0, "Not run: its runtime is not on this machine.")
    if about["calibration_tiles"]:
        notes.append(f"{about['calibration_tiles']} other tiles gave the ranges of activations.")
    ms = parity["ms_per_tile"]
    return _CARD.format(
        **{key: about[key] for key in ("file", "megabytes", "precision", "dynamic", "machine")},
        name=told["name"],
        digest=told["digest"],
        format=FORMATS[about["format"]],
        image=_shown(about["image"]),
        probabilities=_shown(about["probabilities"]),
        classes=", ".join(one["name"] for one in json.loads(told["classes"])),
        tiling=", ".join(f"{key} {value}" for key, value in json.loads(told["tiling"]).items()),
        versions=", ".join(f"{key} {value}" for key, value in about["versions"].items()),
        parity=parity,
        limits=LIMITS[about["precision"]],
        size=" × ".join(map(str, about["size"])),
        ms="not run" if ms is None else f"{ms:.1f}",
        notes="\n".join(f"- {note}" for note in notes) or "Nothing more.",
    )


def _port(port: Port) -> dict[str, Any]:
    return {**port._asdict(), "shape": list(port.shape)}


def _shown(port: dict[str, Any]) -> dict[str, Any]:
    return port | {"shape": "(" + ", ".join(map(str, port["shape"])) + ")"}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
