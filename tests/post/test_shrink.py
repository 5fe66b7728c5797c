"""Shrinking in bands against polygons scaled by another library, and against each pixel's place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from shapely import affinity

from slidemask.base.types import Labels
from slidemask.geometry import components
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.box import Box
from slidemask.geometry.trace import trace
from slidemask.post import shrink as shrink_module
from slidemask.post.clean import Post, clean
from slidemask.post.shrink import shrinking

BAND = st.lists(st.integers(1, 9), min_size=40, max_size=40)


def blobs(seed: int, shape: tuple[int, int], scale: float) -> Labels:
    rng = np.random.default_rng(seed)
    field = [ndimage.gaussian_filter(rng.normal(size=shape), scale) for _ in range(3)]
    return np.argmax(field, axis=0).astype(np.uint8)


def cut(labels: Labels, heights: list[int]) -> list[tuple[int, Labels]]:
    at = np.cumsum(heights, dtype=int)
    at = at[at < len(labels)]
    return list(zip([0, *at.tolist()], np.split(labels, at), strict=True))


def shrunk(labels: Labels, share: float, heights: list[int], rows: int = 7) -> Labels:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shrink_module, "_ROWS", rows)
        patch.setattr(shrink_module, "_PIXELS", 30)
        patch.setattr(components, "_SLAB_PX", 3 * labels.shape[1])
        make = shrinking(lambda: iter(cut(labels, heights)), labels.shape[1], share)
        bands, again = list(make()), list(make())
    tops = np.cumsum([0, *(len(band) for _, band in bands)])
    assert [top for top, _ in bands] == tops[:-1].tolist() == [top for top, _ in again]
    found = np.concatenate([band for _, band in bands])
    np.testing.assert_array_equal(found, np.concatenate([band for _, band in again]))
    return found


def naive(labels: Labels, share: float) -> tuple[Labels, np.ndarray]:
    """Look up where each pixel comes from; also say where that is too near an edge to tell."""
    parts = []
    for value in (1, 2):
        numbers, count = ndimage.label(labels == value)  # pyright: ignore[reportGeneralTypeIssues] - scipy's int
        parts += [(value, numbers == number) for number in range(1, count + 1)]
    parts.sort(key=lambda part: int(np.flatnonzero(part[1])[0]))
    result, unsure = np.zeros_like(labels), np.zeros(labels.shape, bool)
    for value, part in parts:
        y, x = (places.mean() + 0.5 for places in np.nonzero(part))
        rows, columns = (
            centre + (np.arange(count) + 0.5 - centre) / (1 - share)
            for centre, count in zip((y, x), labels.shape, strict=True)
        )
        near = [np.abs(line - np.rint(line)) < 1e-6 for line in (rows, columns)]
        unsure |= near[0][:, None] | near[1]
        i, j = np.floor(rows).astype(int), np.floor(columns).astype(int)
        inside = ((i >= 0) & (i < len(labels)))[:, None] & (j >= 0) & (j < labels.shape[1])
        i, j = i.clip(0, len(labels) - 1), j.clip(0, labels.shape[1] - 1)
        result[inside & part[np.ix_(i, j)]] = value
    return result, unsure


@given(
    seed=st.integers(0, 999),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 30)),
    scale=st.floats(0.4, 4),
    share=st.sampled_from([0.05, 0.1, 0.217, 0.5, 0.8, 0.99]),
    heights=BAND,
    rows=st.integers(1, 12),
)
@settings(deadline=None, max_examples=150)
def test_each_pixel_comes_from_where_the_part_was(seed, shape, scale, share, heights, rows):
    labels = blobs(seed, shape, scale)
    before = labels.copy()
    found = shrunk(labels, share, heights, rows)
    expected, unsure = naive(labels, share)
    np.testing.assert_array_equal(found[~unsure], expected[~unsure])
    np.testing.assert_array_equal(labels, before)


@given(seed=st.integers(0, 999), share=st.sampled_from([0.0713, 0.137, 0.311]), heights=BAND)
@settings(deadline=None, max_examples=40)
def test_one_part_is_its_scaled_polygon(seed, share, heights):
    labels = (blobs(seed, (40, 36), 4) == 1).astype(np.uint8)
    numbers, count = ndimage.label(labels)  # pyright: ignore[reportGeneralTypeIssues] - scipy's int
    if not count:
        return
    part = numbers == np.bincount(numbers[labels > 0]).argmax()
    (outline,) = trace(part)
    scaled = affinity.scale(outline, 1 - share, 1 - share, origin=outline.centroid)
    drawn = Annotations.of([scaled], ["part"]).rasterise(Box(0, 0, 36, 40), 1.0, {"part": 1})
    found = shrunk(part.astype(np.uint8), share, heights)
    assert np.count_nonzero(found != drawn) <= 2  # centres on an edge, by rounding


def test_bands_cut_otherwise_give_the_same():
    labels = blobs(5, (40, 30), 2.5)
    whole = shrunk(labels, 0.1, [40])
    assert (whole > 0).any()
    assert (whole != labels).any()
    for heights in ([1] * 40, [7] * 6, [39, 1]):
        np.testing.assert_array_equal(shrunk(labels, 0.1, heights, rows=5), whole)


def test_what_a_ring_surrounds_stays_on_top():
    labels = np.zeros((60, 60), np.uint8)
    labels[5:55, 5:55] = 1
    labels[15:45, 15:45] = 0
    labels[17:43, 17:43] = 1  # an island as large as the hole, nearly
    found = shrunk(labels, 0.3, [13] * 5)
    expected = np.zeros_like(labels)
    expected[12:47, 12:47] = 1  # 50 px become 35, from 12.5 to 47.5; a centre there is inside
    expected[19:40, 19:40] = 0  # 30 px become 21
    expected[21:39, 21:39] = 1  # 26 px become 18.2
    np.testing.assert_array_equal(found, expected)


def test_rows_are_written_as_soon_as_nothing_more_comes_into_them():
    made = []

    def bands():
        for top in range(0, 40_000, 200):
            made.append(top)
            labels = np.zeros((200, 8), np.uint8)
            labels[10:150, 2:6] = 1
            yield top, labels

    make = shrinking(bands, 8, 0.1)
    next(make())
    made.clear()
    for top, band in make():
        assert band.any()
        assert made[-1] + 200 <= top + len(band) + 600


def test_it_comes_before_small_parts_are_dropped():
    labels = np.zeros((20, 20), np.uint8)
    labels[2:12, 2:12] = 1
    bands = clean(lambda: iter([(0, labels)]), 20, Post(shrink=0.5, min_area_um2=26), 1.0)
    assert not np.concatenate([band for _, band in bands]).any()
    bands = clean(lambda: iter([(0, labels)]), 20, Post(shrink=0.5), None)
    assert np.concatenate([band for _, band in bands]).sum() == 25
