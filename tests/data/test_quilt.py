"""Quilts hold nothing but background, and nothing but what the picture holds."""

import numpy as np

from slidemask.data.quilt import quilt, stroma


def picture() -> tuple[np.ndarray, np.ndarray]:
    """Reddish noise with a green object and a white lumen."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (160, 160, 3), np.uint8)
    pixels[..., 0] += 120
    labels = np.zeros((160, 160), np.uint8)
    labels[60:100, 60:100] = 255
    pixels[60:100, 60:100] = (0, 255, 0)
    pixels[120:150, 20:60] = 250
    return pixels, labels


def test_stroma_keeps_off_objects_and_glass() -> None:
    pixels, labels = picture()
    found = stroma(pixels, labels, margin_px=4)
    assert not found[56:104, 56:104].any()
    assert not found[122:148, 22:58].any()
    assert found[:50].mean() > 0.95


def test_a_quilt_has_no_colour_of_the_object_or_of_glass() -> None:
    pixels, labels = picture()
    sewn = quilt(pixels, stroma(pixels, labels), 96, np.random.default_rng(1), patch=24)
    assert sewn is not None
    assert sewn.shape == (96, 96, 3)
    assert sewn[..., 1].max() < 60
    assert 115 < sewn[..., 0].min() <= sewn[..., 0].max() < 180
    # Real texture, not a smear: most pixels are copied as they are.
    assert sewn[..., 1].std() > 0.8 * pixels[:50, :, 1].std()


def test_equal_seeds_give_equal_quilts() -> None:
    pixels, labels = picture()
    two = [
        quilt(pixels, stroma(pixels, labels), 64, np.random.default_rng(7), patch=24)
        for _ in range(2)
    ]
    assert two[0] is not None
    np.testing.assert_array_equal(two[0], two[1])


def test_too_little_background_gives_no_quilt() -> None:
    pixels, labels = picture()
    labels[:] = 255
    assert quilt(pixels, stroma(pixels, labels), 64, np.random.default_rng(0)) is None
    assert quilt(pixels[:20, :20], np.ones((20, 20), bool), 64, np.random.default_rng(0)) is None
