"""Overlaps of large and many objects against plain geometry."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Point

from slidemask.base.types import IGNORE
from slidemask.evaluate import overlaps as module
from slidemask.evaluate.overlaps import NONE, known_share, meet
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.box import Box

Rectangle = tuple[int, int, int, int]
rectangles = st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 6)] * 2), max_size=6)


def objects(found: list[Rectangle]) -> Annotations:
    return Annotations.of(
        [shapely.box(x, y, x + w, y + h) for x, y, w, h in found], [""] * len(found)
    )


def common(one: Rectangle, other: Rectangle) -> int:
    spans = [
        min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis])
        for axis in (0, 1)
    ]
    return max(0, spans[0]) * max(0, spans[1])


@settings(deadline=None, max_examples=60)
@given(rectangles, rectangles)
def test_rectangles_overlap_as_they_should(truth: list[Rectangle], predicted: list[Rectangle]):
    found = meet(objects(truth), objects(predicted))
    wanted = {
        (one, other): area
        for one, mine in enumerate(truth)
        for other, theirs in enumerate(predicted)
        if (area := common(mine, theirs))
    }
    assert dict(zip(zip(*found.pairs.tolist(), strict=True), found.common, strict=True)) == wanted
    for side in (0, 1):
        for number, pair in enumerate(found.partners(side).tolist()):
            mine = {key: area for key, area in wanted.items() if key[side] == number}
            best = max(mine, key=lambda key: (mine[key], -key[0], -key[1])) if mine else None
            assert (tuple(found.pairs[:, pair].tolist()) if pair != NONE else None) == best
    chosen = found.matches(0.3)
    assert (found.iou[chosen] >= 0.3 - 1e-9).all()
    assert all(len(set(side)) == len(side) for side in found.pairs[:, chosen].tolist())


def test_large_objects_are_cut_without_changing_an_area(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    holes = [Point(*place).buffer(3) for place in rng.uniform(-80, 80, (150, 2))]
    flower = Point(0, 0).buffer(100, quad_segs=500).difference(shapely.union_all(holes))
    fan = MultiPolygon(  # pieces that meet in one point, which no cut parts
        [shapely.Polygon([(0, 0), (9, y), (9, y + 0.01)]) for y in np.arange(0, 8, 0.02)]
    )
    large = Annotations(np.array([flower, fan, None], object)[:2], ("", ""))
    small = objects([tuple(b) for b in rng.integers(1, 60, (40, 4)).tolist()])
    found = meet(small, large)
    wanted = shapely.area(shapely.intersection(small.polygons[:, None], large.polygons[None, :]))
    got = np.zeros_like(wanted)
    got[tuple(found.pairs)] = found.common
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-6)
    monkeypatch.setattr(module, "_CORNERS", 10**9)
    np.testing.assert_allclose(meet(small, large).common, found.common, rtol=1e-9)


def test_the_known_share_of_a_disc_is_its_area():
    def below(box: Box, downsample: float) -> np.ndarray:
        rows = box.y + (np.arange(box.shape_at(downsample)[0]) + 0.5) * downsample
        labels = np.where(rows < 10, 1, IGNORE).astype(np.uint8)
        return np.broadcast_to(labels[:, None], box.shape_at(downsample))

    assert known_share(Point(0, 10).buffer(7), below) == pytest.approx(0.5, abs=0.01)
    assert known_share(Point(0, 30).buffer(7), below) == 0
    assert known_share(Point(0, 0).buffer(2), below) == 1
