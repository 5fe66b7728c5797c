"""The command `camera`: slides before a webcam or in a video, the sharpest view of each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:  # importing it loads torch, and --help should not wait for it
    from slidemask.recipes.photo.camera import Kept


def camera(
    out: Out,
    source: Annotated[
        str, typer.Option(help="Number of a camera, a video file, or the URL of a stream.")
    ] = "0",
    model: Model = "photo",
    every: Annotated[int, typer.Option(min=1, help="Look at every so many frames.")] = 1,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Stop after so long; else at the end, or Ctrl-C.")
    ] = None,
    preview: Annotated[
        Path | None, typer.Option(help="Picture file that is rewritten with what is seen.")
    ] = None,
    device: Device = "auto",
    backend: Backend = "auto",
    changes: Changes = None,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Follow slides before a camera; write the sharpest view of each, straightened.

    OUT gets slide-1.png, … as slides go out of sight, and camera.json at the end.
    """
    from slidemask.models.backends import load
    from slidemask.recipes.photo.camera import CameraOptions, watch

    options = CameraOptions(
        source, every, seconds, preview, changes=tuple(changes or ()), overwrite=overwrite,
        backend=backend_named(backend),
    )  # fmt: skip
    bundle = load(model, device, options.backend)
    result = watch(bundle, out, options, _say if not as_json else _nothing)
    if as_json:
        show(result, as_json=True)
        return
    searched, ms = result["frames_searched"], result["ms"]
    typer.echo(f"{len(result['slides'])} slides in {result['frames']} frames")
    if searched:
        cost = ms["find and follow"]
        typer.echo(
            f"{cost['median']:.0f} ms a frame (95 %: {cost['p95']:.0f} ms), {searched} frames"
        )
    typer.echo(f"{out / 'camera.json'}\n{CAUTION}")


def _say(kept: "Kept") -> None:
    width, height = kept.size
    typer.echo(
        f"{kept.file}: {width} x {height} px, frame {kept.frame}, seen in {kept.frames_seen}, "
        f"confidence {kept.confidence:.2f}"
    )


def _nothing(_: "Kept") -> None:
    pass
