"""Cleaning in bands equals cleaning the whole map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from slidemask.base.errors import SettingsError
from slidemask.base.types import Labels
from slidemask.geometry import components
from slidemask.post.clean import Post, clean, labels_of

SQUARE = np.ones((3, 3), bool)


@st.composite
def cut_maps(draw: st.DrawFn) -> tuple[Labels, list[int]]:
    """Return a busy map and band heights; Hypothesis' own arrays are mostly flat."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    share = rng.uniform(0.05, 0.5)
    shape = rng.integers(1, 14, 2)
    labels = rng.choice([0, 1, 2], shape, p=[share, 0.7 * (1 - share), 0.3 * (1 - share)])
    return labels.astype(np.uint8), rng.integers(1, 5, 14).tolist()


def cut(labels: Labels, heights: list[int]) -> list[tuple[int, Labels]]:
    at = np.cumsum(heights, dtype=int)
    at = at[at < len(labels)]
    return list(zip([0, *at.tolist()], np.split(labels, at), strict=True))


def cleaned(labels: Labels, heights: list[int], post: Post, um_per_px: float = 1.0) -> Labels:
    bands = list(clean(lambda: iter(cut(labels, heights)), labels.shape[1], post, um_per_px))
    assert [top for top, _ in bands] == [top for top, _ in cut(labels, heights)]
    return np.concatenate([band for _, band in bands])


def naive_fill(labels: Labels, area: float) -> Labels:
    result = labels.copy()
    holes, count = ndimage.label(labels == 0, SQUARE)  # pyright: ignore[reportGeneralTypeIssues] - scipy's int
    for number in range(1, count + 1):
        hole = holes == number
        rows, columns = np.nonzero(hole)
        reaches_border = (
            0 in rows or 0 in columns
            or labels.shape[0] - 1 in rows or labels.shape[1] - 1 in columns
        )  # fmt: skip
        if reaches_border or hole.sum() >= area:
            continue
        edges = np.zeros(256, int)
        for i, j in zip(rows, columns, strict=True):
            for y, x in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                edges[labels[y, x]] += labels[y, x] > 0
        result[hole] = edges.argmax()
    return result


def naive_drop(labels: Labels, area: float) -> Labels:
    result = labels.copy()
    for value in (1, 2):
        parts, count = ndimage.label(labels == value)  # pyright: ignore[reportGeneralTypeIssues] - scipy's int
        for number in range(1, count + 1):
            if (parts == number).sum() < area:
                result[parts == number] = 0
    return result


@given(cut_maps(), st.integers(0, 9), st.integers(0, 9))
@settings(deadline=None, max_examples=500)
def test_equals_the_whole_map(cut_map, hole, part):
    labels, heights = cut_map
    post = Post(fill_holes_um2=hole * 0.25, min_area_um2=part * 0.25)
    expected = naive_drop(naive_fill(labels, hole), part)
    assert np.array_equal(cleaned(labels, heights, post, um_per_px=0.5), expected)


@given(cut_maps())
@settings(deadline=None, max_examples=100)
def test_equals_the_whole_map_also_slab_by_slab(cut_map):
    labels, heights = cut_map
    post = Post(fill_holes_um2=5, min_area_um2=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "_SLAB_PX", 2 * labels.shape[1])
        found = cleaned(labels, heights, post)
    assert np.array_equal(found, naive_drop(naive_fill(labels, 5), 4))


def test_a_hole_takes_the_class_around_most_of_it():
    labels = np.array([[1, 1, 1, 1], [1, 0, 0, 2], [1, 1, 2, 2]], np.uint8)
    filled = cleaned(labels, [1, 1, 1], Post(fill_holes_um2=3))
    assert filled[1].tolist() == [1, 1, 1, 2]
    assert np.array_equal(cleaned(labels, [1, 1, 1], Post(fill_holes_um2=2)), labels)


def test_input_bands_stay_as_they_are():
    labels = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)
    before = labels.copy()
    cleaned(labels, [2], Post(fill_holes_um2=5, min_area_um2=50))
    assert np.array_equal(labels, before)


def test_areas_need_a_pixel_size():
    bands = [(0, np.ones((2, 2), np.uint8))]
    with pytest.raises(SettingsError, match=r"min_area_um2 = 1.*--mpp .*or set to 0"):
        clean(lambda: iter(bands), 2, Post(min_area_um2=1), None)
    ((_, labels),) = clean(lambda: iter(bands), 2, Post(), None)
    assert labels.all()


@given(arrays(np.uint8, (3, 4, 5)), st.integers(1, 255))
@settings(deadline=None, max_examples=100)
def test_threshold_is_exact(probabilities, level):
    ((top, labels),) = labels_of(iter([(7, probabilities)]), level / 255)
    total = probabilities.astype(int).sum(axis=0)
    expected = np.where(total >= level, 1 + probabilities.argmax(axis=0), 0)
    assert top == 7
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, expected)


def test_half_is_above_127():
    ((_, labels),) = labels_of(iter([(0, np.array([[[127, 128]]], np.uint8))]), 0.5)
    assert labels.tolist() == [[0, 1]]
