"""The command `photo`: slides cut out of camera pictures and straightened."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slidemask.apps.options import (
    CAUTION,
    Backend,
    Changes,
    Device,
    Json,
    Model,
    Out,
    Overwrite,
    backend_named,
    show,
)

_NOTES = {"done": "", "there": ", was done before"}


def photo(
    photos: Annotated[
        list[Path], typer.Argument(metavar="IMG…", help="JPEG, HEIC, PNG, WebP or TIFF.")
    ],
    out: Out,
    model: Model = "photo",
    rectify: Annotated[
        bool, typer.Option("--rectify/--no-rectify", help="Write the slides, straightened.")
    ] = True,
    device: Device = "auto",
    backend: Backend = "auto",
    changes: Changes = None,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Find slides in photos, cut them out at full resolution and straighten them.

    A folder for each photo gets slide-1.png, …, overlay.png, outlines.json, outlines.geojson.
    """
    from slidemask.base.memory import share_freed
    from slidemask.models.backends import load
    from slidemask.recipes.photo.crops import CropOptions, cut_photos, read_result

    options = CropOptions(
        tuple(changes or ()), straighten=rectify, overwrite=overwrite,
        backend=backend_named(backend),
    )  # fmt: skip
    share_freed()  # less memory, and less time to get it, than if each thread keeps its own
    bundle = load(model, device, options.backend)
    results, failed = list[dict[str, Any]](), list[tuple[Path, str]]()
    for outcome in cut_photos(photos, bundle, out, options):
        if outcome.state == "failed":
            failed.append((outcome.slide, outcome.message))
            results.append({"path": str(outcome.slide), "error": outcome.message})
            continue
        result = read_result(outcome.folder)
        results.append({"folder": str(outcome.folder), **result})
        if not as_json:
            typer.echo(_line(outcome.slide, outcome.folder, result) + _NOTES[outcome.state])
    if as_json:
        show({"photos": results}, as_json=True)
    else:
        typer.echo(CAUTION)
    if failed:
        typer.echo(f"\n{len(failed)} of {len(photos)} photos failed:", err=True)
        for path, message in failed:
            typer.echo(f"  {path}: {message}", err=True)
        raise typer.Exit(1)


def _line(path: Path, folder: Path, result: dict[str, Any]) -> str:
    """Say in a line what a photo holds."""
    count, refused = len(result["outlines"]), result["refused"]
    sure = ", ".join(f"{outline['confidence']:.2f}" for outline in result["outlines"])
    text = f"{path.name}: {count} slide{'s' * (count != 1)}"
    text += f" (confidence {sure})" if count else ""
    if refused:
        text += f"; {len(refused)} refused: " + ", ".join(one["reason"] for one in refused)
    return f"{text}  {folder}"
