"""The files that scores are written to, and read from again to compare runs.

Arrays that are too long for readers (counts of tiles, histograms) stand in scores.json as
`{"shape": [...], "data": "..."}`: little-endian int64 in C order, zlib, base64.
"""

import base64
import csv
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import CohortError
from slidemask.base.files import write_json, write_text
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation, SlideScore, figure_rows, none_if_nan
from slidemask.evaluate.figures import PER_CLASS, pool
from slidemask.evaluate.histogram import Histogram
from slidemask.evaluate.objects import FIELDS, OBJECT_FIGURES, ObjectCounts
from slidemask.evaluate.tilecounts import TileCounts

COUNTS: Final = ("tp", "fp", "fn", "tn")

FORMAT: Final = 1
"""Of scores.json; a change that old readers would misread raises it."""

Row = dict[str, Any]


def write_scores(out: Path, evaluation: Evaluation) -> tuple[Path, Path, Path]:
    """Write scores.json, scores.csv (per slide and class) and patients.csv (per patient and class).

    Parameters
    ----------
    out : Path
        A folder that is there.
    evaluation : Evaluation

    Returns
    -------
    (Path, Path, Path)
        The files, in this order.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    as_json, of_slides, of_patients = (
        out / name for name in ("scores.json", "scores.csv", "patients.csv")
    )
    slides = evaluation.slides
    write_json(
        as_json,
        {
            "format": FORMAT,
            "about": dict(evaluation.about),
            "classes": list(evaluation.names),
            "intervals": {"percent": 95, "resampled": evaluation.resampled},
            "figures": figure_rows(evaluation.figures),
            "groups": {g: figure_rows(f) for g, f in evaluation.figures_by_group().items()},
            "confusion": {
                "rows": "truth",
                "columns": "prediction",
                "pooled": evaluation.pooled.counts.tolist(),
                "slides": {s.slide: s.confusion.counts.tolist() for s in slides},
            },
            "slides": rows_of(evaluation),
            "patients": patient_rows(evaluation),
            "counts": {score.slide: _counted(score) for score in slides},
        },
    )
    write_text(of_slides, _csv(rows_of(evaluation)))
    write_text(of_patients, _csv(patient_rows(evaluation)))
    return as_json, of_slides, of_patients


def read_scores(path: Path) -> Evaluation:
    """Read scores.json back: all counts are there, pictures are not.

    Parameters
    ----------
    path : Path
        scores.json, or the folder it lies in.

    Raises
    ------
    CohortError
        If the file is not there, or holds no scores that this version can read.
    """
    file = path / "scores.json" if path.is_dir() else path
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise CohortError(
                f"{file} is of format {found['format']}, this version reads {FORMAT}; "
                "evaluate again"
            )
        slides = tuple(
            _score(name, counts, found["confusion"]["slides"][name])
            for name, counts in found["counts"].items()
        )
        return Evaluation(tuple(found["classes"]), slides, found["about"])
    except OSError as error:
        raise CohortError(
            f"no scores can be read from {file} ({error.strerror or error}); name the scores.json "
            "that slidemask evaluate wrote, or its folder"
        ) from error
    except (LookupError, TypeError, ValueError, zlib.error) as error:
        raise CohortError(
            f"{file} is no scores.json of slidemask evaluate, or damaged ({error}); evaluate again"
        ) from error


def rows_of(evaluation: Evaluation) -> list[Row]:
    """Return one row per slide and foreground class: figures and pixel counts, objects if counted.

    A figure that is not defined is None.
    """
    return [
        {"slide": score.slide, "patient": score.patient, "group": score.group, "class": name, **row}
        for score in evaluation.slides
        for name, row in _rows(evaluation, [score])
    ]


def patient_rows(evaluation: Evaluation) -> list[Row]:
    """Return one row per patient and foreground class, from the counts of all their slides.

    A slide without a patient has its own row, in which `patient` is None.
    """
    return [
        {
            "patient": scores[0].patient,
            "slides": len(scores),
            "slide names": "; ".join(score.slide for score in scores),
            "class": name,
            **row,
        }
        for scores in _by_patient(evaluation)
        for name, row in _rows(evaluation, scores)
    ]


def _by_patient(evaluation: Evaluation) -> list[list[SlideScore]]:
    scores: list[list[SlideScore]] = [[] for _ in evaluation.patients]
    for score in evaluation.slides:
        scores[evaluation.owner_of(score)].append(score)
    return scores


def _rows(evaluation: Evaluation, scores: Sequence[SlideScore]) -> list[tuple[str, Row]]:
    """Return (class, figures and counts) of the slides' pooled counts."""
    confusion = pool((score.confusion for score in scores), len(evaluation.names))
    parts = confusion.one_vs_rest()
    return [
        (
            name,
            {
                **{key: none_if_nan(figure(confusion)[at]) for key, figure in PER_CLASS.items()},
                **{f"{key}_px": int(part[at]) for key, part in zip(COUNTS, parts, strict=True)},
                **_object_figures([s.objects[name] for s in scores if name in s.objects]),
            },
        )
        for at, name in enumerate(evaluation.names)
        if at > 0
    ]


def _object_figures(counts: Sequence[ObjectCounts]) -> Row:
    if not counts:
        return {}
    pooled = reduce(add, counts)
    return {name: none_if_nan(pooled.figure(name)) for name in OBJECT_FIGURES}


def _counted(score: SlideScore) -> Row:
    """Return what is not in the confusion matrix, for `_score` to read."""
    tiles, histogram = score.tiles, score.histogram
    return {
        "patient": score.patient,
        "group": score.group,
        "tiles": None if tiles is None else _packed(tiles.counts),
        "histogram": None if histogram is None else _packed(histogram.counts),
        "objects": {
            name: dict(zip(FIELDS, counts.sums.tolist(), strict=True))
            for name, counts in score.objects.items()
        },
    }


def _score(slide: str, counts: Mapping[str, Any], confusion: list[list[int]]) -> SlideScore:
    tiles, histogram = counts["tiles"], counts["histogram"]
    return SlideScore(
        slide,
        Confusion(np.array(confusion, np.int64)),
        counts["patient"],
        counts["group"],
        tiles=None if tiles is None else TileCounts(_unpacked(tiles)),
        histogram=None if histogram is None else Histogram(_unpacked(histogram)),
        objects={
            name: ObjectCounts(np.array([sums[field] for field in FIELDS]))
            for name, sums in counts["objects"].items()
        },
    )


def _packed(counts: NDArray[np.int64]) -> Row:
    data = zlib.compress(np.ascontiguousarray(counts, "<i8").tobytes())
    return {"shape": list(counts.shape), "data": base64.b64encode(data).decode("ascii")}


def _unpacked(packed: Mapping[str, Any]) -> NDArray[np.int64]:
    data = zlib.decompress(base64.b64decode(packed["data"]))
    return np.frombuffer(data, "<i8").reshape(packed["shape"]).astype(np.int64)


def _csv(rows: Sequence[Row]) -> str:
    """Write rows as a table; what only some rows have is empty in the others."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
