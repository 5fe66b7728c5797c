"""Whole-slide scores in bands against whole arrays."""

from dataclasses import dataclass

import numpy as np
import pytest

from slidemask.base.errors import CohortError
from slidemask.evaluate import score as module
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.score import score_slide
from slidemask.geometry.box import Box, Size

NAMES = ("background", "gland")


@dataclass
class ArrayTruth:
    """Labels at one resolution; refuses any other."""

    pixels: np.ndarray
    downsample: float
    native_downsample: float | None = None

    def labels(self, box: Box, downsample: float) -> np.ndarray:
        assert downsample == self.downsample
        assert box.x == 0
        top, (height, width) = round(box.y / downsample), box.shape_at(downsample)
        return self.pixels[top : top + height, :width]


class ArrayMask:
    """Labels in memory; remembers how many rows were asked for at a time."""

    def __init__(self, pixels: np.ndarray, names: tuple[str, ...] = NAMES) -> None:
        self.pixels, self.names, self.tallest = pixels, names, 0

    @property
    def size(self) -> Size:
        return Size(self.pixels.shape[1], self.pixels.shape[0])

    def rows(self, top: int, height: int) -> np.ndarray:
        assert 0 <= top < top + height <= len(self.pixels)
        self.tallest = max(self.tallest, height)
        return self.pixels[top : top + height]


def random_labels(size: Size, seed: int, values: tuple[int, ...] = (0, 1)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice(np.array(values, np.uint8), (size.height, size.width))


@pytest.mark.parametrize("downsample", [1.0, 2.0, 3.7])
@pytest.mark.parametrize("rows", [1, 7, 512])
def test_polygons_are_scored_at_the_masks_pixels(
    monkeypatch: pytest.MonkeyPatch, downsample: float, rows: int
):
    monkeypatch.setattr(module, "BAND_ROWS", rows)
    slide = Size(61, 83)
    canvas = slide.at(downsample)
    truth, mask = random_labels(canvas, 0, (0, 1, 255)), ArrayMask(random_labels(canvas, 1))
    found = score_slide(
        ArrayTruth(truth, downsample), mask, slide, downsample=downsample, names=NAMES
    )
    np.testing.assert_array_equal(found.counts, Confusion.of(truth, mask.pixels, 2).counts)
    assert mask.tallest <= rows


@pytest.mark.parametrize(
    ("native", "downsample"), [(1.0, 4.0), (1.0, 1.6), (1.0, 0.62), (4.0, 1.0), (2.5, 2.5)]
)
def test_label_images_are_scored_at_their_own_pixels(
    monkeypatch: pytest.MonkeyPatch, native: float, downsample: float
):
    monkeypatch.setattr(module, "BAND_ROWS", 5)
    slide = Size(50, 40)
    size, canvas = slide.at(native), slide.at(downsample)
    truth, mask = random_labels(size, 2), ArrayMask(random_labels(canvas, 3))
    expected = np.zeros((2, 2), np.int64)
    for row in range(size.height):
        for column in range(size.width):
            y = min(int((row + 0.5) * native / downsample), canvas.height - 1)
            x = min(int((column + 0.5) * native / downsample), canvas.width - 1)
            expected[truth[row, column], mask.pixels[y, x]] += 1
    found = score_slide(
        ArrayTruth(truth, native, native), mask, slide, downsample=downsample, names=NAMES
    )
    np.testing.assert_array_equal(found.counts, expected)
    assert mask.tallest <= 10


def test_a_mask_of_another_slide_is_refused():
    mask = ArrayMask(np.zeros((10, 12), np.uint8))
    truth = ArrayTruth(np.zeros((20, 20), np.uint8), 1.0)
    with pytest.raises(CohortError, match=r"12 x 10 px.*has 20 x 20"):
        score_slide(truth, mask, Size(20, 20), downsample=1.0, names=NAMES)


def test_a_mask_of_other_classes_is_refused():
    mask = ArrayMask(np.zeros((20, 20), np.uint8), ("background", "nucleus"))
    truth = ArrayTruth(np.zeros((20, 20), np.uint8), 1.0)
    with pytest.raises(CohortError, match=r"nucleus.*gland"):
        score_slide(truth, mask, Size(20, 20), downsample=1.0, names=NAMES)


def test_a_mask_without_names_is_taken_as_it_is():
    pixels = random_labels(Size(20, 20), 4)
    found = score_slide(
        ArrayTruth(pixels, 1.0), ArrayMask(pixels, ()), Size(20, 20), downsample=1.0, names=NAMES
    )
    assert found.overall_accuracy == 1
