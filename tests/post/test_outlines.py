"""Slides are told apart, and sides lie where they were drawn, finer than a pixel."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from drawnphotos import PHOTO, coverage, draw_photo, ideal
from slidemask.post.outlines import Outlines, boxes, separate
from slidemask.post.quadrilateral import Quadrilateral, from_top_left, joined, robust
from slidemask.post.sides import agreement, fit
from slidemask.recipes.photo.find import outlines_from

HEIGHT, WIDTH = 600, 800
SMALL = Outlines(longest_px=320)
BROAD = Outlines(border_share=0.02)


def tilted(x: float, y: float, width: float, height: float, degrees: float = 0.0) -> np.ndarray:
    """Return the corners of a turned rectangle about (x, y), clockwise from the top left."""
    half = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    turn = np.radians(degrees)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return half @ turned.T + (x, y)


def arched(ring: np.ndarray, side: int, share: float) -> np.ndarray:
    """Return a ring of many points whose side bows out by a share of its length (a parabola)."""
    parts = []
    for number in range(4):
        start, end = ring[number], ring[(number + 1) % 4]
        t = np.arange(64)[:, None] / 64
        chord = end - start
        out = np.array([chord[1], -chord[0]]) * (share if number == side else 0)
        parts.append(start + t * chord + 4 * t * (1 - t) * out)
    return np.concatenate(parts)


def test_touching_slides_are_told_apart_and_specks_are_not_slides() -> None:
    rings = [tilted(250, 300, 300, 400), tilted(550, 300, 300, 400), tilted(760, 30, 12, 12)]
    photo = draw_photo(rings, HEIGHT, WIDTH)
    planes = ideal(rings, photo, SMALL)
    ids, count = separate(planes[1], planes[2], SMALL)
    assert count == 2
    left, right = ids[120, 40:158], ids[120, 162:280]
    assert (left == left[0]).all()
    assert (right == right[0]).all()
    assert left[0] != right[0]
    for number in (1, 2):
        assert abs((ids == number).sum() - 300 * 400 * 0.4**2) < 0.03 * 300 * 400 * 0.4**2


def test_a_border_with_a_gap_parts_two_slides_and_none_parts_one() -> None:
    inside, border = np.zeros((2, 120, 200), np.float32)
    border[20:100, 20:180] = 1
    inside[22:98, 22:178] = 1
    assert separate(inside, border, BROAD)[1] == 1
    inside[30:90, 95:105] = 0.1  # a dark band within one slide
    assert separate(inside, border * 0, BROAD)[1] == 1
    inside[22:92, 98:102] = 0  # a line between two, open below
    border[22:92, 98:102] = 1
    ids, count = separate(inside, border * (inside < 0.5), BROAD)
    assert count == 2
    assert ids[60, 60] != ids[60, 140]


def test_a_pale_middle_within_a_clear_border_belongs_to_the_slide() -> None:
    inside, border = np.zeros((2, 120, 200), np.float32)
    border[20:100, 40:160] = 1
    border[24:96, 44:156] = 0
    inside[24:60, 44:156] = 1
    ids, count = separate(inside, border, BROAD)
    assert count == 1
    assert (ids[20:100, 40:160] == 1).all()


def test_nothing_is_found_where_nothing_is() -> None:
    nothing = np.zeros((60, 80), np.float32)
    assert separate(nothing, nothing, Outlines())[1] == 0
    assert len(boxes(nothing, Outlines(method="boxes"))) == 0
    # a border alone, as of text, is no slide
    assert separate(nothing, nothing + 1, Outlines())[1] == 0


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_boxes_are_those_of_8_connected_components(seed: int) -> None:
    plane = np.random.default_rng(seed).random((24, 32)).astype(np.float32)
    chosen = Outlines(method="boxes", threshold=0.6, min_share=0.02)
    labels = np.zeros(plane.shape, np.int32)
    ndimage.label(plane > 0.6, np.ones((3, 3)), output=labels)
    slices = [part for part in ndimage.find_objects(labels) if part is not None]
    wanted = {
        (columns.start, rows.start, columns.stop, rows.stop)
        for rows, columns in slices
        if (columns.stop - columns.start - 1) * (rows.stop - rows.start - 1) >= 0.02 * plane.size
    }
    assert {tuple(box) for box in boxes(plane, chosen).astype(int).tolist()} == wanted


@pytest.mark.parametrize("degrees", [-40, -7, 0, 12, 30])
def test_sides_are_laid_along_a_region(degrees: float) -> None:
    ring = tilted(160, 120, 150, 90, degrees) + np.array([[0, 0], [9, 4], [-6, 8], [3, -5.0]])
    found, on_frame = fit(coverage(ring, 240, 320), 0.01)
    np.testing.assert_allclose(found.corners, ring, atol=0.25)
    assert not on_frame.any()
    assert not found.bends.any()


def test_what_sticks_out_or_is_missing_does_not_move_the_sides() -> None:
    ring = tilted(160, 120, 180, 120, 8)
    region = coverage(ring, 240, 320)
    region[60:75, 230:300] = 1  # a caption that the network took along
    region[170:200, 120:150] = 0  # a thumb
    found, _ = fit(region, 0.01)
    np.testing.assert_allclose(found.corners, ring, atol=1.0)


@pytest.mark.parametrize("side", range(4))
@pytest.mark.parametrize("share", [-0.05, 0.04])
def test_a_bent_side_is_bent(side: int, share: float) -> None:
    ring = tilted(160, 120, 180, 120, 5)
    found, _ = fit(coverage(arched(ring, side, share), 240, 320), 0.01)
    assert np.argmax(found.bend_shares) == side
    np.testing.assert_allclose(found.bend_shares[side], abs(share), atol=0.006)
    np.testing.assert_allclose(found.corners, ring, atol=1.5)
    truth = shapely.Polygon(arched(ring, side, share))
    assert found.polygon().symmetric_difference(truth).area < 0.01 * truth.area


def test_the_frames_edge_is_a_side_of_what_it_cuts() -> None:
    ring = tilted(20, 120, 200, 120, 6)
    found, on_frame = fit(coverage(ring, 240, 320), 0.01)
    assert on_frame.tolist() == [False, False, False, True]
    np.testing.assert_allclose(found.corners[[1, 2]], ring[[1, 2]], atol=0.3)
    np.testing.assert_array_equal(found.corners[[0, 3], 0], 0)


def test_a_corner_outside_the_frame_is_where_the_sides_meet() -> None:
    ring = tilted(120, 90, 230, 150, 25)
    assert (ring < 0).any()
    found, on_frame = fit(coverage(ring, 240, 320), 0.01)
    assert not on_frame.any()
    np.testing.assert_allclose(found.corners, ring, atol=1.0)


@given(st.tuples(*[st.floats(-40, 40)] * 8), st.floats(-44, 44), st.integers(0, 3), st.booleans())
@settings(deadline=None, max_examples=60)
def test_corners_run_clockwise_from_the_top_left(
    moves: tuple[float, ...], degrees: float, first: int, backwards: bool
) -> None:
    ring = tilted(0, 0, 400, 400, degrees * 0.9) + np.reshape(moves, (4, 2)) * 0.2
    shuffled = np.roll(ring, first, axis=0)
    found = from_top_left(shuffled[::-1] if backwards else shuffled)
    np.testing.assert_array_equal(found, ring)


@given(st.tuples(*[st.floats(-5, 5)] * 8))
@settings(deadline=None, max_examples=40)
def test_straight_sides_that_move_meet_where_lines_meet(moves: tuple[float, ...]) -> None:
    square = Quadrilateral(tilted(100, 100, 120, 80, 10), np.zeros((4, 2)))
    table = np.zeros((4, 4))
    table[:, :2] = np.reshape(moves, (4, 2))
    found = joined(square, table)
    for number in range(4):
        start, chord, normal = square.frame(number)
        line = shapely.LineString([
            start - 3 * chord + (4 * table[number, 0] - 3 * table[number, 1]) * normal,
            start + 4 * chord + (-3 * table[number, 0] + 4 * table[number, 1]) * normal,
        ])  # fmt: skip
        for corner in (found.corners[number], found.corners[(number + 1) % 4]):
            assert line.distance(shapely.Point(corner)) < 1e-6


def test_outliers_hardly_move_a_line() -> None:
    rng = np.random.default_rng(3)
    t = np.linspace(0, 1, 100)
    values = 2 + 3 * t + rng.normal(0, 0.1, 100)
    values[::4] += rng.uniform(5, 30, 25)
    found = robust(np.stack([np.ones(100), t], axis=1), values, 1.0)
    np.testing.assert_allclose(found, [2, 3], atol=0.12)


def test_agreement_is_intersection_over_union() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    assert agreement(shapely.box(10, 10, 30, 30), mask) > 0.9
    half = agreement(shapely.box(20, 10, 40, 30), mask)
    assert abs(half - 1 / 3) < 0.03
    assert agreement(shapely.Polygon(), mask) == 0


@pytest.mark.parametrize("seed", range(3))
def test_corners_are_found_finer_than_a_pixel_of_the_photo(seed: int) -> None:
    """The network's map is five times coarser and its edges wander."""
    rng = np.random.default_rng(seed)
    ring = tilted(800, 600, 900, 600, 6) + rng.uniform(-60, 60, (4, 2))
    photo = draw_photo([ring], 1200, 1600, seed=seed)
    planes = ideal([ring], photo, SMALL, seed=seed, noise=0.06)
    (found,) = outlines_from(planes, photo, PHOTO.names, SMALL).outlines
    assert np.hypot(*(found.corners - ring).T).max() < 0.2
    plain = SMALL.model_copy(update={"refine": False})
    (coarse,) = outlines_from(planes, photo, PHOTO.names, plain).outlines
    assert np.hypot(*(coarse.corners - ring).T).max() > 0.3


def test_a_side_without_an_edge_stays_where_the_network_says() -> None:
    ring = tilted(400, 300, 400, 240, 4)
    photo = draw_photo([ring], HEIGHT, WIDTH)
    flat = np.random.default_rng(0).integers(118, 123, photo.shape, np.uint8)
    (found,) = outlines_from(ideal([ring], photo, SMALL), flat, PHOTO.names, SMALL).outlines
    np.testing.assert_allclose(found.corners, ring, atol=1.5)
