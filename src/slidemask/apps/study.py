"""Commands that compare many trainings: sweeps, sizes, folds, maps, recipes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slidemask.apps.cascade import cascade
from slidemask.apps.options import (
    CAUTION,
    Backend,
    Changes,
    Cohort,
    Device,
    Out,
    Overwrite,
    Workers,
    backend_named,
)

if TYPE_CHECKING:  # importing them loads torch, and --help should not wait for it
    from slidemask.data.spread import Spread
    from slidemask.recipes.study.choice import Choice, Rule
    from slidemask.recipes.study.comparison import Compared

app = typer.Typer(
    name="study",
    help="Compare settings, magnifications, tile sizes: on whole slides, with their cost.",
    no_args_is_help=True,
)
app.command("cascade")(cascade)
Recipe = Annotated[str, typer.Argument(help="Path of a recipe, or the name of a shipped one.")]


@app.command("sweep")
def sweep(
    recipe: Recipe,
    cohort: Cohort,
    out: Out,
    vary: Annotated[
        list[str], typer.Option(metavar="KEY=A,B,C", help="A recipe key and its values.")
    ],
    repeats: Annotated[int, typer.Option(min=1, help="Trainings of each cell.")] = 3,
    rule: Annotated[str, typer.Option(help="Figure that chooses: dice, iou, mcc.")] = "iou",
    minimum: Annotated[
        float | None, typer.Option(help="Models below this figure are not kept.")
    ] = None,
    thresholds: Annotated[
        str, typer.Option(help="Scored without running the network again.")
    ] = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,0.95",
    device: Device = "auto",
    workers: Workers = 2,
    changes: Changes = None,
    overwrite: Overwrite = False,
) -> None:
    """Train every combination of values several times; score every threshold; choose by a rule.

    The same command goes on after a stop; with more --repeats it adds to what is there.
    """
    from slidemask.data.cohort import read_cohort
    from slidemask.recipes.study import sweep as study
    from slidemask.recipes.study.cells import parse_axis
    from slidemask.recipes.study.row import Means
    from slidemask.recipes.study.sweepwriting import write_sweep

    chosen_by = _rule(rule, minimum, thresholds)
    axes = [parse_axis(text) for text in vary]
    trials = study.trials_of(recipe, axes, repeats, changes or ())
    means = Means(device, workers, overwrite)
    trials = study.placed_trials(trials, read_cohort(cohort), out, means)
    about = {"recipe": recipe, "cohort": str(cohort), "vary": "; ".join(vary)}
    failures: dict[str, str] = {}
    choice = None
    with _stoppable():
        for said, done, failures in study.sweep(trials):
            typer.echo(said)
            _, choice = write_sweep(out, done, chosen_by, failures=failures, about=about)
    _say(choice, out)
    if failures:
        raise typer.Exit(1)


@app.command("magnification")
def magnification(
    recipe: Recipe,
    cohort: Cohort,
    out: Out,
    at: Annotated[
        str, typer.Option(help="Magnifications; 10+2.5 sees both, detail and context.")
    ] = "1,4,10,20",
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="RECIPE@AT", help="One more row: another recipe, e.g. better@4."),
    ] = None,
    device: Device = "auto",
    workers: Workers = 2,
    changes: Changes = None,
    overwrite: Overwrite = False,
) -> None:
    """Train at each magnification, segment the test slides, and say which one to use.

    The same command goes on after a stop.
    """
    from slidemask.data.cohort import read_cohort
    from slidemask.recipes.study.comparison import compare_rows, placed
    from slidemask.recipes.study.magnification import rows_of
    from slidemask.recipes.study.row import Means
    from slidemask.recipes.study.views import parse_also, parse_views

    rows = rows_of(recipe, parse_views(at), parse_also(also or ()), changes or ())
    rows = placed(rows, read_cohort(cohort), out, Means(device, workers, overwrite))
    about = {"title": "Magnification study", "recipe": recipe, "cohort": str(cohort)}
    _compare(compare_rows(rows), out, about)


@app.command("tile-size")
def tile_size(
    recipe: Recipe,
    cohort: Cohort,
    out: Out,
    at: Annotated[str, typer.Option(help="Tile sides in pixels.")] = "64,128,256,512",
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="Train at each size, or only the rails.")
    ] = True,
    tiles: Annotated[int, typer.Option(min=1, help="Tiles read for the rails, at most.")] = 2000,
    device: Device = "auto",
    workers: Workers = 2,
    changes: Changes = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure the entropy rails at each tile size, and what a training makes of it.

    The same command goes on after a stop.
    """
    from slidemask.base.files import output_folder
    from slidemask.data.cohort import read_cohort
    from slidemask.recipes.study.comparison import Compared, compare_rows, placed
    from slidemask.recipes.study.row import Means
    from slidemask.recipes.study.tilesize import parse_sizes, rails_of_sizes, rows_of_sizes

    sizes, cases = parse_sizes(at), read_cohort(cohort)
    rows = rows_of_sizes(recipe, sizes, changes or ())
    if train:
        rows = placed(rows, cases, out, Means(device, workers, overwrite))
    output_folder(out)
    with _stoppable():
        rails = rails_of_sizes(rows[0].recipe, cases, sizes, most=tiles)
    for one in rails:
        note = "  spread jumps: too small" if one.jump else ""
        typer.echo(
            f"{one.tile_px} px: {one.least:.2f} to {one.greatest:.2f} bits, "
            f"spread {one.spread:.2f}, {one.tiles} tiles{note}"
        )
    about = {"title": "Tile sizes", "recipe": recipe, "cohort": str(cohort)}
    steps = compare_rows(rows) if train else iter([("", Compared((), {}, {}, None))])
    _compare(steps, out, about, rails)


@app.command("recipes")
def recipes(
    names: Annotated[
        list[str], typer.Argument(metavar="RECIPE…", help="Paths, or names of shipped ones.")
    ],
    cohort: Cohort,
    out: Out,
    device: Device = "auto",
    workers: Workers = 2,
    changes: Changes = None,
    overwrite: Overwrite = False,
) -> None:
    """Train several recipes on one cohort: parameters, time and scores side by side, IoU first.

    The same command goes on after a stop.
    """
    from slidemask.data.cohort import read_cohort
    from slidemask.recipes.study.comparison import compare_rows, placed
    from slidemask.recipes.study.row import Means
    from slidemask.recipes.study.several import rows_of_recipes

    rows, cases = rows_of_recipes(names, changes or ()), read_cohort(cohort)
    rows = placed(rows, cases, out, Means(device, workers, overwrite))
    about = {"title": "Recipes compared", "recipes": ", ".join(names), "cohort": str(cohort)}
    _compare(compare_rows(rows, "iou"), out, about)


@app.command("folds")
def folds(
    recipe: Recipe,
    cohort: Cohort,
    out: Out,
    k: Annotated[int, typer.Option("--k", min=2, help="How many folds.")] = 3,
    pooled: Annotated[
        bool, typer.Option("--pooled", help="Also all folds' models together, on the test slides.")
    ] = False,
    device: Device = "auto",
    workers: Workers = 2,
    changes: Changes = None,
    overwrite: Overwrite = False,
) -> None:
    """Train on k folds by patient; score each on its validation slides and on the test slides.

    The test part stays out of all folds. The same command goes on after a stop.
    """
    from slidemask.data.cohort import read_cohort
    from slidemask.recipes.recipe import load_recipe
    from slidemask.recipes.study.crossfold import do_folds, rows_of_folds
    from slidemask.recipes.study.foldwriting import in_words, write_folds
    from slidemask.recipes.study.row import Means

    means = Means(device, workers, overwrite)
    loaded = load_recipe(recipe, changes or ())
    rows = rows_of_folds(loaded, read_cohort(cohort), out, k=k, means=means)
    about = {"recipe": recipe, "cohort": str(cohort), "folds": str(k)}
    done, failures = [], {}
    with _stoppable():
        for said, done, failures in do_folds(rows, pooled=pooled):
            typer.echo(said)
            write_folds(out, done, failures, about)
    typer.echo("\n".join(["", *in_words(done)]))
    _say_where(out)
    if failures:
        raise typer.Exit(1)


@app.command("maps")
def maps(
    model: Annotated[str, typer.Argument(help="Run folder, bundle folder or zip, shipped model.")],
    cohort: Cohort,
    out: Out,
    smooth: Annotated[str, typer.Option(help="Radii of the smoothing disc.")] = "0,25,50,75",
    shrink: Annotated[str, typer.Option(help="Shares by which parts shrink.")] = "0,0.05,0.1",
    unit: Annotated[str, typer.Option(help="Of the radii: px of the canvas, or um.")] = "px",
    rails: Annotated[
        str | None, typer.Option(help="on,off: with and without the model's entropy rails.")
    ] = None,
    combine: Annotated[
        str | None, typer.Option(help="How tiles vote together: mean,max,median,union.")
    ] = None,
    dominant: Annotated[
        str | None, typer.Option(help="on,off: draw only the class of most positive tiles.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Which slides: test, validation, train, all.")
    ] = "test",
    device: Device = "auto",
    workers: Workers = 2,
    changes: Changes = None,
    overwrite: Overwrite = False,
) -> None:
    """Score one model's maps in several ways; smoothing and shrinking need no network.

    Probabilities are kept in OUT. The same command goes on after a stop, and does only what is
    new when values are added.
    """
    from slidemask.base.files import output_folder
    from slidemask.data.cohort import read_cohort
    from slidemask.models.bundle import Bundle
    from slidemask.recipes.study.maps import MapJob, cases_of_part, study_maps
    from slidemask.recipes.study.mapsettings import parse_edges, parse_map_settings, require_maps
    from slidemask.recipes.study.mapwriting import write_maps
    from slidemask.recipes.study.row import Means
    from slidemask.recipes.use import Model

    edges, cases = parse_edges(smooth, shrink, unit), cases_of_part(read_cohort(cohort), split)
    bundle, means = Bundle.load(model, "cpu"), Means(device, workers, overwrite)
    asked = tuple(changes or ())
    changed = Model.of(bundle, asked).bundle
    settings = parse_map_settings(changed, rails=rails, combine=combine, dominant=dominant)
    require_maps(bundle, edges, [(*asked, *setting.changes) for setting in settings])
    output_folder(out)
    jobs = [
        MapJob(model, setting, tuple(edges), cases, out / setting.label, asked, means)
        for setting in settings
    ]
    about = {"model": model, "cohort": str(cohort), "slides": f"{len(cases)}, {split}"}
    best, rows, failures = None, [], {}
    with _stoppable():
        for said, rows, failures in study_maps(jobs):
            typer.echo(said)
            best = write_maps(out, rows, failures, about)
    if best:
        figures = ", ".join(f"{k} {v:.3f}" for k, v in best.figures["pooled"].items())
        typer.echo(f"\nBest of {len(rows)}: {best.row.label} ({figures}, pooled)")
    _say_where(out)
    if failures:
        raise typer.Exit(1)


@app.command("photos")
def photos(
    cohort: Annotated[Path, typer.Argument(help="Cohort CSV: photos and their slides' outlines.")],
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="Model for photos; may be repeated.")
    ],
    out: Out,
    split: Annotated[str, typer.Option(help="Which photos: test, validation, train, all.")] = "all",
    pictures: Annotated[int, typer.Option(min=0, help="Worst photos shown of each model.")] = 6,
    device: Device = "auto",
    backend: Backend = "auto",
    changes: Changes = None,
    overwrite: Overwrite = False,
) -> None:
    """Find the slides in photos by several models; score outlines, corners, misses, false finds.

    The same command goes on after a stop, and with another --model adds it.
    """
    from slidemask.base.files import output_folder
    from slidemask.recipes.photo.cases import read_photo_cases
    from slidemask.recipes.photo.scoring import jobs_of, study_photos
    from slidemask.recipes.study.photos import in_words, write_photo_study

    cases, note = read_photo_cases(cohort, split)
    output_folder(out)
    jobs = jobs_of(
        model, out, device=device, changes=changes or (), overwrite=overwrite,
        backend=backend_named(backend),
    )  # fmt: skip
    about = {"cohort": str(cohort), "photos": f"{len(cases)}, {split}"}
    about |= {"settings": "; ".join(changes)} if changes else {}
    about |= {"about these photos": note} if note else {}
    lines, failures = [], {}
    with _stoppable():
        for said, study in study_photos(jobs, cases):
            typer.echo(said)
            lines, failures = (
                write_photo_study(out, study, about, pictures=pictures),
                study.failures,
            )
    typer.echo("\n".join(["", *in_words(lines)]))
    _say_where(out)
    if failures:
        raise typer.Exit(1)


def _compare(
    steps: "Iterator[tuple[str, Compared]]",
    out: Path,
    about: dict[str, str],
    rails: "list[Spread] | None" = None,
) -> None:
    """Write the study down after each row; end with what it recommends."""
    from slidemask.recipes.study.writing import write_comparison

    study = None
    with _stoppable():
        for said, study in steps:
            if said:
                typer.echo(said)
            write_comparison(out, study, about, rails or ())
    if study and study.verdict:
        typer.echo(f"\nRecommended: {study.verdict.chosen}. {' '.join(study.verdict.reason)}")
    _say_where(out)
    if study and study.failures:
        raise typer.Exit(1)


@contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on where this one was stopped.", err=True)
        raise typer.Exit(130) from None


def _rule(metric: str, minimum: float | None, thresholds: str) -> "Rule":
    from slidemask.recipes.study.choice import Rule

    if metric not in ("dice", "iou", "mcc"):
        raise typer.BadParameter(f"--rule {metric!r} is none of dice, iou, mcc")
    try:
        values = tuple(float(part) for part in thresholds.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 < value <= 1 for value in values):
        raise typer.BadParameter(f"--thresholds {thresholds!r}: give numbers above 0, up to 1")
    settings: dict[str, Any] = {"metric": metric, "minimum": minimum, "thresholds": values}
    return Rule(**settings)


def _say(choice: "Choice | None", out: Path) -> None:
    if choice:
        spread = "" if math.isnan(choice.std) else f" ± {choice.std:.4f}"
        typer.echo(
            f"\nChosen: {choice.cell.label} at threshold {choice.threshold:g} "
            f"({choice.mean:.4f}{spread} on the validation slides). {choice.reason}"
        )
        if choice.kept:
            typer.echo(f"Best model: {choice.kept[0].trial.row.run}")
    _say_where(out)


def _say_where(out: Path) -> None:
    typer.echo(f"{out / 'report.html'}\n{out / 'study.csv'}\n{CAUTION}")
