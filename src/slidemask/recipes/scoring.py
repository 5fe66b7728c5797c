"""Score a folder of results against a cohort's annotations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slidemask.base.classes import ClassMap
from slidemask.base.errors import CohortError
from slidemask.base.progress import track
from slidemask.data.case import Case
from slidemask.data.truth import Truth, open_truth
from slidemask.evaluate.evaluation import Evaluation, SlideScore, write_tables
from slidemask.evaluate.report import write_evaluation_report
from slidemask.evaluate.score import score_slide
from slidemask.geometry.box import Box
from slidemask.io.maskfile import MaskFile, open_mask
from slidemask.io.open import open_slide
from slidemask.io.slide import Slide
from slidemask.post.overlay import error_picture
from slidemask.post.preview import thumbnail, write_picture
from slidemask.recipes.results import results

PICTURE = "errors.png"


def evaluate(out: Path, cases: Sequence[Case]) -> tuple[Evaluation, Path]:
    """Compare each case's mask in `out` with its annotations; write tables and a report.

    Parameters
    ----------
    out : Path
        What `segment` wrote.
    cases : sequence of Case
        Those with annotations are scored, by the class map of the model that made the results.

    Returns
    -------
    (Evaluation, Path)
        The scores, and the HTML report.

    Raises
    ------
    CohortError
        If a case has no result, or no case has annotations.
    """
    known = [case for case in cases if case.annotations]
    if not known:
        raise CohortError("No case has annotations to score against; fill the annotations column.")
    folders = {
        Path(found["slide"]["path"]).resolve(): (folder, found) for folder, found in results(out)
    }
    missing = [case.slide.name for case in known if case.slide.resolve() not in folders]
    if missing:
        raise CohortError(
            f"{len(missing)} of {len(known)} annotated slides have no result in {out}: "
            f"{', '.join(missing[:5])}. Segment them first, or choose a part with --split."
        )
    classes = _class_map([folders[case.slide.resolve()][1] for case in known])
    scored = track(known, "evaluate", len(known), "slides")
    scores = tuple(_score(*folders[case.slide.resolve()], case, classes) for case in scored)
    about = {
        "results": str(out),
        "model": folders[known[0].slide.resolve()][1]["model"]["name"],
        "slides": str(len(scores)),
    }
    evaluation = Evaluation(classes.names, scores, about)
    write_tables(out, evaluation)
    return evaluation, write_evaluation_report(out, evaluation)


def _class_map(summaries: Sequence[dict[str, Any]]) -> ClassMap:
    """Return the one class map by which all results were made."""
    maps = [ClassMap.model_validate(summary["class_map"]) for summary in summaries]
    if any(other != maps[0] for other in maps):
        raise CohortError("The results were made by models of different classes; score them apart.")
    return maps[0]


def _score(folder: Path, found: dict[str, Any], case: Case, classes: ClassMap) -> SlideScore:
    downsample = found["canvas"]["downsample"]
    with open_slide(case.slide, mpp=case.mpp) as slide, open_mask(folder / "mask.ome.tif") as mask:
        truth = open_truth(case, slide, classes)
        confusion = score_slide(truth, mask, slide.size, downsample=downsample, names=classes.names)
        write_picture(folder / PICTURE, _errors(slide, truth, mask))
    return SlideScore(folder.name, confusion, case.patient, case.group, folder / PICTURE)


def _errors(slide: Slide, truth: Truth, mask: MaskFile) -> np.ndarray:
    picture, downsample = thumbnail(slide, 1200)
    height, width = picture.shape[:2]
    wanted = truth.labels(Box(0, 0, width * downsample, height * downsample), downsample)
    return error_picture(picture, wanted, mask.level(max(height, width)))
