"""Labels and the glass beside them become one slide again; panels side by side stay two."""

import cv2
import numpy as np
import pytest
import shapely
from shapely.geometry import Polygon

from slidemask.post.glass import glass_joined
from slidemask.post.outlines import Kind, Outline

SLIDE = np.array([[0, 0], [290, 0], [290, 100], [0, 100]], np.float64)


def outline(
    ring: np.ndarray, confidence: float = 0.9, kind: Kind = "quadrilateral", start: int = 0
) -> Outline:
    return Outline(np.roll(ring, start, axis=0), Polygon(ring), confidence, kind)


def halves(at: float, gap: float = 0.0) -> list[np.ndarray]:
    left = np.array([[0, 0], [at - gap, 0], [at - gap, 100], [0, 100]], np.float64)
    right = np.array([[at + gap, 0], [290, 0], [290, 100], [at + gap, 100]], np.float64)
    return [left, right]


def seen(ring: np.ndarray) -> np.ndarray:
    """Look at a slide at a slant: another place, turn and perspective."""
    from_, to = SLIDE.astype(np.float32), np.array(
        [[120, 80], [410, 130], [380, 260], [90, 190]], np.float32
    )  # fmt: skip
    matrix = cv2.getPerspectiveTransform(from_, to)
    return cv2.perspectiveTransform(ring[None], matrix)[0].astype(np.float64)


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("at", [60.0, 75.0, 230.0])
@pytest.mark.parametrize("gap", [0.0, 2.0])
def test_label_and_tissue_are_one_slide(at: float, gap: float, start: int) -> None:
    one, other = (seen(ring) for ring in halves(at, gap))
    (whole,) = glass_joined([outline(one, 0.8, start=start), outline(other, 0.9)])
    true = Polygon(seen(SLIDE))
    assert whole.polygon.intersection(true).area / whole.polygon.union(true).area > 0.97
    away = np.hypot(*(whole.corners[:, None] - seen(SLIDE)[None]).transpose(2, 0, 1))
    np.testing.assert_allclose(away.min(axis=1), 0, atol=1e-3)
    assert shapely.Polygon(whole.corners).is_valid
    assert 0.8 < whole.confidence < 0.9


@pytest.mark.parametrize(
    "rings",
    [
        halves(145.0),  # two pictures of one size
        [ring * (0.5, 1) for ring in halves(75.0)],  # too short for a glass slide
        [ring * (1.6, 1) for ring in halves(75.0)],  # too long
        [halves(75.0)[0] - (0, 60), halves(75.0)[1]],  # beside each other, not in line
        halves(75.0, gap=20.0),  # apart
        halves(75.0, gap=9.0),  # a little
        [halves(75.0)[0] * (1, 0.4), halves(75.0)[1]],  # a smaller picture at one end
    ],
)
def test_what_is_no_glass_slide_stays_two(rings: list[np.ndarray]) -> None:
    given = [outline(ring) for ring in rings]
    assert glass_joined(given) == given


def test_a_label_belongs_to_one_slide_and_others_stay() -> None:
    far = outline(SLIDE + np.array([0, 400]))
    label, tissue = (outline(ring) for ring in halves(75.0))
    found = glass_joined([far, label, tissue])
    assert len(found) == 2
    assert found[0] is far
    assert glass_joined([]) == []
