import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import SlideError
from slidemask.geometry.box import Box, Size
from slidemask.io.maskfile import open_mask
from slidemask.io.open import open_slide
from slidemask.io.pyramid import write_label_pyramid

CLASSES = ClassMap(classes=(ClassInfo(name="gland"), ClassInfo(name="stroma", colour=(9, 8, 7))))
LABELS = np.random.default_rng(0).integers(0, 3, (1307, 1603)).astype(np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("mask") / "mask.ome.tif"
    write_label_pyramid(path, iter([(0, LABELS)]), Size(1603, 1307), mpp=0.7, classes=CLASSES)
    return path


def test_what_the_file_says(path):
    with open_mask(path) as mask:
        assert mask.size == Size(1603, 1307)
        assert mask.names == ("background", "gland", "stroma")
        assert mask.mpp == 0.7


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_rows(path, data):
    with open_mask(path) as mask:
        for _ in range(3):
            top = data.draw(st.integers(0, 1306))
            height = data.draw(st.integers(1, 1307 - top))
            assert (mask.rows(top, height) == LABELS[top : top + height]).all()


@pytest.mark.parametrize(("longest", "step"), [(5000, 1), (1603, 1), (1602, 2), (801, 4), (402, 4)])
def test_levels_are_no_longer_than_asked(path, longest, step):
    with open_mask(path) as mask:
        assert (mask.level(longest) == LABELS[::step, ::step]).all()


def test_smaller_than_the_coarsest_level(path):
    with open_mask(path) as mask:
        small = mask.level(100)
        assert max(small.shape) <= 100
        assert (small == LABELS[::20, ::20]).all()


@pytest.mark.parametrize(("top", "height"), [(-1, 5), (1300, 8), (0, 0), (1307, 1)])
def test_rows_outside(path, top, height):
    with open_mask(path) as mask, pytest.raises(SlideError, match="rows 0 to 1307"):
        mask.rows(top, height)


def test_a_tile_row_is_decoded_once_for_many_thin_bands(path, monkeypatch):
    with open_mask(path) as mask:
        reads, read, plane = [], mask._read, mask._levels[0]
        monkeypatch.setattr(plane, "_read", lambda o, n: reads.append(o) or read(o, n))
        for top in range(0, 1000, 10):
            mask.rows(top, 10)
    assert len(reads) == len(set(reads)) == 8


def test_reads_like_a_slide_in_its_colours(path):
    with open_slide(path) as slide:
        assert slide.mpp == 0.7
        colours = np.array(CLASSES.colours, np.uint8)
        assert (slide.read(Box(100, 90, 700, 600)) == colours[LABELS[90:690, 100:800]]).all()


def test_other_labels_are_masks_too(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", LABELS, compression="zlib")
    with open_mask(tmp_path / "a.tif") as mask:
        assert (mask.names, mask.mpp) == ((), None)
        assert (mask.rows(5, 700) == LABELS[5:705]).all()


def test_what_is_no_mask(tmp_path, path):
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((9, 9, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "deep.tif", np.zeros((9, 9), np.uint16))
    tifffile.imwrite(
        tmp_path / "stack.tif", np.zeros((3, 9, 9), np.uint8), photometric="minisblack"
    )
    (tmp_path / "text.tif").write_text("no TIFF at all")
    (tmp_path / "lost.tif").write_bytes(path.read_bytes()[:300])
    for name in ("rgb", "deep", "stack", "text", "lost", "absent"):
        with pytest.raises(SlideError, match=f"{name}.tif"):
            open_mask(tmp_path / f"{name}.tif")


def test_a_damaged_tile(tmp_path, path):
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[4]
    data = bytearray(path.read_bytes())
    data[offset : offset + 30] = bytes(30)
    (tmp_path / "a.ome.tif").write_bytes(data)
    with open_mask(tmp_path / "a.ome.tif") as mask:
        assert (mask.rows(0, 512) == LABELS[:512]).all()
        with pytest.raises(SlideError, match="tile row 1, column 0 of level 0 is damaged"):
            mask.rows(500, 100)
