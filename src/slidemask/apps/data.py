"""Commands that make data: a cohort manifest, phantom slides."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slidemask.apps.options import Changes, Out, Overwrite, Workers


def cohort(
    images: Annotated[
        Path, typer.Argument(help="Folder of pictures, or of subfolders with images/ and labels/.")
    ],
    labels: Annotated[
        Path | None, typer.Argument(help="Folder of label images of the same names.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write.")] = Path(
        "cohort.csv"
    ),
    patient_pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression on the file name; its first group is the patient."),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV that names each picture's patient.")
    ] = None,
    name_column: Annotated[
        str, typer.Option(help="Column of --table with picture names.")
    ] = "name",
    patient_column: Annotated[
        str, typer.Option(help="Column of --table with patients.")
    ] = "patient",
    group_column: Annotated[
        str | None, typer.Option(help="Column of --table by which splits are balanced.")
    ] = None,
    one_slide_one_patient: Annotated[
        bool,
        typer.Option(
            "--one-slide-one-patient", help="State that each picture is a patient of its own."
        ),
    ] = False,
    mpp: Annotated[
        float | None, typer.Option("--mpp", help="µm per pixel of the pictures.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a cohort CSV from folders of pictures and label images."""
    from slidemask.base.errors import OutputError
    from slidemask.data.cohort import one_slide_one_patient as own_patients
    from slidemask.data.cohort import write_cohort
    from slidemask.data.pairs import PatientTable, pair_folders
    from slidemask.io.mpp import given

    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists; choose another --out or pass --overwrite.")
    if group_column and not table:
        raise typer.BadParameter("--group-column is a column of --table; give the table too")
    if mpp is not None:
        given(mpp)
    patients = PatientTable(table, name_column, patient_column, group_column) if table else None
    cases = pair_folders(images, labels, patient_pattern=patient_pattern, table=patients, mpp=mpp)
    if one_slide_one_patient:
        cases = own_patients(cases)
    write_cohort(out, cases)
    patients_named = len({case.patient for case in cases if case.patient})
    typer.echo(f"{out}: {len(cases)} cases, {patients_named} patients")


def phantom(
    out: Out,
    width: Annotated[int, typer.Option(help="Level-0 pixels, up to 150,000.")] = 20_000,
    height: Annotated[int, typer.Option(help="Level-0 pixels, up to 150,000.")] = 20_000,
    mpp: Annotated[float, typer.Option(help="µm per level-0 pixel.")] = 0.5,
    tissue_share: Annotated[float, typer.Option(help="Share of the area that is tissue.")] = 0.25,
    patients: Annotated[
        int, typer.Option(min=1, help="Three or more make a cohort with parts.")
    ] = 1,
    slides: Annotated[int, typer.Option(min=1, help="Slides of each patient of a cohort.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another slide.")] = 0,
    workers: Workers = 2,
    changes: Changes = None,
    overwrite: Overwrite = False,
) -> None:
    """Make synthetic H&E-like slides with exact ground truth.

    --set takes any other setting of a phantom, such as cluster_mm2=0.21 or decoys_per_cm2=60.
    """
    from slidemask.base.errors import OutputError
    from slidemask.data.phantom.settings import PhantomSettings
    from slidemask.data.phantom.write import write_phantom, write_phantom_cohort
    from slidemask.recipes.recipe import apply_change, checked

    wanted: dict[str, Any] = {
        "width_px": width, "height_px": height, "mpp": mpp, "tissue_share": tissue_share,
    }  # fmt: skip
    for change in changes or ():
        apply_change(wanted, change)
    settings = checked(PhantomSettings, wanted, "this phantom")
    many = patients > 1 or slides > 1
    there = out / ("cohort.csv" if many else f"phantom-{seed}.tif")
    if there.exists() and not overwrite:
        raise OutputError(f"{there} exists; choose another --out or pass --overwrite.")
    if many:
        typer.echo(
            write_phantom_cohort(out, patients, slides, settings, seed=seed, workers=workers)
        )
        return
    made = write_phantom(out, settings, seed)
    typer.echo(f"{made.slide}\n{made.annotations}")
