"""Histograms against the labels that every threshold really gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.errors import CohortError, SettingsError
from slidemask.evaluate import histogram as module
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.histogram import Histogram, confusions_of, histogram_slide, level_of
from slidemask.geometry.box import Box, Size
from slidemask.post.clean import labels_of


def labels_at(probability: np.ndarray, threshold: float) -> np.ndarray:
    ((_, labels),) = labels_of(iter([(0, probability)]), threshold)
    return labels


def random_pair(seed: int, foreground: int, shape=(23, 31)) -> tuple[np.ndarray, np.ndarray]:
    """Truth with unknown pixels; probabilities with ties and sums around and above 255."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([*range(foreground + 1), 255], shape).astype(np.uint8)
    values = rng.choice([0, 1, 50, 51, 64, 127, 128, 129, 200, 255], (foreground, *shape))
    return truth, (values // rng.integers(1, foreground + 1)).astype(np.uint8)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), foreground=st.integers(1, 4), threshold=st.floats(0.001, 1))
def test_any_threshold_is_what_labels_of_gives(seed, foreground, threshold):
    truth, probability = random_pair(seed, foreground)
    wanted = Confusion.of(truth, labels_at(probability, threshold), foreground + 1)
    found = Histogram.of(truth, probability).confusion_at(threshold)
    assert (found.counts == wanted.counts).all()


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
def test_the_usual_thresholds_on_every_value(threshold):
    probability = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    truth = np.ones((16, 16), np.uint8)
    found = Histogram.of(truth, probability).confusion_at(threshold)
    assert (found.counts == Confusion.of(truth, labels_at(probability, threshold), 2).counts).all()


def test_every_level_at_once():
    truth, probability = random_pair(3, 2)
    histogram = Histogram.of(truth, probability)
    for value, counts in enumerate(histogram.confusions()[1:], start=1):
        wanted = Confusion.of(truth, labels_at(probability, value / 255), 3)
        assert level_of(value / 255) == value
        assert (counts == wanted.counts).all()
    assert histogram.confusions()[0][:, 0].sum() == 0


def test_leading_axes_are_kept():
    several = [Histogram.of(*random_pair(seed, 2)) for seed in range(3)]
    stacked = confusions_of(np.stack([h.counts for h in several]))
    assert stacked.shape == (3, 256, 3, 3)
    assert (stacked[1] == several[1].confusions()).all()


def test_sums_and_chunks(monkeypatch: pytest.MonkeyPatch):
    truth, probability = random_pair(5, 3)
    whole = Histogram.of(truth, probability)
    halves = Histogram.of(truth[:9], probability[:, :9]) + Histogram.of(
        truth[9:], probability[:, 9:]
    )
    monkeypatch.setattr(module, "_CHUNK", 17)
    assert (whole.counts == halves.counts).all()
    assert (whole.counts == Histogram.of(truth, probability).counts).all()
    assert whole.total == (truth != 255).sum()
    assert Histogram.zero(4).total == 0
    assert Histogram.zero(4).counts.shape == whole.counts.shape


def test_what_does_not_fit_is_an_error():
    truth, probability = random_pair(1, 1)
    with pytest.raises(SettingsError, match="one resolution"):
        Histogram.of(truth[:5], probability)
    with pytest.raises(SettingsError, match="class index 2"):
        Histogram.of(np.full_like(truth, 2), probability)
    with pytest.raises(SettingsError, match=r"not within 0\.\.1"):
        Histogram.of(truth, probability).confusion_at(1.2)


class ArrayMap:
    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.size = Size(pixels.shape[-1], pixels.shape[-2])

    def rows(self, top: int, height: int) -> np.ndarray:
        assert 0 <= top < top + height <= self.size.height
        return self.pixels[..., top : top + height, :]


class ArrayTruth:
    def __init__(self, pixels: np.ndarray, native: float | None) -> None:
        self.pixels, self.native_downsample = pixels, native

    def labels(self, box: Box, downsample: float) -> np.ndarray:
        top, (height, width) = round(box.y / downsample), box.shape_at(downsample)
        return self.pixels[top : top + height, :width]


@pytest.mark.parametrize("native", [None, 1.0, 2.5, 8.0])
def test_slides_meet_as_masks_do(native: float | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("slidemask.evaluate.score.BAND_ROWS", 10)
    slide, downsample = Size(203, 157), 4.0
    canvas = slide.at(downsample)
    _, probability = random_pair(2, 2, (canvas.height, canvas.width))
    own = slide.at(native or downsample)
    truth, _ = random_pair(4, 2, (own.height, own.width))
    found = histogram_slide(
        ArrayTruth(truth, native), ArrayMap(probability), slide, downsample=downsample, classes=3
    )
    step = (native or downsample) / downsample
    rows = np.minimum(((np.arange(own.height) + 0.5) * step).astype(int), canvas.height - 1)
    columns = np.minimum(((np.arange(own.width) + 0.5) * step).astype(int), canvas.width - 1)
    wanted = Histogram.of(truth, probability[:, rows][:, :, columns])
    assert (found.counts == wanted.counts).all()


def test_a_map_of_another_slide_is_an_error():
    truth, probability = random_pair(2, 2, (10, 10))
    with pytest.raises(CohortError, match="belong together"):
        histogram_slide(
            ArrayTruth(truth, None), ArrayMap(probability), Size(99, 99), downsample=4, classes=3
        )
    with pytest.raises(SettingsError, match="2 foreground classes"):
        histogram_slide(
            ArrayTruth(truth, None), ArrayMap(probability), Size(10, 10), downsample=1, classes=2
        )
