"""The command `slidemask`."""

import logging
import sys

import typer

from slidemask import __version__
from slidemask.apps import (
    camera,
    compose,
    data,
    doctor,
    export,
    jobs,
    photo,
    quantise,
    slides,
    study,
)
from slidemask.base.errors import AnnotationError, SlideError, SlidemaskError

COMMANDS = {
    "demo": jobs.demo,
    "segment": jobs.segment,
    "train": jobs.train,
    "evaluate": jobs.evaluate,
    "photo": photo.photo,
    "camera": camera.camera,
    "plan": slides.plan,
    "info": slides.info,
    "tissue": slides.tissue,
    "cohort": data.cohort,
    "phantom": data.phantom,
    "compose": compose.compose,
    "export": export.export,
    "quantise": quantise.quantise,
    "doctor": doctor.doctor,
}

app = typer.Typer(
    name="slidemask",
    help="Turn pathology slides into masks. Research use only, not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(study.app)


@app.callback(invoke_without_command=True)
def _top(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; exit with 0 done, 1 some inputs failed, 2 wrong use."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        app()
    except SlidemaskError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1 if isinstance(error, SlideError | AnnotationError) else 2)
