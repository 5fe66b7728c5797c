"""Weights of the signs by which `slidemask.post.seams` knows a seam, from photos with known slides.

    python scripts/fit_seams.py COHORT --model BUNDLE

Every find of the model is straightened as `segment` does it. Where several slides lie in it, the
signs at each seam between them are an example for a seam; where it is one slide, the column that
looks most like a seam is one against, upright and across. Signs are weighed by a logistic
regression without regularisation. Use photos that neither train nor test the model.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from slidemask.base.progress import track
from slidemask.evaluate.outlines import Shape
from slidemask.io.photograph import read_photo
from slidemask.models.bundle import Bundle
from slidemask.post import seams
from slidemask.post.halves import Halves
from slidemask.post.outlines import Outline
from slidemask.recipes.photo.cases import read_photo_cases
from slidemask.recipes.photo.find import BORDER, outlines_from, photo_settings, seen_by_network

Points = NDArray[np.float64]
_NEAR_PX = 5
_RIGHTS = (0.9, 0.95, 0.98, 0.99, 0.995)


def main() -> None:
    """Print the weights and how well they tell."""
    asked = argparse.ArgumentParser(description="Fit the weights of seams.")
    asked.add_argument("cohort", type=Path)
    asked.add_argument("--model", default="photo")
    options = asked.parse_args()
    found = list(examples(options.cohort, Bundle.load(options.model)))
    signs = np.array([told for told, _ in found])
    is_seam = np.array([truth for _, truth in found])
    weights = fitted(signs, is_seam)
    logits = signs @ weights[:-1] + weights[-1]
    print(f"{is_seam.sum()} seams, {(~is_seam).sum()} finds without")
    for name, weight in zip((*seams.SIGNS, "bias"), weights, strict=True):
        print(f"{name}: {weight:.2f}")
    for right in _RIGHTS:
        least = np.quantile(logits[~is_seam], right)
        seen = (logits[is_seam] > least).mean()
        print(
            f"logit > {least:.2f}: {right:.1%} of the others left whole, {seen:.1%} of seams seen"
        )


def examples(cohort: Path, bundle: Bundle) -> Iterator[tuple[NDArray[np.float64], bool]]:
    """Yield the signs (4,) of seams, and of what looks most like one but is none."""
    settings = photo_settings(bundle).model_copy(update={"seams": False, "look_closer": False})
    names = bundle.info.classes.names
    cases, _ = read_photo_cases(cohort)
    for case in track(cases, "photos", len(cases), "photos"):
        photo = Halves.of(read_photo(case.photo))
        planes = bundle.predict(seen_by_network(photo, settings)[None])[0]
        border = planes[names.index(BORDER)]
        for outline in outlines_from(planes, photo, names, settings).outlines:
            slides = _within(outline, case.true)
            if not slides or any(slide is None for slide in slides):
                continue  # a false find, or a slide whose corners lie outside the photo
            corners = [slide for slide in slides if slide is not None]
            find = seams.straightened(
                photo, border, outline.corners, band_share=settings.border_share
            )
            places = [_flat(slide, outline, find.border.shape[::-1]) for slide in corners]
            yield from _of_find(find, places)
            yield from _of_find(find.turned, [place[:, ::-1] for place in places])


def _of_find(
    find: seams.Straightened, places: list[Points]
) -> Iterator[tuple[NDArray[np.float64], bool]]:
    columns = seams.sought(find)
    if columns.start >= columns.stop:
        return
    told = seams.signs(find)
    logits = seams.score(told)
    others = np.zeros(len(logits), bool)
    others[columns] = True
    spans = [(place[:, 0].min(), place[:, 0].max()) for place in places]
    width = len(logits)
    for x in sorted({round(float(end)) for span in spans for end in span}):
        others[max(0, x - 2 * _NEAR_PX) : x + 2 * _NEAR_PX + 1] = False
        crossed = any(low < x - 0.05 * width and high > x + 0.05 * width for low, high in spans)
        if columns.start <= x < columns.stop and not crossed:
            near = np.arange(max(0, x - _NEAR_PX), min(width, x + _NEAR_PX + 1))
            yield told[:, near[logits[near].argmax()]], True
    if others.any():
        at = np.flatnonzero(others)
        yield told[:, at[logits[at].argmax()]], False


def _within(outline: Outline, true: tuple[Shape, ...]) -> list[Points | None]:
    return [
        slide.corners
        for slide in true
        if slide.polygon.intersection(outline.polygon).area > 0.3 * slide.polygon.area
    ]


def _flat(slide: Points, outline: Outline, size: tuple[int, ...]) -> Points:
    """Return where a slide's corners lie in a straightened find."""
    width, height = size
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    to_flat = cv2.getPerspectiveTransform(outline.corners.astype(np.float32), flat)
    return np.asarray(cv2.perspectiveTransform(slide[None], to_flat)[0], np.float64)


def fitted(signs: NDArray[np.float64], is_seam: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the weights and the bias of the greatest likelihood."""
    terms = np.column_stack([signs, np.ones(len(signs))])

    def loss(weights: NDArray[np.float64]) -> float:
        logits = terms @ weights
        return float(np.logaddexp(0, np.where(is_seam, -logits, logits)).sum())

    return np.asarray(minimize(loss, np.zeros(terms.shape[1])).x, np.float64)


if __name__ == "__main__":
    main()
