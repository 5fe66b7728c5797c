"""Smoothing in bands against discs laid on the whole picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from slidemask.base.errors import SettingsError
from slidemask.base.types import Labels
from slidemask.post import smooth
from slidemask.post.clean import Post, clean
from slidemask.post.smooth import smoothed


def naive(labels: Labels, radius: float) -> Labels:
    """Put a disc wherever it fits into a class, or what of it lies on the canvas."""
    result = np.zeros_like(labels)
    yy, xx = np.indices(labels.shape)
    for y, x in np.ndindex(labels.shape):
        value, disc = labels[y, x], (yy - y) ** 2 + (xx - x) ** 2 <= radius**2
        if value and (labels[disc] == value).all():
            result[disc] = value
    return result


def blobs(seed: int, shape: tuple[int, int], scale: float) -> Labels:
    rng = np.random.default_rng(seed)
    field = [ndimage.gaussian_filter(rng.normal(size=shape), scale) for _ in range(3)]
    return np.argmax(field, axis=0).astype(np.uint8)


def cut(labels: Labels, heights: list[int]) -> list[tuple[int, Labels]]:
    at = np.cumsum(heights, dtype=int)
    at = at[at < len(labels)]
    return list(zip([0, *at.tolist()], np.split(labels, at), strict=True))


def joined(bands: list[tuple[int, Labels]]) -> Labels:
    tops = np.cumsum([0, *(len(band) for _, band in bands)])
    assert [top for top, _ in bands] == tops[:-1].tolist()
    return np.concatenate([band for _, band in bands])


@given(
    seed=st.integers(0, 999),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 24)),
    scale=st.floats(0.4, 3),
    radius=st.sampled_from([0.5, 1, 1.5, 2, 2.9, 4, 6, 12]),
    heights=st.lists(st.integers(1, 9), min_size=30, max_size=30),
    rows=st.integers(1, 12),
)
@settings(deadline=None, max_examples=150)
def test_equals_discs_on_the_whole_picture(seed, shape, scale, radius, heights, rows):
    labels = blobs(seed, shape, scale)
    before = labels.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smooth, "_ROWS", rows)
        patch.setattr(smooth, "_COLUMNS", 5)
        found = joined(list(smoothed(iter(cut(labels, heights)), radius)))
    np.testing.assert_array_equal(found, naive(labels, radius))
    np.testing.assert_array_equal(labels, before)


def test_large_discs_are_exact():
    labels = np.zeros((700, 240), np.uint8)
    labels[ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(700, 240)), 12) > 0] = 2
    discs = np.hypot(*np.mgrid[-40:41, -40:41]) <= 40
    padded = np.pad(labels == 2, 40, constant_values=True)
    eroded = ndimage.binary_erosion(padded, discs)[40:-40, 40:-40]
    opened = ndimage.binary_dilation(eroded, discs)
    assert 0 < opened.mean() < (labels == 2).mean()
    found = joined(list(smoothed(iter(cut(labels, [64] * 11)), 40)))
    np.testing.assert_array_equal(found, np.where(opened, 2, 0))


def test_no_more_than_a_window_is_held():
    made = []

    def bands():
        for top in range(0, 20_000, 100):
            made.append(top)
            yield top, np.ones((100, 3), np.uint8)

    for top, band in smoothed(bands(), 20):
        assert band.all()
        assert made[-1] + 100 <= top + len(band) + 40 + 100
        assert len(band) <= 1024


def test_a_radius_is_in_pixels_or_in_micrometres():
    labels = blobs(1, (40, 40), 3)

    def found(post: Post, um_per_px: float | None) -> Labels:
        return joined(list(clean(lambda: iter([(0, labels)]), 40, post, um_per_px)))

    expected = naive(labels, 3)
    np.testing.assert_array_equal(found(Post(smooth_px=3), None), expected)
    np.testing.assert_array_equal(found(Post(smooth_um=1.5), 0.5), expected)
    with pytest.raises(SettingsError, match=r"smooth_um = 2.*--mpp"):
        found(Post(smooth_um=2), None)
    with pytest.raises(ValueError, match=r"smooth_um or smooth_px, not both"):
        Post(smooth_um=1, smooth_px=1)
    assert Post(smooth_um=0, smooth_px=2).smooth_radius_px(0.5) == 2


def test_holes_are_filled_first_and_small_parts_dropped_last():
    labels = np.zeros((9, 20), np.uint8)
    labels[1:8, 1:8] = 1
    labels[4, 4] = 0  # a hole that would keep every disc out
    labels[3:6, 11:17] = 2  # a disc of 2 px fits nowhere
    post = Post(fill_holes_um2=2, smooth_px=2, min_area_um2=30)
    found = joined(list(clean(lambda: iter(cut(labels, [2] * 4)), 20, post, 1.0)))
    full = np.zeros_like(labels)
    full[1:8, 1:8] = 1
    expected = naive(full, 2)
    assert expected.sum() > 30
    np.testing.assert_array_equal(found, expected)
