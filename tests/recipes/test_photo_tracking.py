"""Slides followed over frames: who is who, what is smoothed, which frame is sharpest."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from drawn import draw_photo
from slidemask.post.outlines import Outline
from slidemask.recipes.photo.tracking import (
    Tracker,
    Tracking,
    likeness,
    look_at,
    sharpness,
    turned_alike,
)

SIZE = (320, 240)
SQUARE = np.array([(0, 0), (80, 0), (80, 60), (0, 60)], float)


def outline(x: float, y: float, corners: np.ndarray = SQUARE) -> Outline:
    placed = corners + np.array([x, y])
    return Outline(placed, Polygon(placed), 0.9, "quadrilateral")


def frame(*outlines: Outline, blur: float = 0.0, seed: int = 0) -> np.ndarray:
    drawn = draw_photo(SIZE, [each.corners for each in outlines], np.random.default_rng(seed))
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), blur), np.uint8) if blur else drawn


def test_two_slides_that_pass_keep_their_names() -> None:
    tracker = Tracker(Tracking(min_frames=1))
    for number in range(12):
        seen = [outline(20 + 8 * number, 20), outline(200 - 8 * number, 130)]
        # The finder gives them in reading order or any other: names must not depend on it.
        assert not tracker.follow(frame(*seen), number, seen[:: (-1) ** number])
    upper, lower = sorted(tracker.tracks, key=lambda track: float(track.last.corners[0, 1]))
    assert (upper.name, lower.name) == (1, 2)
    assert (upper.seen, lower.seen) == (12, 12)
    assert upper.last.corners[0].tolist() == [108, 20]


def test_a_slide_out_of_sight_for_a_moment_goes_on_and_for_long_ends() -> None:
    tracker, seen, empty = Tracker(Tracking(patience=2, min_frames=2)), outline(50, 50), frame()
    shown = frame(seen)
    for number in (0, 1, 4):  # two frames without it
        assert not tracker.follow(shown, number, [seen])
    assert [track.seen for track in tracker.tracks] == [3]
    assert not tracker.follow(empty, 6, [])
    (ended,) = tracker.follow(empty, 7, [])
    assert (ended.name, ended.seen, ended.last_frame) == (1, 3, 4)
    assert not tracker.tracks
    tracker.follow(shown, 8, [seen])
    assert tracker.tracks[0].name == 2, "it comes back as another"
    assert tracker.finish() == [], "seen once only: an error"


def test_the_sharpest_frame_is_kept() -> None:
    tracker, place = Tracker(), outline(100, 80)
    for number, blur in enumerate((4.0, 2.0, 0.0, 1.0, 3.0)):
        tracker.follow(frame(place, blur=blur), number, [place])
    (track,) = tracker.finish()
    assert track.best.number == 2
    assert np.array_equal(track.best.frame, frame(place))


def test_a_page_turned_below_a_fixed_camera_gives_new_slides() -> None:
    tracker, place = Tracker(), outline(100, 80)
    pages = [frame(place, seed=seed) for seed in (1, 2)]
    for number in range(10):
        noise = np.random.default_rng(number).integers(-6, 7, pages[0].shape)
        lit = (pages[number // 5] * (1 - 0.04 * number) + noise).clip(0, 255).astype(np.uint8)
        assert not tracker.follow(lit, number, [place])
    assert [(track.seen, track.last_frame) for track in tracker.finish()] == [(5, 4), (5, 9)]


def test_looks_are_compared_about_their_means_and_plain_ones_are_like_all() -> None:
    place = outline(100, 80)
    look = look_at(frame(place), place.corners)
    assert likeness(look, 0.5 * look + 40) == pytest.approx(1, abs=1e-6)
    assert likeness(look, -look) == pytest.approx(-1, abs=1e-6)
    assert likeness(look, np.full_like(look, 200)) == 1


def test_corners_are_smoothed_by_the_share_that_is_asked() -> None:
    tracker = Tracker(Tracking(smoothing=0.75))
    for number, x in enumerate((100, 108, 108)):
        tracker.follow(frame(), number, [outline(x, 50)])
    assert tracker.tracks[0].corners[0] == pytest.approx((108 - 8 * 0.75**2, 50))


@settings(deadline=None)
@given(turn=st.integers(0, 3), seed=st.integers(0, 1000))
def test_turning_corners_does_not_jump(turn: int, seed: int) -> None:
    near = SQUARE + np.random.default_rng(seed).uniform(-5, 5, (4, 2))
    assert np.array_equal(turned_alike(np.roll(near, turn, axis=0), SQUARE), near)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), blur=st.floats(1.0, 4.0))
def test_blur_is_less_sharp_wherever_the_slide_lies(seed: int, blur: float) -> None:
    rng = np.random.default_rng(seed)
    corners = SQUARE * 1.6 + rng.uniform(-12, 12, (4, 2))
    place = outline(rng.uniform(20, 150), rng.uniform(20, 110), corners)
    sharp = frame(place, seed=seed)
    assert sharpness(frame(place, blur=blur, seed=seed), place) < 0.8 * sharpness(sharp, place)


def test_sharpness_is_of_the_slide_not_of_what_lies_around() -> None:
    place = outline(120, 90)
    plain = frame(place)
    noisy = plain.copy()
    noisy[:60] = np.random.default_rng(0).integers(0, 256, noisy[:60].shape)
    assert sharpness(noisy, place) == pytest.approx(sharpness(plain, place))


def test_sharpness_does_not_reward_coming_nearer_by_itself() -> None:
    """A picture enlarged by interpolation gains no detail at the equal scale."""
    place = outline(120, 90)
    plain = frame(place)
    twice = np.asarray(cv2.resize(plain, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)
    enlarged = Outline(place.corners * 2, Polygon(place.corners * 2), 0.9, "quadrilateral")
    assert sharpness(twice, enlarged) == pytest.approx(sharpness(plain, place), rel=0.25)


def test_a_slide_that_reaches_over_the_frame_has_a_sharpness() -> None:
    assert sharpness(frame(), outline(-40, -30)) > 0
    assert sharpness(frame(), outline(300, 220)) >= 0
