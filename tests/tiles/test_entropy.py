"""Shannon entropy of one tile's grey histogram, against counting by hand."""

import math
from collections import Counter

import numpy as np
import pytest
from skimage.measure import shannon_entropy

from slidemask.tiles.filters import Filters, judge_pixels


def entropy(tile: np.ndarray) -> float:
    return judge_pixels(tile, Filters(tissue=None, rails="learn"))[1]


def naive(tile: np.ndarray) -> float:
    """Luma by the written formula, rounded; its values counted one by one."""
    grey = [math.floor(0.299 * r + 0.587 * g + 0.114 * b + 0.5) for r, g, b in tile.reshape(-1, 3)]
    shares = [count / len(grey) for count in Counter(grey).values()]
    return -sum(share * math.log2(share) for share in shares)


def test_neutral_noise_has_the_entropy_of_its_own_values() -> None:
    """Grey pixels keep their value, so the luma's rounding plays no part."""
    grey = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
    tile = np.repeat(grey[..., None], 3, axis=2)
    assert entropy(tile) == pytest.approx(shannon_entropy(grey, base=2))
    assert entropy(tile) == pytest.approx(naive(tile))


def test_colours_are_weighed_as_the_eye_does() -> None:
    """Red 76, green 150, blue 29: three values in equal parts; the fourth equals none."""
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]], np.uint8)
    tile = np.repeat(colours[:, None], 4, axis=1)
    assert entropy(tile) == pytest.approx(2.0)
    same = np.array([[76, 76, 76], [255, 0, 0]], np.uint8)[:, None]
    assert entropy(same) == 0


def test_every_value_once_is_eight_bits() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert entropy(np.repeat(grey[..., None], 3, axis=2)) == pytest.approx(8.0)
