"""Score a folder of results against a cohort's annotations."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from slidemask.base.errors import CohortError, OutputError
from slidemask.base.files import output_folder
from slidemask.base.progress import track
from slidemask.data.case import Case
from slidemask.evaluate.compare import compare
from slidemask.evaluate.evaluation import Evaluation
from slidemask.evaluate.scorefiles import write_scores
from slidemask.evaluate.scorereport import Surroundings, write_evaluation_report
from slidemask.evaluate.sizes import ObjectSizes
from slidemask.recipes.found import (
    Found,
    class_map,
    find_results,
    read_history,
    seen_in_training,
)
from slidemask.recipes.slidescore import Scored, score_result
from slidemask.tiles.grid import Tiling

SCORES: Final = "scores"
"""Folder below the results that scores are written to, where no other is named."""


def evaluate(
    out: Path,
    cases: Sequence[Case],
    *,
    to: Path | None = None,
    against: Evaluation | None = None,
    overwrite: bool = False,
) -> tuple[Evaluation, Path]:
    """Compare each case's result in `out` with its annotations; write scores and a report.

    Pixels are counted over whole slides and in tiles (of the side and the resolution that the
    model saw, side by side without overlap), objects as outlines. Probabilities are counted where
    `segment` kept them.

    Parameters
    ----------
    out : Path
        What `segment` wrote.
    cases : sequence of Case
        Those with annotations, or that say that they are complete, are scored, by the class map
        of the model that made the results.
    to : Path, optional
        Folder for scores.json, scores.csv, patients.csv, report.html and pictures; OUT/scores.
    against : Evaluation, optional
        Of another model on the same slides, as `read_scores` gives it: the report compares.
    overwrite : bool
        Replace scores of other slides or another model.

    Returns
    -------
    (Evaluation, Path)
        The scores, and the HTML report.

    Raises
    ------
    CohortError
        If a case has no result, no case has annotations, or `against` is of other slides.
    OutputError
        If `to` holds scores of something else.
    """
    known = [case for case in cases if case.annotations or case.complete]
    if not known:
        raise CohortError("No case has annotations to score against; fill the annotations column.")
    found = find_results(out, known)
    classes = class_map([one.summary for one in found])
    _check_slides(against, found, classes.names)
    folder, about = to or out / SCORES, _about(out, found)
    _claim(folder, about, overwrite=overwrite)
    pictures = output_folder(output_folder(folder) / "pictures")
    slides = track(found, "evaluate", len(found), "slides")
    scored = [score_result(one, classes, pictures) for one in slides]
    evaluation = Evaluation(classes.names, tuple(one.score for one in scored), about)
    around = Surroundings(
        threshold=found[0].summary["settings"]["post"]["threshold"],
        sizes=_by_size(scored),
        history=read_history(found[0].summary),
        differences=compare(against, evaluation) if against else (),
        other=against.about.get("results", "") if against else "",
    )
    write_scores(folder, evaluation)
    return evaluation, write_evaluation_report(folder, evaluation, around)


def _check_slides(
    against: Evaluation | None, found: Sequence[Found], names: tuple[str, ...]
) -> None:
    """Refuse before hours of scoring what cannot be compared after them."""
    if against is not None and against.names != names:
        raise CohortError(
            f"the classes to compare differ: here {list(names[1:])}, there "
            f"{list(against.names[1:])}; only scores of the same classes can be compared"
        )
    ours = {one.folder.name for one in found}
    theirs = ours if against is None else {score.slide for score in against.slides}
    if ours != theirs:
        raise CohortError(
            f"the slides to compare differ: only here {sorted(ours - theirs)[:5]}, only there "
            f"{sorted(theirs - ours)[:5]}; score both on the same cohort and --split"
        )


def _about(out: Path, found: Sequence[Found]) -> dict[str, str]:
    """Say what was scored: as much as tells two evaluations apart."""
    first = found[0].summary
    models = {one.summary["model"]["digest"]: one.summary["model"]["name"] for one in found}
    patients = {one.case.patient for one in found if one.case.patient}
    splits = sorted({one.case.split for one in found if one.case.split})
    tiling = Tiling.model_validate(first["settings"]["tiling"])
    thresholds = sorted({one.summary["settings"]["post"]["threshold"] for one in found})
    return {
        "results": str(out),
        "model": ", ".join(f"{name} ({digest})" for digest, name in models.items()),
        "slides": str(len(found)),
        **({"patients": str(len(patients))} if patients else {}),
        **({"part": ", ".join(splits)} if splits else {}),
        **_seen(found),
        "threshold": ", ".join(f"{value:g}" for value in thresholds),
        "tiles": f"{tiling.tile_px} px at {_resolution(tiling)}, side by side",
        "truth": "label images at their own pixels, polygons at the mask's",
    }


def _seen(found: Sequence[Found]) -> dict[str, str]:
    """Say how many slides the model has learnt from or was chosen by: their scores flatter it."""
    seen = seen_in_training(found)
    return {
        f"slides of the {part} part": f"{len(slides)} of {len(found)}"
        for part, slides in seen.items()
    }


def _resolution(tiling: Tiling) -> str:
    """Say at what resolution tiles are."""
    ways = {
        "mpp": "{:g} µm/px",
        "magnification": "{:g}x",
        "downsample": "downsample {:g}",
        "longest_side_px": "{:g} px on the slide's longer side",
    }
    return next(
        text.format(value)
        for name, text in ways.items()
        if (value := getattr(tiling, name)) is not None
    )


def _claim(folder: Path, about: dict[str, str], *, overwrite: bool) -> None:
    """Refuse to replace scores of something else."""
    file = folder / "scores.json"
    if overwrite or not file.exists():
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))["about"]
    except (OSError, ValueError, LookupError, TypeError):
        before = {}
    differing = sorted(key for key in before | about if before.get(key) != about.get(key))
    if differing:
        raise OutputError(
            f"{folder} holds scores of something else ({', '.join(differing)} differ). "
            "Choose another --out, or pass --overwrite to replace them."
        )


def _by_size(scored: Sequence[Scored]) -> dict[str, ObjectSizes]:
    """Put the slides' objects together; empty where one slide's pixel size is unknown."""
    if any(len(one.sizes) < len(one.score.objects) for one in scored):
        return {}
    names = dict.fromkeys(name for one in scored for name in one.sizes)
    return {
        name: sum((one.sizes[name] for one in scored), start=ObjectSizes.none()) for name in names
    }
