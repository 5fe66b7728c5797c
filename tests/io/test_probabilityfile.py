"""Probability maps come back as they were written."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import SlideError
from slidemask.geometry.box import Size
from slidemask.io.probabilityfile import open_probability
from slidemask.io.pyramid import write_label_pyramid, write_probability_pyramid

VALUES = np.random.default_rng(0).integers(0, 256, (4, 1307, 603)).astype(np.uint8)
NAMES = ("gland", "stroma", "vessel", "nerve")
SIZE = Size(603, 1307)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "probability.ome.tif"
    write_probability_pyramid(path, iter([(0, VALUES)]), SIZE, mpp=0.7, names=NAMES)
    return path


def test_what_the_file_says(path):
    with open_probability(path) as found:
        assert (found.size, found.names, found.mpp) == (SIZE, NAMES, 0.7)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_rows(path, data):
    with open_probability(path) as found:
        for _ in range(3):
            top = data.draw(st.integers(0, 1306))
            height = data.draw(st.integers(1, 1307 - top))
            assert (found.rows(top, height) == VALUES[:, top : top + height]).all()


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_few_classes_on_a_small_canvas(tmp_path, classes):
    path, values = tmp_path / "p.ome.tif", VALUES[:classes, :40, :30]
    size, names = Size(30, 40), NAMES[:classes]
    write_probability_pyramid(path, iter([(0, values)]), size, mpp=None, names=names)
    with open_probability(path) as found:
        assert (found.names, found.mpp) == (names, None)
        assert (found.rows(0, 40) == values).all()


def test_a_whole_level_agrees_with_tifffile(path):
    with open_probability(path) as found:
        assert (found.rows(0, 1307) == tifffile.imread(path)).all()


@pytest.mark.parametrize(("top", "height"), [(-1, 5), (1300, 8), (0, 0)])
def test_rows_outside(path, top, height):
    with open_probability(path) as found, pytest.raises(SlideError, match="rows 0 to 1307"):
        found.rows(top, height)


def test_each_tile_is_decoded_once_for_thin_bands(path, monkeypatch):
    with open_probability(path) as found:
        reads, read = [], found._read
        for plane in found._planes:
            monkeypatch.setattr(plane, "_read", lambda o, n: reads.append(o) or read(o, n))
        for top in range(0, 1000, 50):
            found.rows(top, 50)
    assert len(reads) == len(set(reads)) == 2 * 2 * 4


def test_other_files_are_refused(tmp_path, path):
    colour, text = tmp_path / "colour.tif", tmp_path / "text.tif"
    tifffile.imwrite(colour, np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    text.write_bytes(b"no picture at all")
    with pytest.raises(SlideError, match="one plane of uint8 for each class"):
        open_probability(colour)
    with pytest.raises(SlideError, match="no readable TIFF"):
        open_probability(text)
    with pytest.raises(SlideError, match="cannot be read"):
        open_probability(tmp_path / "absent.tif")
    text.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SlideError, match=r"text\.tif"):
        open_probability(text)


def test_a_mask_reads_as_one_unnamed_plane(tmp_path):
    path, labels = tmp_path / "m.ome.tif", (VALUES[0] > 99).astype(np.uint8)
    classes = ClassMap(classes=(ClassInfo(name="gland"),))
    write_label_pyramid(path, iter([(0, labels)]), SIZE, mpp=None, classes=classes)
    with open_probability(path) as found:
        assert (found.rows(0, 1307)[0] == labels).all()
