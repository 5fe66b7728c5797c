"""Of a slide that the photo's edge cuts, the rectangle is found that is seen in part."""

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from slidemask.post.cut import USUAL_FOCAL, cut_sides, whole_corners
from slidemask.post.outlines import Outline
from slidemask.post.rectify import homography, rectify

SIZE = (1600, 1200)
Matrix = np.ndarray


def camera(pitch: float, yaw: float, roll: float, right: float) -> Matrix:
    """Return the homography from a plane, in units of the slide, to the photo; degrees."""
    a, b, c = np.radians([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    turn = about_z @ about_x @ about_y
    inner = np.diag([USUAL_FOCAL * max(SIZE)] * 2 + [1.0])
    inner[:2, 2] = np.array(SIZE) / 2
    return inner @ np.column_stack([turn[:, 0], turn[:, 1], [right, 0.0, 1.6]])


def mapped(by: Matrix, points: np.ndarray) -> np.ndarray:
    whole = np.column_stack([points, np.ones(len(points))]) @ by.T
    return whole[:, :2] / whole[:, 2:]


@given(
    pitch=st.floats(-30, 30), yaw=st.floats(-30, 30), roll=st.floats(-12, 12),
    right=st.floats(0.55, 1.0),
)  # fmt: skip
@settings(deadline=None, max_examples=120)
def test_three_sides_tell_the_rectangle(
    pitch: float, yaw: float, roll: float, right: float
) -> None:
    assume(abs(yaw) > 0.05)  # upper and lower side that never meet tell no tilt
    to_photo = camera(pitch, yaw, roll, right)
    slide = np.array([[-0.6, -0.4], [0.6, -0.4], [0.6, 0.4], [-0.6, 0.4]])
    seen = shapely.intersection(
        shapely.Polygon(mapped(to_photo, slide)), shapely.box(0, 0, *SIZE)
    ).normalize()
    ring = shapely.get_coordinates(seen)[:-1]
    assume(len(ring) == 4)
    corners = _from_top_left(ring)
    assume(cut_sides(corners, SIZE) == [1])
    found = mapped(np.linalg.inv(to_photo), whole_corners(corners, SIZE))
    farthest = mapped(np.linalg.inv(to_photo), corners)[:, 0].max()
    wanted = np.array([[-0.6, -0.4], [farthest, -0.4], [farthest, 0.4], [-0.6, 0.4]])
    assert np.allclose(found, wanted, atol=1e-6)


def test_the_crop_is_the_slide_as_far_as_it_is_seen() -> None:
    to_photo = camera(18, 25, 5, 0.75)
    plane = np.array([[-0.6, -0.4], [0.6, -0.4], [0.6, 0.4], [-0.6, 0.4]])
    corners = mapped(to_photo, plane)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    at = mapped(np.linalg.inv(to_photo), np.column_stack([x.ravel(), y.ravel()]))
    photo = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    photo[..., 0] = np.clip(125 + 200 * at[:, 0], 0, 255).reshape(y.shape)
    photo[..., 1] = np.clip(125 + 200 * at[:, 1], 0, 255).reshape(y.shape)
    seen = shapely.intersection(shapely.Polygon(corners), shapely.box(0, 0, *SIZE)).normalize()
    part = _from_top_left(shapely.get_coordinates(seen)[:-1])
    crop = rectify(photo, Outline(part, shapely.Polygon(part), 1.0, "quadrilateral"))
    height, width = crop.shape[:2]
    farthest = mapped(np.linalg.inv(to_photo), part)[:, 0].max()
    assert width / height == pytest.approx((farthest + 0.6) / 0.8, rel=0.01)
    columns = -0.6 + (farthest + 0.6) * (np.arange(width) + 0.5) / width
    rows = -0.4 + 0.8 * (np.arange(height) + 0.5) / height
    shown = crop[..., 2] == 0  # white, where nothing was seen
    assert 0.8 < shown.mean() < 1
    apart_x = crop[..., 0] - (125 + 200 * columns)[None]
    apart_y = crop[..., 1] - (125 + 200 * rows)[:, None]
    assert np.abs(apart_x[shown]).max() < 3
    assert np.abs(apart_y[shown]).max() < 3


def test_two_cut_sides_leave_an_upright_box() -> None:
    corners = np.array([[900, 700], [1600, 640], [1600, 1200], [948, 1200.0]])
    found = whole_corners(corners, SIZE)
    top, right = found[1] - found[0], found[2] - found[1]
    assert top @ right == pytest.approx(0, abs=1e-6)
    assert np.degrees(np.arctan2(top[1], top[0])) == pytest.approx(-4.9, abs=0.05)
    assert shapely.Polygon(found).buffer(0.01).contains(shapely.Polygon(corners))


def test_a_whole_slide_is_left_alone() -> None:
    corners = np.array([[100, 90], [900, 120], [880, 700], [90, 650.0]])
    assert cut_sides(corners, SIZE) == []
    assert whole_corners(corners, SIZE) is corners


def test_sides_that_tell_nothing_sound_leave_a_box() -> None:
    """Nearly a triangle: the lines that tell meet within the photo."""
    corners = np.array([[700, 300], [760, 300], [1600, 100], [1600, 900.0]])[[0, 2, 3, 1]]
    found = whole_corners(corners, SIZE)
    sides = np.roll(found, -1, axis=0) - found
    assert abs(sides[0] @ sides[1]) < 1e-6
    assert np.isfinite(homography((100, 100), found)).all()


def _from_top_left(ring: np.ndarray) -> np.ndarray:
    clockwise = ring if shapely.LinearRing(ring).is_ccw else ring[::-1]  # as seen: y runs down
    return np.roll(clockwise, -int(np.argmin(clockwise.sum(axis=1))), axis=0)
