"""The command that puts a network in 8 bits into a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from slidemask.apps.options import CAUTION, Cohort, Json, Overwrite, Workers, show


def quantise(
    bundle: Annotated[
        str,
        typer.Argument(metavar="BUNDLE", help="Run folder, bundle folder, zip, or shipped model."),
    ],
    cohort: Cohort,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Part that judges; else validation where there is one."),
    ] = None,
    tiles: Annotated[
        int, typer.Option("--tiles", min=8, help="Tissue tiles that calibrate, at most.")
    ] = 100,
    max_fall: Annotated[
        float, typer.Option("--max-fall", help="Dice of every class must fall by less.")
    ] = 0.005,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for a copy; else it goes into the bundle itself."),
    ] = None,
    workers: Workers = 2,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Add the network in 8 bits, which processors compute faster, to a bundle.

    It is calibrated on tissue tiles of the cohort and kept only when Dice on the annotated slides
    hardly falls. `segment` then uses it by itself, or with --backend int8.
    """
    from slidemask.data.case import PARTS
    from slidemask.data.cohort import read_cohort
    from slidemask.models.bundle import Bundle
    from slidemask.recipes.quantise import Options
    from slidemask.recipes.quantise import quantise as run

    if split is not None and split not in PARTS:
        raise typer.BadParameter(f"--split {split!r} is none of {', '.join(PARTS)}")
    if not 0 < max_fall < 1:
        raise typer.BadParameter("--max-fall must lie between 0 and 1")
    cases = read_cohort(cohort)
    if split is None and any(case.split == "validation" for case in cases):
        split = "validation"
    options = Options(tiles, max_fall, max(1, workers), overwrite)
    done = run(Bundle.load(bundle, "cpu"), cases, split, out=out, options=options)
    values = {
        "folder": str(done.folder),
        "megabytes": done.megabytes,
        "dice": {name: dice.model_dump() for name, dice in done.info.dice.items()},
        **{name: value for name, value in done.info.measured.items() if name != "versions"},
    }
    show(values, as_json=as_json)
    if not as_json:
        typer.echo(f"{done.folder / 'card.md'}\n{CAUTION}")
