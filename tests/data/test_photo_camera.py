"""Where things lie in a composed photo, against other ways to know it."""

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from slidemask.data.photo.camera import Bend, Pose, View, densified, draw_bend, laid, rectangle
from slidemask.geometry.box import Box
from slidemask.geometry.raster import rasterise


def view(tilt_x: float = 0.4, tilt_y: float = -0.3, zoom: float = 1.0) -> View:
    return View((320, 240), 300.0, (tilt_x, tilt_y), 0.2, zoom, (5.0, -8.0))


def drawn(pose: Pose, corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cover, 0..1, of a white rectangle on a black sheet in a frame of 320 x 240."""
    sheet = np.zeros((size[1], size[0], 3), np.uint8)
    (left, top), (right, bottom) = corners[0].astype(int), corners[2].astype(int)
    sheet[top:bottom, left:right] = 255
    frame = np.zeros((240, 320, 3), np.uint8)
    pose.render(frame, sheet, None)
    return frame[..., 0] / 255


def naive(polygon: Polygon) -> np.ndarray:
    """Cover of each pixel by 8 x 8 samples."""
    fine = rasterise(polygon, Box(0, 0, 320, 240), 1 / 8)
    return fine.reshape(240, 8, 320, 8).mean(axis=(1, 3))


def centroid(cover: np.ndarray) -> np.ndarray:
    """x, y of the centre of mass, pixel edges on whole numbers."""
    rows, columns = np.indices(cover.shape) + 0.5
    return np.array([(cover * columns).sum(), (cover * rows).sum()]) / cover.sum()


CORNERS = np.array([(40, 30), (190, 30), (190, 130), (40, 130)], float)


@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize("zoom", [0.5, 1.0, 1.3])
def test_outline_lies_where_the_pixels_are(bent: bool, zoom: float) -> None:
    bend = draw_bend(230, np.random.default_rng(3)) if bent else None
    pose = Pose(view(zoom=zoom).matrix @ laid((230, 160), angle=0.3), bend)
    outline = pose.outline(CORNERS)
    seen, true = drawn(pose, CORNERS, (230, 160)), naive(outline)
    assert seen.sum() == pytest.approx(true.sum(), rel=0.006)
    assert np.abs(centroid(seen) - centroid(true)).max() < 0.05
    assert np.mean((seen > 0.5) != (true > 0.5)) < 0.002


def test_checkerboard_comes_back_through_the_inverse_homography() -> None:
    squares = np.indices((16, 20)).sum(axis=0) % 2
    board = np.repeat(np.repeat(squares, 12, axis=0), 12, axis=1).astype(np.uint8) * 255
    pose = Pose(view(0.2, 0.2, 1.1).matrix @ laid((240, 192), angle=-0.2))
    frame = np.full((240, 320, 3), 128, np.uint8)
    pose.render(frame, np.repeat(board[..., None], 3, axis=2), None)
    half = np.array([(1, 0, 0.5), (0, 1, 0.5), (0, 0, 1)])
    to_frame = np.linalg.inv(half) @ pose.matrix @ half
    flat = cv2.warpPerspective(frame, np.linalg.inv(to_frame), (240, 192))[..., 0]
    inner = cv2.erode(np.full(flat.shape, 255, np.uint8), np.ones((9, 9)))[20:-20, 30:-30]
    assert (
        np.mean((flat > 128)[20:-20, 30:-30][inner > 0] == (board > 128)[20:-20, 30:-30][inner > 0])
        > 0.95
    )
    correlations = {
        (dx, dy): np.corrcoef(
            np.roll(flat, (dy, dx), (0, 1))[20:-20, 30:-30].ravel(), board[20:-20, 30:-30].ravel()
        )[0, 1]
        for dx in (-1, 0, 1)
        for dy in (-1, 0, 1)
    }
    assert max(correlations, key=lambda key: correlations[key]) == (0, 0)
    assert correlations[1, 0] == pytest.approx(correlations[-1, 0], abs=0.02)
    assert correlations[0, 1] == pytest.approx(correlations[0, -1], abs=0.02)


def test_view_is_a_pinhole_camera() -> None:
    camera = view()
    a, b, roll = 0.4, -0.3, 0.2
    turn_x = np.array([(1, 0, 0), (0, np.cos(a), -np.sin(a)), (0, np.sin(a), np.cos(a))])
    turn_y = np.array([(np.cos(b), 0, -np.sin(b)), (0, 1, 0), (np.sin(b), 0, np.cos(b))])
    turn_z = np.array(
        [(np.cos(roll), -np.sin(roll), 0), (np.sin(roll), np.cos(roll), 0), (0, 0, 1)]
    )
    for point in ((5.0, -8.0), (40.0, 10.0), (-70.0, 33.0)):
        world = turn_x @ turn_y @ turn_z @ (np.array([*point, 0]) - (5, -8, 0)) + (0, 0, 300)
        expected = 300 * world[:2] / world[2] + (160, 120)
        assert Pose(camera.matrix).forward(np.array([point]))[0] == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(-0.5, 0.5), st.floats(0.6, 1.4))
def test_every_pixel_comes_from_where_it_is_seen(seed: int, tilt: float, zoom: float) -> None:
    rng = np.random.default_rng(seed)
    pose = Pose(view(tilt, 0.2, zoom).matrix @ laid((200, 150), angle=0.3), draw_bend(200, rng))
    u, v = pose.where((slice(90, 150), slice(120, 200)))
    on_sheet = (u > 1) & (u < 199)
    places = np.stack([u[on_sheet], v[on_sheet]], axis=1).astype(float)
    rows, columns = np.nonzero(on_sheet)
    seen = pose.forward(places)
    assert np.abs(seen - np.stack([columns + 120.5, rows + 90.5], axis=1)).max() < 0.01


def test_bend_keeps_lengths_along_the_page() -> None:
    bend = Bend(100.0, 8 * np.sin(np.linspace(0, np.pi, 1025)), slant=0.0)
    u = np.linspace(0, 100, 201)
    seen = bend.forward(np.stack([u, np.zeros(201)], axis=1))[:, 0]
    height = 8 * np.sin(np.pi * seen / 100)
    steps = np.hypot(np.diff(seen), np.diff(height))
    assert steps == pytest.approx(np.full(200, steps.mean()), rel=1e-3)


def test_densified_ring_is_the_same_polygon() -> None:
    ring = rectangle(30, 20)
    assert Polygon(densified(ring, 7)).equals(shapely.box(0, 0, 30, 20))
    assert len(densified(ring, 7)) == 28
