"""Labels in bands become the polygons of the whole map."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.types import Labels
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.box import Box
from slidemask.geometry.trace import trace
from slidemask.post import vectorise as module
from slidemask.post.vectorise import simplify, vectorise

NAMES = ("background", "gland", "lymphoid")
maps = st.builds(
    lambda seed, rows, columns: (
        np.random.default_rng(seed).choice([0, 1, 2, 255], (rows, columns)).astype(np.uint8)
    ),
    st.integers(0, 2**32 - 1),
    st.integers(1, 14),
    st.integers(1, 14),
)


def cut(labels: Labels, heights: list[int]) -> list[tuple[int, Labels]]:
    at = np.cumsum(heights, dtype=int)
    at = at[at < len(labels)]
    return list(zip([0, *at.tolist()], np.split(labels, at), strict=True))


@given(maps, st.lists(st.integers(1, 5), max_size=14), st.sampled_from([1.0, 1.3, 0.5]))
@settings(deadline=None, max_examples=200)
def test_any_cut_equals_tracing_the_whole(labels, heights, downsample):
    regions = vectorise(cut(labels, heights), NAMES, downsample)
    whole = [(NAMES[k], polygon) for k in (1, 2) for polygon in trace(labels == k)]
    assert regions.labels == tuple(name for name, _ in whole)
    scaled = [shapely.transform(p, lambda places: places * downsample) for _, p in whole]
    assert [p.wkt for p in regions.polygons] == [p.wkt for p in scaled]


@given(maps, st.sampled_from([1.0, 1.3, 0.5]))
@settings(deadline=None, max_examples=100)
def test_rasterised_again_it_is_the_same_map(labels, downsample):
    labels[labels == 255] = 0
    regions = vectorise([(0, labels)], NAMES, downsample)
    rows, columns = labels.shape
    box = Box(0, 0, columns * downsample, rows * downsample)
    again = regions.rasterise(box, downsample, {"gland": 1, "lymphoid": 2})
    assert np.array_equal(again, labels)


def test_gaps_and_unknown_labels_are_refused():
    band = np.ones((2, 3), np.uint8)
    with pytest.raises(ValueError, match="starts in row 2, got row 3"):
        vectorise([(0, band), (3, band)], NAMES, 1.0)
    with pytest.raises(ValueError, match="label 3 occurs"):
        vectorise([(0, band * 3)], NAMES, 1.0)


def test_nothing_gives_nothing():
    assert len(vectorise([], NAMES, 1.0)) == 0
    assert len(vectorise([(0, np.zeros((4, 4), np.uint8))], NAMES, 2.0)) == 0


def discs(rng: np.random.Generator) -> Labels:
    rows, columns = np.mgrid[:120, :120]
    labels = np.zeros((120, 120), np.uint8)
    for y, x in rng.uniform(10, 110, (25, 2)):
        labels[np.hypot(rows - y, columns - x) < 9] = rng.integers(1, 3)
    return labels


def test_simplified_outlines_stay_close_and_do_not_overlap(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 3)
    regions = vectorise([(0, discs(np.random.default_rng(3)))], NAMES, 2.0)
    simple = simplify(regions, 4.0)
    assert len(simple) == len(regions)
    assert simple.labels == regions.labels
    assert shapely.is_valid(simple.polygons).all()
    corners = shapely.get_num_coordinates
    assert corners(simple.polygons).sum() < 0.6 * corners(regions.polygons).sum()
    areas, before = shapely.area(simple.polygons), shapely.area(regions.polygons)
    assert areas.sum() == pytest.approx(before.sum(), rel=0.03)
    overlap = areas.sum() - shapely.union_all(simple.polygons).area
    assert overlap < 0.002 * areas.sum()


def test_no_tolerance_changes_nothing():
    regions = Annotations.of([shapely.box(0, 0, 1, 1)], ["gland"])
    assert simplify(regions, 0.0) is regions
