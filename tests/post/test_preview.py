"""Previews: scale bar, legend, colours; overlays and error pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import OutputError
from slidemask.geometry.box import Box, Size
from slidemask.post.lettering import round_scale_bar, text_width
from slidemask.post.overlay import FALSE, HIT, MISSED, fit_labels, overlay
from slidemask.post.preview import (
    error_picture,
    preview,
    thumbnail,
    write_picture,
    write_preview,
)

GREEN, PURPLE = (0, 160, 60), (150, 60, 200)
CLASSES = ClassMap(
    classes=(ClassInfo(name="gland", colour=GREEN), ClassInfo(name="cluster", colour=PURPLE))
)


def pink(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), (230, 170, 200), np.uint8)


def discs(height: int, width: int) -> np.ndarray:
    labels = np.zeros((height, width), np.uint8)
    cv2.circle(labels, (width // 3, height // 2), height // 5, 1, -1)
    cv2.circle(labels, (2 * width // 3, height // 2), height // 6, 2, -1)
    return labels


def bar_length(picture: np.ndarray) -> int:
    """Longest run of pure white in any row: the picture holds none but the bar."""
    longest = 0
    for row in (picture == 255).all(-1):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]])))
        longest = max(longest, int((edges[1::2] - edges[::2]).max(initial=0)))
    return longest


@pytest.mark.parametrize(
    ("width", "mpp", "length_um"),
    [(1600, 6.58, 2000), (1000, 0.5, 100), (1551, 0.31, 50), (900, 0.013, 2)],
)
def test_scale_bar_is_a_round_length_to_scale(width: int, mpp: float, length_um: int):
    drawn = preview(
        pink(600, width), np.zeros((600, width), np.uint8), CLASSES, mpp_of_thumbnail=mpp
    )
    assert bar_length(drawn[:600]) == round(length_um / mpp)


def test_scale_bar_of_an_enlarged_picture_is_enlarged():
    drawn = preview(pink(224, 224), np.zeros((224, 224), np.uint8), CLASSES, mpp_of_thumbnail=1.0)
    assert drawn.shape[1] == 896
    assert bar_length(drawn[:896]) == 4 * 20  # a fifth of 224 µm is 44.8 µm


@settings(deadline=None, max_examples=80)
@given(st.floats(20, 2000), st.floats(1e-3, 1e3))
def test_round_scale_bar_is_the_longest_that_fits(space: float, mpp: float):
    bar = round_scale_bar(space, mpp)
    assert bar.length_um <= space * mpp * (1 + 1e-6) < bar.length_um * 2.5 * (1 + 1e-6)
    assert f"{bar.length_um:.0e}"[0] in "125"
    assert bar.length_px == max(1, round(bar.length_um / mpp))


def test_without_a_pixel_size_there_is_no_bar():
    drawn = preview(pink(600, 900), np.zeros((600, 900), np.uint8), CLASSES)
    np.testing.assert_array_equal(drawn[:600], pink(600, 900))


def test_legend_shows_each_class_in_its_colour():
    drawn = preview(pink(600, 900), discs(600, 900), CLASSES, title="slide one")
    legend = drawn[600:]
    for colour in (GREEN, PURPLE):
        assert (legend == colour).all(-1).any()
    assert not (legend == (128, 128, 128)).all(-1).sum() > 40  # no chip for unknown


def test_legend_names_unknown_areas_and_notes_only_where_there_are_some():
    labels = discs(600, 900)
    plain = preview(pink(600, 900), labels, CLASSES)
    noted = preview(pink(600, 900), labels, CLASSES, notes={"gland": "1.2 mm²"})
    labels[:50] = 255
    unknown = preview(pink(600, 900), labels, CLASSES)
    assert not np.array_equal(plain[600:], noted[600:])
    assert not np.array_equal(plain[600:], unknown[600:])


def test_many_classes_and_a_long_title_stay_inside():
    many = ClassMap(classes=tuple(ClassInfo(name=f"class number {n}") for n in range(30)))
    drawn = preview(pink(300, 820), np.zeros((300, 820), np.uint8), many, title="name " * 60)
    legend = drawn[300:]
    assert legend.shape[0] > 100
    assert (legend[:, -10:] > 200).all()


def test_words_beyond_ascii_have_letters():
    assert text_width("5 µm", 20) != text_width("5 ?m", 20)


def test_inside_is_tinted_outside_untouched_edges_in_full_colour():
    picture, labels = pink(600, 900), discs(600, 900)
    drawn = overlay(picture, labels, CLASSES)
    np.testing.assert_array_equal(drawn[:20], picture[:20])
    assert (drawn == GREEN).all(-1).sum() > 200
    centre = drawn[300, 300].astype(int)
    assert np.abs(centre - (0.7 * picture[0, 0] + 0.3 * np.array(GREEN))).max() <= 1


def test_inputs_are_left_alone():
    picture, labels = pink(300, 400), discs(300, 400)
    before = picture.copy(), labels.copy()
    preview(picture, labels, CLASSES, mpp_of_thumbnail=1.0)
    error_picture(picture, labels, labels)
    np.testing.assert_array_equal(picture, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("size", [(300, 450), (1200, 1800), (120, 180)])
def test_labels_of_any_size_keep_their_place(size: tuple[int, int]):
    fitted = fit_labels(discs(600, 900), size)
    assert fitted.shape == size
    assert set(np.unique(fitted)) <= {0, 1, 2}
    direct = discs(*size)
    assert (fitted != direct).mean() < 0.02


@pytest.mark.parametrize("size", [(150, 225), (37, 55), (900, 1350)])
def test_fitted_labels_are_never_mixed(size: tuple[int, int]):
    labels = np.where(discs(300, 450) > 0, 2, 0).astype(np.uint8)
    labels[:60] = 255
    assert set(np.unique(fit_labels(labels, size))) == {0, 2, 255}


def test_enlarged_labels_keep_unknown_and_empty():
    assert not fit_labels(np.zeros((3, 3), np.uint8), (30, 30)).any()
    assert (fit_labels(np.full((3, 3), 255, np.uint8), (30, 30)) == 255).all()


def test_error_colours_say_what_became_of_a_pixel():
    picture = np.full((10, 60, 3), 255, np.uint8)
    truth = np.repeat(np.array([[0, 1, 1, 0, 1, 255]], np.uint8), 10, 0).repeat(10, 1)
    predicted = np.repeat(np.array([[0, 1, 0, 1, 2, 1]], np.uint8), 10, 0).repeat(10, 1)
    drawn = error_picture(picture, truth, predicted)
    shown = drawn[5, 5::10].astype(int)

    def mixed(colour: tuple[int, int, int], share: float) -> np.ndarray:
        return np.array([255 * (1 - share) + share * c for c in colour])

    white, grey = np.array([255, 255, 255]), mixed((128, 128, 128), 0.5)
    hit, missed, false = mixed(HIT, 0.35), mixed(MISSED, 0.65), mixed(FALSE, 0.65)
    expected = [white, hit, missed, false, missed, grey]
    assert np.abs(shown - np.array(expected)).max() <= 1


def test_preview_file_is_a_png_with_the_same_bytes_each_time(tmp_path: Path):
    for name in ("a.png", "b.png"):
        write_preview(
            tmp_path / name, pink(224, 300), discs(224, 300), CLASSES,
            mpp_of_thumbnail=0.5, title="<b>&.svs",
        )  # fmt: skip
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_pictures_are_written_in_rgb(tmp_path: Path):
    write_picture(tmp_path / "red.png", np.full((4, 4, 3), (255, 0, 0), np.uint8))
    read = cv2.imread(str(tmp_path / "red.png"))
    assert read is not None
    assert read[0, 0].tolist() == [0, 0, 255]


def test_unknown_ending_and_missing_folder_are_named(tmp_path: Path):
    with pytest.raises(OutputError, match=r"\.xyz"):
        write_picture(tmp_path / "a.xyz", pink(4, 4))
    with pytest.raises(OutputError, match="nowhere"):
        write_picture(tmp_path / "nowhere/a.png", pink(4, 4))


class Recorder:
    """A slide that only notes what was read."""

    id, mpp = "s", None

    def __init__(self, size: Size, downsamples: tuple[float, ...] = (1.0,)) -> None:
        self.size, self.downsamples = size, downsamples

    def read(self, box: Box, downsample: float = 1.0) -> np.ndarray:
        return np.zeros((*box.shape_at(downsample), 3), np.uint8)


@pytest.mark.parametrize(
    ("size", "shape", "downsample"),
    [(Size(20014, 15177), (1213, 1600), 20014 / 1600), (Size(224, 224), (224, 224), 1.0)],
)
def test_thumbnail_never_enlarges(size: Size, shape: tuple[int, int], downsample: float):
    picture, found = thumbnail(Recorder(size))
    assert picture.shape[:2] == shape
    assert found == downsample


@pytest.mark.parametrize(("levels", "downsample"), [((1.0, 4.0, 12.5), 12.5), ((1.0, 14.0), 10.0)])
def test_a_stored_level_is_taken_where_it_is_hardly_smaller(
    levels: tuple[float, ...], downsample: float
):
    """Never one that is larger than asked for, nor one that is much smaller."""
    picture, found = thumbnail(Recorder(Size(16000, 8000), levels))
    assert found == downsample
    assert picture.shape[1] == 16000 / downsample
