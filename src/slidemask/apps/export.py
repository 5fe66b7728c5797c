"""The command that exports a bundle."""

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slidemask.apps.options import CAUTION, Json, Mpp, Out, Overwrite, show

if TYPE_CHECKING:
    from slidemask.export.export import Exported


class Target(StrEnum):
    """Formats."""

    onnx = "onnx"
    openvino = "openvino"
    coreml = "coreml"
    litert = "litert"
    executorch = "executorch"


class Numbers(StrEnum):
    """Precisions."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


BundleName = Annotated[
    str,
    typer.Argument(metavar="BUNDLE", help="Run folder, bundle folder or zip, or a shipped model."),
]
Tiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--tiles",
        metavar="PATH",
        help="Slide, picture or cohort CSV whose tiles are compared, and calibrate int8; may be "
        "repeated. Else the demo's synthetic slide is compared.",
    ),
]
Side = Annotated[
    tuple[int, int] | None,
    typer.Option("--size", metavar="ROWS COLUMNS", help="Of the input, pixels; else the tile's."),
]
LitertPython = Annotated[
    Path | None,
    typer.Option("--litert-python", help="Python of an environment with litert-torch."),
]


def export(
    bundle: BundleName,
    to: Annotated[Target, typer.Option("--to", help="Format.")],
    out: Out,
    precision: Annotated[
        Numbers, typer.Option("--precision", help="Numbers of the weights; int8 needs --tiles.")
    ] = Numbers.fp32,
    tiles: Tiles = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Tiles to compare.")] = 16,
    mpp: Mpp = None,
    size: Side = None,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="One tile of one size, also where more could be open.")
    ] = False,
    litert_python: LitertPython = None,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Export a model for other devices, compare it with PyTorch on real tiles, write its card.

    Normalisation, padding and softmax are inside the file. An export that says something else than
    PyTorch is refused, and nothing is left of it.
    """
    from slidemask.base.errors import SettingsError
    from slidemask.export.export import Options
    from slidemask.export.export import export as run
    from slidemask.export.formats import find_format
    from slidemask.models.bundle import Bundle
    from slidemask.recipes.demo import demo_phantom

    if precision == Numbers.int8 and not tiles:
        raise SettingsError(
            "int8 learns the ranges of activations from real tiles: give slides, pictures or a "
            "cohort of the kind that the model will see with --tiles."
        )
    loaded = Bundle.load(bundle, "cpu")
    with tempfile.TemporaryDirectory(prefix="slidemask-") as name:
        options = Options(
            precision=precision.value,
            size=size,
            fixed=fixed,
            tiles=tiles or [demo_phantom(Path(name))],
            count=count,
            mpp=mpp,
            converter=litert_python,
            overwrite=overwrite,
        )
        done = run(loaded, to.value, out, options)
    values = _told(done, ran=find_format(to.value).runs_here)
    if as_json:
        show(values | {"notes": list(done.notes)}, as_json=True)
        return
    show(values, as_json=False)
    typer.echo("\n".join([*done.notes, str(done.folder / "card.md"), CAUTION]))


def _told(done: "Exported", *, ran: bool) -> dict[str, Any]:
    """Return what is shown; no time of a format whose own runtime did not run."""
    parity = done.parity
    return {
        "file": str(done.path),
        "megabytes": done.megabytes,
        "tiles_compared": parity.tiles,
        "largest_difference": parity.largest,
        "mean_difference": parity.mean,
        "same_class": parity.agreement,
        "ms_per_tile": parity.ms_per_tile if ran else None,
        "torch_ms_per_tile": parity.torch_ms_per_tile,
    }
