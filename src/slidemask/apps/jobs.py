"""Commands that do the work: demo, segment, train, evaluate."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slidemask.apps.options import (
    CAUTION,
    Backend,
    Changes,
    Cohort,
    Device,
    Json,
    Model,
    Mpp,
    Out,
    Overwrite,
    Workers,
    backend_named,
    show,
)
from slidemask.base.errors import OutputError

if TYPE_CHECKING:  # importing them loads torch, and --help should not wait for it
    from slidemask.data.case import Case
    from slidemask.evaluate.compare import Difference
    from slidemask.evaluate.evaluation import Evaluation
    from slidemask.recipes.segment import Options, Outcome, Watch

    Run = Callable[[Watch], Iterator[Outcome]]

Split = Annotated[
    str | None, typer.Option("--split", help="Only this part: train, validation, test.")
]


Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        help="Run folder, bundle folder or zip, or a shipped model; several are averaged.",
    ),
]

Devices = Annotated[
    str,
    typer.Option(
        "--device", help="auto, cpu, cuda (all of them, a process each), cuda:0,cuda:1, mps."
    ),
]


def segment(
    model: Models,
    out: Out,
    slides: Annotated[
        list[Path] | None, typer.Argument(metavar="SLIDE…", help="Slides or pictures.")
    ] = None,
    cohort: Annotated[
        Path | None, typer.Option("--cohort", "-c", help="Take the slides from a cohort CSV.")
    ] = None,
    split: Split = None,
    mpp: Mpp = None,
    device: Devices = "auto",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=0, help="Reading threads; else 2, for a GPU up to 8."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Tiles a forward pass.")
    ] = None,
    probability: Annotated[
        bool, typer.Option("--probability", help="Also write probability.ome.tif.")
    ] = False,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", help="Leave out tiles that cannot be read; say which."),
    ] = False,
    backend: Backend = "auto",
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="local|ADDRESS", help="Hand slides out with Ray."),
    ] = None,
    cluster_cpus: Annotated[
        int, typer.Option("--cluster-cpus", min=1, help="Cores of a task on the cluster.")
    ] = 1,
    changes: Changes = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment whole slides: mask pyramid, QuPath polygons, preview, report.

    Finished slides are skipped and half-done ones resumed; the same command on several machines
    shares the slides among them. With -m A -m B the mean of both models'
    probabilities is taken; they must know the same classes and see slides at one resolution.
    """
    from slidemask.recipes.segment import Options

    cases = _slides_asked_for(slides or (), cohort, split, mpp)
    asked = [*(changes or ()), *([f"blend.batch={batch}"] if batch else [])]
    options = Options(
        tuple(asked), probability, overwrite, threads=workers or 0, keep_going=keep_going,
        backend=backend_named(backend),
    )  # fmt: skip
    if cluster is None:
        run = _here(cases, model, device, out=out, options=options)
    else:
        from slidemask.apps.cluster import Place, on_cluster

        place = Place(cluster, cluster_cpus, device)
        options = replace(options, threads=workers or 2)
        run = on_cluster(cases, model, out, options=options, place=place)
    if _segment(cases, run, out):
        raise typer.Exit(1)


def _slides_asked_for(
    slides: Iterable[Path], cohort: Path | None, split: str | None, mpp: float | None
) -> "list[Case]":
    """Return slides named one by one and those of a cohort's part."""
    from slidemask.data.case import Case

    if split and not cohort:
        raise typer.BadParameter("--split chooses from a cohort; give one with --cohort")
    cases = [Case(path, mpp=mpp) for path in slides]
    if cohort:
        cases += [replace(case, mpp=case.mpp or mpp) for case in _part(cohort, split)]
    if not cases:
        raise typer.BadParameter("give slides, or a cohort with --cohort")
    return cases


def train(
    recipe: Annotated[str, typer.Argument(help="Path of a recipe, or the name of a shipped one.")],
    cohort: Cohort,
    out: Out,
    device: Device = "auto",
    workers: Workers = 2,
    changes: Changes = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a recipe on a cohort; the same command goes on after a stop."""
    from slidemask.data.cohort import read_cohort
    from slidemask.recipes.recipe import load_recipe
    from slidemask.recipes.training import train as run_training

    loaded, cases = load_recipe(recipe, changes or ()), read_cohort(cohort)
    trained = run_training(loaded, cases, out, device=device, workers=workers, overwrite=overwrite)
    progress = trained.progress
    if not progress.best_epoch:
        typer.echo("Stopped before an epoch could be judged: no bundle yet.", err=True)
        raise typer.Exit(130)
    state = "finished" if trained.finished else "stopped; the same command goes on"
    typer.echo(f"{state} after epoch {progress.epoch}; best epoch {progress.best_epoch}")
    typer.echo("\n".join(trained.told))
    for name in ("bundle", "curves.png", "samples.png", "history.csv"):
        typer.echo(f"  {out / name}")
    if not trained.finished:
        raise typer.Exit(130)


def evaluate(
    results: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that `segment` wrote.")],
    cohort: Cohort,
    split: Split = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the scores; else OUT/scores.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--compare", help="scores.json of another evaluation of the same slides."),
    ] = None,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Score results against a cohort's annotations: pixels, tiles, objects, with intervals."""
    from slidemask.evaluate.compare import compare
    from slidemask.evaluate.headline import headline
    from slidemask.evaluate.scorefiles import read_scores
    from slidemask.recipes.scoring import evaluate as score

    other = read_scores(against) if against else None
    evaluation, report = score(
        results, _part(cohort, split), to=out, against=other, overwrite=overwrite
    )
    differences = compare(other, evaluation) if other else []
    for part in ("train", "validation"):
        if seen := evaluation.about.get(f"slides of the {part} part"):
            typer.echo(
                f"WARNING: {seen} slides, or others of their patients, are in the model's {part} "
                "part: their scores flatter it. --split test scores the rest.",
                err=True,
            )
    if as_json:
        show(_scores(evaluation, differences, report), as_json=True)
        return
    for figure in headline(evaluation.figures):
        typer.echo(figure)
    if differences:
        typer.echo(f"\nThis, compared with {against}:")
    for difference in headline(differences):
        typer.echo(difference)
    typer.echo(f"\n{report}\nAll figures: {report.with_name('scores.json')}\n{CAUTION}")


def demo(
    slide: Annotated[
        Path | None,
        typer.Argument(metavar="SLIDE", help="A slide of yours; else a phantom is made."),
    ] = None,
    out: Out = Path("slidemask-demo"),
    model: Model = "glands",
    mpp: Mpp = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Segment a slide, or a synthetic one, with a model that ships; takes about a minute."""
    from slidemask.data.case import Case
    from slidemask.recipes.demo import demo_phantom
    from slidemask.recipes.segment import Options

    if slide is None:
        slide = demo_phantom(out / "phantom")
        typer.echo(f"made a synthetic slide: {slide}")
    options = Options(overwrite=overwrite)
    results = out / "results"
    run = _here([Case(slide, mpp=mpp)], [model], device, out=results, options=options)
    if _segment([Case(slide, mpp=mpp)], run, results):
        raise typer.Exit(1)


def _here(
    cases: "list[Case]", models: list[str], device: str, *, out: Path, options: "Options"
) -> "Run":
    """Return what segments on this machine."""
    from slidemask.models.backends import load
    from slidemask.models.devices import choose_devices, reading_threads
    from slidemask.models.int8 import read_int8
    from slidemask.recipes.segment import segment as run

    devices = choose_devices(device)
    options = replace(options, threads=options.threads or reading_threads(devices))
    if len(devices) > 1 and len(cases) > 1:
        from slidemask.recipes.several import segment_on

        return segment_on(devices, cases, models, out, options=options)
    bundles = [load(one, devices[0], options.backend) for one in models]
    for bundle in bundles if options.backend == "int8" else ():
        read_int8(bundle)  # what is wrong with it is told once
    return lambda watch: run(cases, bundles, out, options, watch=watch)


def _segment(cases: "list[Case]", run: "Run", out: Path) -> int:
    """Run and report; return how many slides failed."""
    from slidemask.apps.board import board_for, say
    from slidemask.recipes.reporting import report
    from slidemask.recipes.table import note_outcome

    outcomes = []

    def hear(outcome: "Outcome") -> None:
        note_outcome(out, outcome)
        if board is not None:
            board.tell(outcome)

    try:
        with board_for([case.slide for case in cases]) as board:
            for outcome in run(hear):
                outcomes.append(outcome)
                say(outcome, board)
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on where this one was stopped.", err=True)
        raise typer.Exit(130) from None
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    try:
        written = report(out, outcomes)
    except OutputError as error:
        kept = sum(outcome.state in {"done", "there"} for outcome in outcomes)
        raise OutputError(
            f"{error} The results of {kept} of {len(outcomes)} slides are kept; the same command "
            "makes the tables over them."
        ) from error
    finally:
        _tell_failures(failed, len(outcomes))
    typer.echo("\n".join(str(path) for path in written))
    typer.echo(CAUTION)
    return len(failed)


def _tell_failures(failed: "list[Outcome]", count: int) -> None:
    if failed:
        typer.echo(f"\n{len(failed)} of {count} slides failed:", err=True)
        for outcome in failed:
            typer.echo(f"  {outcome.slide}: {outcome.message}", err=True)


def _part(cohort: Path, split: str | None) -> "list[Case]":
    from slidemask.data.case import PARTS
    from slidemask.data.cohort import read_cohort

    if split is not None and split not in PARTS:
        raise typer.BadParameter(f"--split {split!r} is none of {', '.join(PARTS)}")
    cases = [case for case in read_cohort(cohort) if split is None or case.split == split]
    if not cases:
        raise typer.BadParameter(f"no case of {cohort} is in the {split} part")
    return cases


def _scores(
    evaluation: "Evaluation", differences: "list[Difference]", report: Path
) -> dict[str, Any]:
    """Return what --json prints: every figure, in full."""
    from slidemask.evaluate.evaluation import figure_rows, none_if_nan

    return {
        "report": str(report),
        "about": dict(evaluation.about),
        "resampled": evaluation.resampled,
        "figures": figure_rows(evaluation.figures),
        "differences": [
            {k: none_if_nan(v) if isinstance(v, float) else v for k, v in asdict(d).items()}
            for d in differences
        ],
    }
