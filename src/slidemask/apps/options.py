"""Options that mean the same in every command, and how results are shown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:  # importing it loads torch, and --help should not wait for it
    from slidemask.models.backends import Name

Model = Annotated[
    str, typer.Option("--model", "-m", help="Run folder, bundle folder or zip, or a shipped model.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write to; made if needed.")]
Cohort = Annotated[Path, typer.Option("--cohort", "-c", help="Cohort CSV: slide, annotations, …")]
Mpp = Annotated[
    float | None,
    typer.Option("--mpp", help="µm per full-resolution pixel, where the file is silent or wrong."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Backend = Annotated[
    str, typer.Option(help="auto, torch, openvino, onnxruntime or int8: what computes on the CPU.")
]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Reading threads or processes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. post.threshold=0.6."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
OneSlide = Annotated[Path, typer.Argument(metavar="SLIDE", help="Slide or picture.")]

CAUTION = "Research use only. Not for diagnosis."


def backend_named(name: str) -> "Name":
    """Return the backend of that name; any other is a wrong option."""
    valid = ("auto", "torch", "openvino", "onnxruntime", "int8")
    if name not in valid:
        raise typer.BadParameter(f"--backend {name!r} is none of {', '.join(valid)}")
    return cast("Name", name)


def show(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a table of names and values, or JSON."""
    if as_json:
        typer.echo(json.dumps(values, indent=2, ensure_ascii=False, default=str))
        return
    width = max(len(name) for name in values)
    for name, value in values.items():
        typer.echo(f"{name.replace('_', ' '):<{width}}  {plain(value)}")


def plain(value: Any) -> str:  # noqa: ANN401 - whatever a command has to say
    """Say a value in words that fit a line.

    >>> plain(None), plain(0.12345678), plain({"rows": 2, "columns": 3}), plain((1.0, 4.0))
    ('–', '0.123457', 'rows 2, columns 3', '1, 4')
    """
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return str(value)
