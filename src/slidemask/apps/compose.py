"""The command that composes photos of slides, for training and tests."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slidemask.apps.options import Changes, Out, Overwrite, Workers


def compose(
    out: Out,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Photos.")] = 100,
    slides: Annotated[
        list[Path] | None,
        typer.Option("--slides", help="Slide pictures: file or folder; may be repeated."),
    ] = None,
    scenes: Annotated[
        list[Path] | None,
        typer.Option("--scenes", help="Photographs without slides, for desks and decoys."),
    ] = None,
    patient_pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression on the file name; its first group is the patient."),
    ] = None,
    phantoms: Annotated[
        int, typer.Option(min=0, help="Phantom slides among the sources; alone without --slides.")
    ] = 12,
    longest: Annotated[int, typer.Option(help="Longer side of a photo, pixels.")] = 1280,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other photos.")] = 0,
    workers: Workers = 1,
    changes: Changes = None,
    overwrite: Overwrite = False,
) -> None:
    """Compose photos of slides with exact outlines; synthetic, though the slides may be real.

    --set takes any other setting, such as touching=0.5 or kinds.negative=0.3. A run that was
    stopped goes on when it is started again in the same way.
    """
    from slidemask.base.errors import OutputError
    from slidemask.data.photo.settings import PhotoSettings
    from slidemask.data.photo.sources import Shelf, deal, find_sources
    from slidemask.data.photo.views import scene_files
    from slidemask.data.photo.write import write_photos
    from slidemask.recipes.recipe import apply_change, checked

    wanted: dict[str, Any] = PhotoSettings().model_dump() | {"longest_px": longest}
    for change in changes or ():
        apply_change(wanted, change)
    settings = checked(PhotoSettings, wanted, "these photos")
    if (out / "cohort.csv").exists() and not overwrite:
        raise OutputError(f"{out / 'cohort.csv'} exists; choose another --out or pass --overwrite.")
    sources = find_sources(slides or (), patient_pattern=patient_pattern, phantoms=phantoms)
    shelf = Shelf(deal(sources, settings.groups), scene_files(scenes or ()))
    typer.echo(write_photos(out, count, shelf, settings, seed=seed, workers=workers))
