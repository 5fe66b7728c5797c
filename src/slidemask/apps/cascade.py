"""The command `slidemask study cascade`."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from slidemask.apps.options import CAUTION, Changes, Cohort, Device, Out, Overwrite, Workers

if TYPE_CHECKING:  # importing it loads torch
    from slidemask.models.backends import Name as Backend


def cascade(
    recipe: Annotated[str, typer.Argument(help="Path or name of a recipe with a [cascade] part.")],
    cohort: Cohort,
    out: Out,
    recall: Annotated[
        str, typer.Option(metavar="A,B,C", help="Recalls to try beside the recipe's own.")
    ] = "",
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="A model to give a coarse network; else both train."),
    ] = "",
    backend: Annotated[
        str, typer.Option(help="torch, openvino or onnxruntime (processors).")
    ] = "torch",
    device: Device = "auto",
    workers: Workers = 2,
    changes: Changes = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment the test slides with a coarse network in front and without: saving and cost.

    The threshold is chosen on the validation slides. The same command goes on after a stop.
    """
    from slidemask.base.files import output_folder
    from slidemask.data.cohort import read_cohort
    from slidemask.recipes.recipe import load_recipe
    from slidemask.recipes.study.cascade import CascadeJob, study_cascade
    from slidemask.recipes.study.cascadewriting import in_words, write_cascade
    from slidemask.recipes.study.row import Means

    recalls = _recalls(recall)
    loaded, cases = load_recipe(recipe, changes or ()), read_cohort(cohort)
    means = Means(device, workers, overwrite)
    job = CascadeJob(
        loaded, tuple(cases), output_folder(out), recalls, means, model, _backend(backend)
    )
    about = {"recipe": recipe, "cohort": str(cohort), "model": model or "trained by the recipe"}
    about |= {"backend": backend}
    rows = []
    try:
        for said, rows in study_cascade(job):
            typer.echo(said)
            write_cascade(out, rows, about)
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on where this one was stopped.", err=True)
        raise typer.Exit(130) from None
    typer.echo("\n".join(["", *in_words(rows)]))
    typer.echo(f"{out / 'report.html'}\n{out / 'study.csv'}\n{CAUTION}")


def _recalls(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        values = (0.0,)
    if not all(0 < value <= 1 for value in values):
        raise typer.BadParameter(f"--recall {text!r}: give numbers above 0, up to 1")
    return values


def _backend(name: str) -> "Backend":
    if name not in (valid := ("torch", "openvino", "onnxruntime")):
        raise typer.BadParameter(f"--backend {name!r} is none of {', '.join(valid)}")
    return cast("Backend", name)
