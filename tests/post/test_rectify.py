"""Rectangles seen by cameras of known focal length come back with their ratio and their picture."""

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.post.outlines import Outline
from slidemask.post.quadrilateral import Quadrilateral
from slidemask.post.rectify import _warped, aspect_ratio, homography, output_size, rectify

SIZE = (1600, 1200)


def seen(
    ratio: float, *, focal: float = 1280.0, pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0
) -> np.ndarray:
    """Return where a pinhole camera sees the corners of a rectangle, angles in degrees.

    Worked out point by point in space: turn, push away, divide by the depth.
    """
    a, b, c = np.radians([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    flat = np.array([[-ratio, -1, 0], [ratio, -1, 0], [ratio, 1, 0], [-ratio, 1, 0]]) / 2
    space = flat @ (about_z @ about_x @ about_y).T + (0.1, -0.05, 2.2)
    return focal * space[:, :2] / space[:, 2:] + np.array(SIZE) / 2


def outline(corners: np.ndarray, kind: str = "quadrilateral") -> Outline:
    return Outline(corners, shapely.Polygon(corners), 1.0, kind)  # type: ignore[arg-type]  # a test's word


@given(
    ratio=st.floats(0.5, 2.0), focal=st.floats(1000, 4000), pitch=st.floats(12, 40),
    yaw=st.floats(12, 40), roll=st.floats(-20, 20),
)  # fmt: skip
@settings(deadline=None, max_examples=80)
def test_the_ratio_of_a_tilted_rectangle_is_exact(
    ratio: float, focal: float, pitch: float, yaw: float, roll: float
) -> None:
    corners = seen(ratio, focal=focal, pitch=pitch, yaw=yaw, roll=roll)
    assert aspect_ratio(corners, SIZE) == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize("ratio", [0.6, 1.0, 1.7])
@pytest.mark.parametrize("pitch", [0.0, 10.0, 30.0])
def test_one_tilt_alone_is_undone_with_a_phones_usual_focal_length(
    ratio: float, pitch: float
) -> None:
    assert aspect_ratio(seen(ratio, pitch=pitch), SIZE) == pytest.approx(ratio, rel=1e-6)
    for focal in (1000, 1700):  # other lenses: wrong by little
        found = aspect_ratio(seen(ratio, focal=focal, pitch=pitch), SIZE)
        assert found == pytest.approx(ratio, rel=0.12)


def test_a_parallelogram_has_the_ratio_of_its_sides() -> None:
    flat = np.array([[100, 100], [400, 100], [400, 220], [100, 220.0]])
    assert aspect_ratio(flat, SIZE) == pytest.approx(2.5)
    turned = np.array([[300, 100], [500, 300], [400, 400], [200, 200.0]])
    assert aspect_ratio(turned, SIZE) == pytest.approx(2.0)


def test_the_crop_has_as_many_pixels_as_the_photo_shows() -> None:
    corners = seen(1.5, pitch=20, yaw=-10)
    lengths = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
    width, height = output_size(corners, SIZE)
    assert width >= max(lengths[0], lengths[2]) - 1
    assert height >= max(lengths[1], lengths[3]) - 1
    assert width / height == pytest.approx(1.5, rel=0.01)


def test_the_homography_sends_corners_to_corners() -> None:
    corners = seen(1.3, pitch=25, yaw=20, roll=10)
    matrix = homography((300, 200), corners)
    flat = np.array([[0, 0, 1], [300, 0, 1], [300, 200, 1], [0, 200, 1.0]]) @ matrix.T
    np.testing.assert_allclose(flat[:, :2] / flat[:, 2:], corners, atol=1e-8)


def test_an_upright_rectangle_is_cut_out_to_the_pixel() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    corners = np.array([[10, 5], [50, 5], [50, 45], [10, 45.0]])
    for kind in ("quadrilateral", "box"):
        np.testing.assert_array_equal(rectify(photo, outline(corners, kind)), photo[5:45, 10:50])


def test_in_blocks_it_is_what_one_warp_of_the_whole_is() -> None:
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (900, 1400, 3), np.uint8)
    photo = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), np.uint8)
    corners = np.array([[-900.0, 100], [900, -700], [1300, 700], [-500, 1100]])
    size = output_size(corners, (1400, 900))
    assert min(size) > 1024  # three blocks and more, some without a pixel of the photo
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    centred = np.linalg.inv(centre) @ homography(size, corners) @ centre
    wanted = cv2.warpPerspective(
        photo, centred, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT, borderValue=(255, 255, 255),
    )  # fmt: skip
    found = _warped(photo, centred, size)
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert (wanted[:512, :512] == 255).all()
    assert 50 < wanted[600:, 600:].mean() < 240


def wavy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a smooth colour for places 0..1."""
    planes = [128 + 90 * np.sin(150 * x + 2 * y), 128 + 90 * np.cos(120 * y - x), 60 + 150 * x * y]
    return np.stack(planes, axis=-1)


def places_in(photo_to_flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each pixel centre of the photo its place on the flat slide."""
    columns, rows = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    x, y, w = np.tensordot(photo_to_flat, np.stack([columns, rows, np.ones_like(rows)]), 1)
    return x / w, y / w


def test_the_straightened_picture_is_the_one_that_was_photographed() -> None:
    corners = seen(1.4, pitch=25, yaw=-18, roll=8)
    photo = wavy(*places_in(np.linalg.inv(homography((1, 1), corners))))
    crop = rectify(photo.clip(0, 255).astype(np.uint8), outline(corners)).astype(float)
    height, width = crop.shape[:2]
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    error = np.abs(crop - wavy(x, y))[2:-2, 2:-2]
    assert error.max() < 2.5  # half a pixel off would be up to ten
    assert error.mean() < 0.6


def test_bent_sides_come_out_straight() -> None:
    """Top and bottom of a page bow alike, as on a cylinder seen from above."""
    corners = seen(1.4, pitch=10, yaw=5)
    bends = np.array([[160.0, 0], [0, 0], [-160, 0], [0, 0]])
    bent = Quadrilateral(corners, bends)
    whole = Outline(corners, bent.polygon(), 1.0, "curved")
    x, y = places_in(np.linalg.inv(homography((1, 1), corners)))
    # By how much the sides' middle is out, as a share of the height, worked out on the flat slide.
    top = bent.side(0, np.array([0.5]))[0]
    flat = np.linalg.inv(homography((1, 1), corners)) @ [*top, 1]
    bow = -flat[1] / flat[2]
    assert 0.03 < bow < 0.1
    straight = y + bow * 4 * x * (1 - x)
    stripes = np.where(np.floor(straight * 8) % 2 == 0, 40, 210)
    photo = np.repeat(stripes[..., None], 3, axis=2).astype(np.uint8)
    crop = rectify(photo, whole)[..., 0].astype(float)
    middle = crop[:, crop.shape[1] // 2] > 125
    for column in (0.1, 0.3, 0.7, 0.9):
        other = crop[:, int(column * crop.shape[1])] > 125
        assert np.mean(middle != other) < 0.04  # eight stripes, each within 0.5 %
    bowed = rectify(photo, outline(corners))[..., 0] > 125
    differing = bowed[:, bowed.shape[1] // 2] != bowed[:, bowed.shape[1] // 10]
    assert differing.mean() > 0.1  # without the bend they are seen bowed


def test_every_pixel_of_a_bent_slide_lies_where_the_four_sides_say() -> None:
    """Place by place: the flat one, moved by the sides' deviations, mixed as in a Coons patch."""
    corners = seen(1.4, pitch=10, yaw=5)
    bent = Quadrilateral(corners, np.array([[160.0, 30], [-40, 0], [-160, 0], [0, 70]]))
    x, y = np.meshgrid((np.arange(SIZE[0]) + 0.5) / SIZE[0], (np.arange(SIZE[1]) + 0.5) / SIZE[1])
    photo = np.rint(wavy(x, y)).astype(np.uint8)
    crop = rectify(photo, Outline(corners, bent.polygon(), 1.0, "curved")).astype(float)
    height, width = crop.shape[:2]
    to_photo = homography((width, height), corners)
    sides = []
    for number in range(4):
        ring = np.append(bent.side(number, np.arange(17) / 16), np.ones((17, 1)), axis=1)
        flat = ring @ np.linalg.inv(to_photo).T
        sides.append(flat[:, :2] / flat[:, 2:])
    (top, right, bottom, left), places = sides, np.empty((height, width, 2))
    for row in range(height):
        u, v = np.arange(width) + 0.5, row + 0.5
        up, down = np.interp(u, *top.T), np.interp(u, *bottom[::-1].T) - height
        west = np.interp(v, left[::-1, 1], left[::-1, 0])
        east = np.interp(v, right[:, 1], right[:, 0]) - width
        a, b = u / width, v / height
        moved = u + (1 - a) * west + a * east, v + (1 - b) * up + b * down, np.ones(width)
        seen_at = to_photo @ np.stack(moved)
        places[row] = (seen_at[:2] / seen_at[2]).T
    inside = ((places > 1) & (places < np.array(SIZE) - 1)).all(axis=2)
    assert inside.mean() > 0.95
    error = np.abs(crop - wavy(*(places / SIZE).transpose(2, 0, 1)))[inside]
    assert error.max() < 1.8  # a fifth of a pixel
    assert error.mean() < 0.4


def test_what_lies_outside_the_photo_is_white() -> None:
    photo = np.zeros((100, 100, 3), np.uint8)
    crop = rectify(photo, outline(np.array([[-50, 0], [50, 0], [50, 100], [-50, 100.0]])))
    assert crop.shape == (100, 100, 3)
    assert (crop[:, :49] == 255).all()
    assert (crop[:, 51:] == 0).all()
