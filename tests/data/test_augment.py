"""Augmentation: image and labels together, against exact and independent versions."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from skimage.color import rgb2yiq, yiq2rgb

from slidemask.base.types import IGNORE
from slidemask.data import appearance
from slidemask.data.augment import Augment, change_look, draw_motion
from slidemask.data.motion import Motion
from slidemask.data.stain import HED, vary_stains
from slidemask.geometry.box import Box

SIDE = 96
LOOK_ONLY = Augment(flip=0, turn=0, affine=0)
MOVES = Augment(affine=1, rotation_degrees=180, scale=(0.6, 1.6), shear_degrees=20, translation=0.2)


Scene = Callable[[Motion], tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def scene(blobs: Callable[..., np.ndarray]) -> Scene:
    """The window of a motion, cut from a large picture whose red channel is its mask."""
    margin = 160
    mask = blobs(SIDE + 2 * margin, SIDE + 2 * margin, 5)
    image = np.zeros((*mask.shape, 3), np.uint8)
    image[..., 0] = np.where(mask, 200, 40)
    image[..., 1] = np.linspace(0, 255, mask.shape[1]).astype(np.uint8)

    def cut(motion: Motion) -> tuple[np.ndarray, np.ndarray]:
        x, y, width, height = motion.window
        rows, columns = Box(x + margin, y + margin, width, height).slices
        return image[rows, columns], mask[rows, columns].astype(np.uint8)

    return cut


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000))
def test_image_and_labels_move_together_and_no_corner_is_missing(scene: Scene, seed: int) -> None:
    motion = draw_motion(MOVES, SIDE, np.random.default_rng(seed))
    image, labels = motion.apply(*scene(motion))
    assert image.shape == (SIDE, SIDE, 3)
    assert image.flags["C_CONTIGUOUS"]
    assert set(np.unique(labels)) <= {0, 1}, "labels are never mixed, and all are known"
    # Interpolation may differ at the outline itself, so half a pixel to either side is left out.
    edge = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    agree = (image[..., 0] > 120) == (labels == 1)
    assert (~agree[~edge]).sum() <= 8, "but for specks thinner than a pixel"
    assert agree.mean() > 0.97
    assert edge.mean() < 0.6


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000))
def test_every_pixel_comes_from_where_the_matrix_says(seed: int) -> None:
    side = 64
    motion = draw_motion(MOVES, side, np.random.default_rng(seed))
    left, top, width, height = (int(value) for value in motion.window)
    rows, columns = np.indices((height, width))
    assert width < 255, "so that positions fit a byte"
    image = np.dstack([columns, rows, rows]).astype(np.uint8)
    moved, kept = motion.apply(image, columns.astype(np.uint8))
    assert motion.matrix is not None
    centres = np.arange(side) + 0.5 - side / 2
    offsets = np.stack(np.meshgrid(centres, centres))
    x, y = np.tensordot(motion.matrix, offsets, axes=1)
    x, y = (
        np.rot90(np.fliplr(place) if motion.flip else place, motion.turns)
        for place in (
            x + motion.shift[0] + side / 2 - left - 0.5,
            y + motion.shift[1] + side / 2 - top - 0.5,
        )
    )
    assert np.abs(moved[..., 0] - x).max() < 0.5 + 1 / 16
    assert np.abs(moved[..., 1] - y).max() < 0.5 + 1 / 16
    assert np.abs(kept - x).max() < 0.5 + 1 / 16


def test_pure_moves_are_exact(scene: Scene) -> None:
    still = Motion(SIDE)
    image, labels = scene(still)
    for turns in range(4):
        for flip in (False, True):
            moved, kept = Motion(SIDE, flip=flip, turns=turns).apply(image, labels)
            mirrored = np.fliplr(image) if flip else image
            np.testing.assert_array_equal(moved, np.rot90(mirrored, turns))
            np.testing.assert_array_equal(
                kept, np.rot90(np.fliplr(labels) if flip else labels, turns)
            )
    identity = Motion(SIDE, np.eye(2))
    moved, kept = identity.apply(*scene(identity))
    np.testing.assert_array_equal(moved, image)
    np.testing.assert_array_equal(kept, labels)
    quarter = Motion(SIDE, np.array([[0.0, -1.0], [1.0, 0.0]]))
    moved, kept = quarter.apply(*scene(quarter))
    np.testing.assert_array_equal(moved, np.rot90(image))
    np.testing.assert_array_equal(kept, np.rot90(labels))
    aside = Motion(SIDE, np.eye(2), (7.0, -3.0))
    moved, kept = aside.apply(*scene(aside))
    np.testing.assert_array_equal(kept[3:, :-7], labels[:-3, 7:])
    np.testing.assert_array_equal(moved[3:, :-7], image[:-3, 7:])


def test_scale_above_one_magnifies_about_the_centre(scene: Scene) -> None:
    twice = Motion(SIDE, np.eye(2) / 2)
    _, labels = scene(Motion(SIDE))
    _, kept = twice.apply(*scene(twice))
    quarter = SIDE // 4
    middle = labels[quarter:-quarter, quarter:-quarter]
    np.testing.assert_array_equal(kept, np.kron(middle, np.ones((2, 2), np.uint8)))
    big = Augment.off().model_copy(update={"affine": 1.0, "scale": (2.0, 2.0)})
    big = big.model_copy(update={"rotation_degrees": 0, "shear_degrees": 0, "translation": 0})
    drawn = draw_motion(big, SIDE, np.random.default_rng(0))
    assert drawn.matrix is not None
    np.testing.assert_allclose(drawn.matrix, np.eye(2) / 2)


def test_labels_beyond_a_window_that_is_too_small_are_unknown() -> None:
    wide = Motion(32, np.eye(2) * 2)
    labels = np.ones((20, 20), np.uint8)
    _, kept = wide.apply(np.zeros((20, 20, 3), np.uint8), labels)
    assert set(np.unique(kept)) == {1, IGNORE}


def test_all_eight_positions_are_equally_likely() -> None:
    drawn = [draw_motion(Augment(affine=0), 8, np.random.default_rng(n)) for n in range(4000)]
    counts = np.zeros((2, 4))
    for motion in drawn:
        counts[int(motion.flip), motion.turns] += 1
    assert np.abs(counts / 4000 - 1 / 8).max() < 0.02


def test_off_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 20, 3), np.uint8)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        motion = draw_motion(Augment.off(), 20, rng)
        moved, _ = motion.apply(image, image[..., 0])
        np.testing.assert_array_equal(change_look(moved, Augment.off(), rng), image)


def test_look_depends_on_the_generator_alone_and_leaves_its_input() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    before = image.copy()
    looks = [change_look(image, LOOK_ONLY, np.random.default_rng(n)) for n in (*range(20), 7)]
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(looks[7], looks[-1])
    assert len({look.tobytes() for look in looks}) >= 18
    assert all(look.dtype == np.uint8 and look.shape == image.shape for look in looks)


def naive_stains(image: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Colour deconvolution written out step by step."""
    stains = HED / np.sqrt((HED**2).sum(axis=1, keepdims=True))
    density = -np.log(np.maximum(image, 1) / 255.0)
    concentration = density.reshape(-1, 3) @ np.linalg.inv(stains)
    changed = concentration * scale + shift
    return (255 * np.exp(-changed @ stains)).reshape(image.shape).clip(0, 255)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000))
def test_stain_variation_equals_step_by_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (9, 11, 3), np.uint8)
    scale, shift = rng.uniform(0.7, 1.3, 3), rng.uniform(-0.1, 0.1, 3)
    found = vary_stains(image, scale, shift)
    assert np.abs(found - naive_stains(image, scale, shift)).max() <= 0.51
    same = vary_stains(image, np.ones(3), np.zeros(3))
    assert np.abs(same.astype(int) - np.maximum(image, 1)).max() <= 1


def test_haematoxylin_takes_red_away_and_eosin_green() -> None:
    grey = np.full((1, 1, 3), 180, np.uint8)
    blue = vary_stains(grey, np.ones(3), np.array([0.5, 0, 0]))[0, 0].tolist()
    pink = vary_stains(grey, np.ones(3), np.array([0, 0.5, 0]))[0, 0].tolist()
    assert blue[2] > blue[0]
    assert pink[1] < min(pink[0], pink[2]) - 40


def test_recolouring_equals_step_by_step_in_yiq() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(60, 190, (13, 17, 3), np.uint8)  # no clipping on the way
    angle, saturation, contrast, brightness = np.deg2rad(20), 0.8, 1.2, 0.9
    yiq = rgb2yiq(image / 255)
    chroma = (yiq[..., 1] + 1j * yiq[..., 2]) * saturation * np.exp(1j * angle)
    rgb = yiq2rgb(np.stack([yiq[..., 0], chroma.real, chroma.imag], axis=-1)) * 255
    wanted = brightness * (contrast * (rgb - image.mean()) + image.mean())
    found = appearance.recolour(image, brightness=0.9, contrast=1.2, saturation=0.8, hue_degrees=20)
    assert np.abs(found - wanted).max() < 1.5
    same = appearance.recolour(image, brightness=1, contrast=1, saturation=1, hue_degrees=0)
    np.testing.assert_array_equal(same, image)


def test_gamma_blur_sharpen_noise_and_jpeg_do_what_they_say() -> None:
    rng = np.random.default_rng(4)
    image = rng.integers(80, 170, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(appearance.gamma(image, 1.0), image)
    assert appearance.gamma(image, 0.8).mean() > image.mean() > appearance.gamma(image, 1.2).mean()
    assert appearance.blur(image, 1.0).std() < image.std() < appearance.sharpen(image, 0.5).std()
    noisy = appearance.add_noise(image, 4.0, rng).astype(float) - image
    assert noisy.std() == pytest.approx(4.0, rel=0.05)
    assert abs(noisy.mean()) < 0.2
    smooth = appearance.blur(image, 3)
    pressed = appearance.compress(smooth, 90)
    assert 0 < np.abs(pressed.astype(int) - smooth).mean() < 2
    red = np.full((16, 16, 3), (200, 40, 40), np.uint8)
    assert np.abs(appearance.compress(red, 95)[8, 8].astype(int) - (200, 40, 40)).max() < 6


@pytest.mark.parametrize(
    "wrong", [{"flip": 1.5}, {"scale": (1.2, 0.8)}, {"scale": (0, 1)}, {"blurr": 0.2}]
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        Augment(**wrong)
