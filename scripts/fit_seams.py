"""Weights of the signs by which `slidemask.post.seams` knows a seam, from photos with known slides.

    python scripts/fit_seams.py COHORT --model BUNDLE

Every find of the model is straightened as `segment` does it. Where several slides lie in it, the
signs at each seam between them are an example for a seam; where it is one slide, the column that
looks most like a seam is one against, upright and across. Signs are weighed by a logistic
regression without regularisation. Use photos that neither train nor test the model.
"""

import argparse
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from slidemask.base.progress import track
from slidemask.evaluate.outlines import Shape
from slidemask.io.photograph import read_photo
from slidemask.models.backends import load
from slidemask.models.bundle import Bundle
from slidemask.post import seams
from slidemask.post.halves import Halves
from slidemask.post.outlines import Outline, Outlines
from slidemask.recipes.photo.cases import read_photo_cases
from slidemask.recipes.photo.find import (
    BORDER,
    box_around,
    equipped,
    outlines_from,
    photo_settings,
    seen_by_network,
)  # fmt: skip

Points = NDArray[np.float64]
_NEAR_PX = 5
_TURNS = 6
_RIGHTS = (0.9, 0.95, 0.98, 0.99, 0.995)


@dataclass(frozen=True, eq=False)
class Example:
    """One find, upright or turned.

    Parameters
    ----------
    told : (3, w) float64
        Signs at each column.
    seams : list of (n,) intp
        Columns at and beside each seam.
    others : (k,) intp
        Columns away from seams.
    """

    told: NDArray[np.float64]
    seams: list[NDArray[np.intp]]
    others: NDArray[np.intp]


def main() -> None:
    """Print the weights and how well they tell."""
    asked = argparse.ArgumentParser(description="Fit the weights of seams.")
    asked.add_argument("cohort", type=Path)
    asked.add_argument("--model", default="photo")
    options = asked.parse_args()
    found = list(examples(options.cohort, load(options.model, "cpu", "auto")))
    weights = np.array([*seams.WEIGHTS, seams.BIAS])
    signs, given, is_seam = likeliest(found, weights)
    for _ in range(_TURNS):
        weights = fitted(signs, given, is_seam)
        signs, given, is_seam = likeliest(found, weights)
    logits = signs @ weights[:-1] + weights[-1] + given
    print(f"{is_seam.sum()} seams, {(~is_seam).sum()} finds")
    for name, weight in zip((*seams.SIGNS, "bias"), weights, strict=True):
        print(f"{name}: {weight:.2f}")
    for right in _RIGHTS:
        least = np.quantile(logits[~is_seam], right)
        seen = (logits[is_seam] > least).mean()
        print(
            f"logit > {least:.2f}: {right:.1%} of the others left whole, {seen:.1%} of seams seen"
        )


def examples(cohort: Path, bundle: Bundle) -> Iterator[Example]:
    """Yield the finds of each photo, seen as a whole, and of each of them seen from near."""
    settings = photo_settings(bundle).model_copy(update={"seams": False, "look_closer": False})
    cases, _ = read_photo_cases(cohort)
    for case in track(cases, "photos", len(cases), "photos"):
        photo = Halves.of(read_photo(case.photo))
        bundle = equipped(bundle, photo.photo, settings, "auto")
        for outline in (yield from _in_view(photo, np.zeros(2), case.true, (bundle, settings))):
            around = box_around(outline, photo.size)
            if around is not None:
                part, *origin = photo.part(*around)
                yield from _in_view(part, np.array(origin, float), case.true, (bundle, settings))


def _in_view(
    photo: Halves, origin: Points, true: tuple[Shape, ...], by: tuple[Bundle, Outlines]
) -> Generator[Example, None, tuple[Outline, ...]]:
    """Yield the finds in a part of a photo that begins at `origin`; return their outlines."""
    bundle, settings = by
    names = bundle.info.classes.names
    planes = bundle.predict(seen_by_network(photo, settings)[None])[0]
    found = outlines_from(planes, photo, names, settings).outlines
    for outline in found:
        slides = _within(translate(outline.polygon, *origin), true)
        if not slides or any(slide is None for slide in slides):
            continue  # a false find, or a slide whose corners lie outside the photo
        find = seams.straightened(
            photo, planes[names.index(BORDER)], outline.corners, band_share=settings.border_share
        )
        size = find.border.shape[::-1]
        places = [_flat(slide - origin, outline, size) for slide in slides if slide is not None]
        yield from _of_find(find, places)
        yield from _of_find(find.turned, [place[:, ::-1] for place in places])
    return found


def _of_find(find: seams.Straightened, places: list[Points]) -> Iterator[Example]:
    columns = seams.sought(find)
    if columns.start >= columns.stop:
        return
    width = find.border.shape[1]
    others, between = np.zeros(width, bool), list[NDArray[np.intp]]()
    others[columns] = True
    spans = [(place[:, 0].min(), place[:, 0].max()) for place in places]
    for x in sorted({round(float(end)) for span in spans for end in span}):
        others[max(0, x - 2 * _NEAR_PX) : x + 2 * _NEAR_PX + 1] = False
        crossed = any(low < x - 0.05 * width and high > x + 0.05 * width for low, high in spans)
        twice = between and x - between[-1].mean() < 0.05 * width  # both slides end there
        if len(places) > 1 and columns.start <= x < columns.stop and not crossed and not twice:
            between.append(np.arange(max(0, x - _NEAR_PX), min(width, x + _NEAR_PX + 1)))
    yield Example(seams.signs(find), between, np.flatnonzero(others))


def likeliest(
    found: list[Example], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return the signs (n, 3) at each seam, and where else a find looks most like one.

    Also what is expected of their places, and whether each is a seam.
    """
    signs, given, is_seam = [], [], []
    for one in found:
        told, place = one.told, seams.expected(one.told.shape[1])
        logits = weights[:-1] @ told + place
        for columns in (*one.seams, one.others):
            if len(columns):
                at = columns[logits[columns].argmax()]
                signs.append(told[:, at])
                given.append(place[at])
                is_seam.append(columns is not one.others)
    return np.array(signs), np.array(given), np.array(is_seam)


def _within(polygon: BaseGeometry, true: tuple[Shape, ...]) -> list[Points | None]:
    return [
        slide.corners
        for slide in true
        if slide.polygon.intersection(polygon).area > 0.3 * slide.polygon.area
    ]


def _flat(slide: Points, outline: Outline, size: tuple[int, ...]) -> Points:
    """Return where a slide's corners lie in a straightened find."""
    width, height = size
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    to_flat = cv2.getPerspectiveTransform(outline.corners.astype(np.float32), flat)
    return np.asarray(cv2.perspectiveTransform(slide[None], to_flat)[0], np.float64)


def fitted(
    signs: NDArray[np.float64], given: NDArray[np.float64], is_seam: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the weights and the bias of the greatest likelihood."""
    terms = np.column_stack([signs, np.ones(len(signs))])

    def loss(weights: NDArray[np.float64]) -> float:
        logits = terms @ weights + given
        return float(np.logaddexp(0, np.where(is_seam, -logits, logits)).sum())

    return np.asarray(minimize(loss, np.zeros(terms.shape[1])).x, np.float64)


if __name__ == "__main__":
    main()
