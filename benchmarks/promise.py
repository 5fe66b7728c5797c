"""How often a cascade keeps, on other slides, the recall that its threshold was chosen for.

    python benchmarks/promise.py RUN cohort.csv@validation,test [more/cohort.csv …] [--choose 12]

The coarse network of a bundle surveys all annotated slides of the cohorts, or of these parts of
them; it must not have been trained on any. Then so many slides, drawn by chance, choose
the threshold, all others judge it, again and again. Printed are, for each recall and confidence
asked for, in what share of the draws the pixels, and the objects, that are left among the judges
reach it, and the median share of tiles that is left.
"""

import argparse
from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from slidemask.data.case import Case
from slidemask.data.cohort import read_cohort
from slidemask.models.bundle import Bundle
from slidemask.recipes.cascade import Survey, surveyed


class Draws(NamedTuple):
    """What became of all draws of one recall and confidence."""

    pixels: float
    objects: float
    tiles: float


def main() -> None:
    """Survey, draw and print."""
    asked = _arguments()
    cases = [case for cohort in asked.cohort for case in _part(cohort)]
    bundle = Bundle.load(asked.bundle, asked.device)
    with TemporaryDirectory() as folder:
        slides = surveyed(bundle, cases, Path(folder) / "coarse", backend=asked.backend)
    objects = sum(int(slide.objects.sum()) for slide in slides)
    print(f"{len(slides)} slides, {objects} objects; {asked.choose} of the slides choose")
    for recall in asked.recall:
        for confidence in asked.confidence:
            found = drawn(slides, asked.choose, asked.splits, recall=recall, confidence=confidence)
            print(
                f"recall {recall:g} at confidence {confidence:g}: kept of pixels in "
                f"{found.pixels:.1%} of the draws, of objects in {found.objects:.1%}; "
                f"{found.tiles:.1%} of the tiles",
                flush=True,
            )


def drawn(
    slides: Sequence[Survey], choose: int, splits: int, *, recall: float, confidence: float
) -> Draws:
    """Choose and judge so many times; the draws are the same for every recall and confidence."""
    rng, results = np.random.default_rng(0), []
    for _ in range(splits):
        order = rng.permutation(len(slides))
        choosing, judging = (
            reduce(add, [slides[number] for number in some])
            for some in (order[:choose], order[choose:])
        )
        threshold = choosing.threshold(recall, confidence)
        kept = judging.kept(threshold, confidence)
        results.append(
            (
                judging.recall(threshold) >= recall,
                kept.left >= recall * kept.total,
                judging.left(threshold) / judging.tiles.sum(),
            )
        )
    pixels, objects, tiles = np.array(results, np.float64).T
    return Draws(float(pixels.mean()), float(objects.mean()), float(np.median(tiles)))


def _part(cohort: str) -> list[Case]:
    path, _, parts = cohort.partition("@")
    cases = [case for case in read_cohort(Path(path)) if case.annotations is not None]
    return [case for case in cases if not parts or case.split in parts.split(",")]


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("bundle", help="of a cascade")
    parser.add_argument("cohort", nargs="+", help="CSV, or CSV@PART,PART")
    parser.add_argument("--recall", type=_numbers, default=[0.8, 0.85, 0.9])
    parser.add_argument("--confidence", type=_numbers, default=[0, 0.8, 0.95])
    parser.add_argument("--choose", type=int, default=12)
    parser.add_argument("--splits", type=int, default=1000)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
