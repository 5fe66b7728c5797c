import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from typing import TypeAlias
from xml.etree import ElementTree as ET

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import OutputError
from slidemask.geometry.box import Box, Size
from slidemask.io import pyramid
from slidemask.io.open import open_slide
from slidemask.io.pyramid import (
    write_label_pyramid,
    write_probability_pyramid,
    write_rgb_pyramid,
)

Bands: TypeAlias = Iterator[tuple[int, NDArray[np.uint8]]]

WIDTH, HEIGHT = 1301, 1139
SIZE = Size(WIDTH, HEIGHT)
CLASSES = ClassMap(
    classes=(
        ClassInfo(name="gland", colour=(0, 160, 60)),
        ClassInfo(name="腺体 & <lumen>", colour=(250, 10, 0)),
    )
)


def cut(array, heights, rows=0) -> Bands:
    """Bands of the given heights, over and over."""
    top, number = 0, 0
    while top < array.shape[rows]:
        height = min(heights[number % len(heights)], array.shape[rows] - top)
        yield top, array.take(range(top, top + height), axis=rows)
        top, number = top + height, number + 1


@pytest.fixture(scope="module")
def labels():
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 3, (30, 33)), np.ones((40, 40))).astype(np.uint8)
    labels = blocks[:HEIGHT, :WIDTH].copy()
    labels[700:, 900:] = 0
    labels[3, 5], labels[-1, -1] = 255, 2
    return labels


@pytest.fixture(scope="module")
def rgb():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = np.stack([np.sin(x / 60), np.sin(y / 45), np.sin((x + y) / 80)], axis=-1)
    rgb = (170 + 60 * waves).astype(np.uint8)
    rgb[600:, 700:] = 255
    return rgb


def test_labels_come_back_at_every_level(tmp_path, labels):
    path = tmp_path / "mask.ome.tif"
    write_label_pyramid(path, cut(labels, [100, 1, 700]), SIZE, mpp=0.5, classes=CLASSES)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        assert len(tiff.pages) == 1  # the levels are sub-IFDs
        levels = tiff.series[0].levels
        for number, level in enumerate(levels):
            step = 2**number
            assert (level.asarray() == labels[::step, ::step]).all()
            assert level.keyframe.is_tiled
            assert level.keyframe.compression == 8
            assert level.keyframe.predictor == 1
        assert max(levels[-1].shape) <= 512 < max(levels[-2].shape)
        palette = np.asarray(levels[0].keyframe.colormap)[:, :3] // 257
        assert palette.T.tolist() == [[255, 255, 255], [0, 160, 60], [250, 10, 0]]


def test_the_ome_xml_says_size_pixel_size_and_classes(tmp_path, labels):
    path = tmp_path / "mask.ome.tif"
    write_label_pyramid(path, cut(labels, [64]), SIZE, mpp=0.5, classes=CLASSES)
    with tifffile.TiffFile(path) as tiff:
        root = ET.fromstring(tiff.series[0].keyframe.description)
    (pixels,) = root.findall("{*}Image/{*}Pixels")
    wanted = {
        "SizeX": "1301", "SizeY": "1139", "SizeC": "1", "Type": "uint8", "PhysicalSizeX": "0.5",
        "PhysicalSizeY": "0.5", "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm",
    }  # fmt: skip
    assert wanted.items() <= pixels.attrib.items()
    maps = {
        note.get("Namespace"): {m.get("K"): m.text for m in note.iterfind("{*}Value/{*}M")}
        for note in root.iterfind("{*}StructuredAnnotations/{*}MapAnnotation")
    }
    assert maps == {
        "slidemask/classes": {"0": "background", "1": "gland", "2": "腺体 & <lumen>"},
        "slidemask/colours": {"0": "#ffffff", "1": "#00a03c", "2": "#fa0a00"},
    }
    references = {ref.get("ID") for ref in root.findall("{*}Image/{*}AnnotationRef")}
    assert references == {note.get("ID") for note in root.iterfind(".//{*}MapAnnotation")}


def test_probabilities_have_a_channel_per_class(tmp_path, labels):
    path = tmp_path / "probability.ome.tif"
    quantised = np.stack([labels % 3 * 120, 255 - labels % 3 * 100])
    write_probability_pyramid(
        path, cut(quantised, [77, 300], rows=1), SIZE, mpp=0.25, names=["gland", "stroma"]
    )
    with tifffile.TiffFile(path) as tiff:
        (series,) = tiff.series
        assert series.axes == "CYX"
        assert (series.asarray() == quantised).all()
        assert [level.shape for level in series.levels] == [
            (2, 1139, 1301), (2, 570, 651), (2, 285, 326)]  # fmt: skip
        even = quantised[:, :1138, :1300].reshape(2, 569, 2, 650, 2).mean((2, 4))
        coarse = series.levels[1].asarray()
        assert np.abs(coarse[:, :569, :650] - even).max() <= 0.5
        assert (coarse[1, 569, 650]) == quantised[1, -1, -1]
        names = [c.get("Name") for c in ET.fromstring(series.keyframe.description).iter()
                 if c.tag.endswith("}Channel")]  # fmt: skip
        assert names == ["gland", "stroma"]


def test_one_class_alone(tmp_path, labels):
    path = tmp_path / "probability.ome.tif"
    write_probability_pyramid(
        path, cut(labels[None], [200], rows=1), SIZE, mpp=None, names=["gland"]
    )
    with tifffile.TiffFile(path) as tiff:
        assert (tiff.series[0].asarray() == labels).all()
        assert tiff.series[0].keyframe.tags.valueof("XResolution") in ((1, 1), None)


def test_slides_open_everywhere(tmp_path, rgb):
    path = tmp_path / "slide.tif"
    write_rgb_pyramid(path, cut(rgb, [256, 100]), SIZE, mpp=0.4)
    with openslide.OpenSlide(path) as theirs:
        assert theirs.dimensions == SIZE
        assert theirs.level_count == 4
        assert float(theirs.properties["openslide.mpp-x"]) == pytest.approx(0.4, rel=1e-6)
        region = np.asarray(theirs.read_region((0, 0), 0, SIZE))[..., :3]
    with open_slide(path) as ours:
        assert ours.mpp == pytest.approx(0.4, rel=1e-6)
        assert ours.downsamples == (1, 2, 4, 8)
        whole = ours.read(Box(0, 0, *SIZE))
        assert (whole == region).all()
        assert np.abs(whole - rgb.astype(float)).mean() < 1.5
        assert (whole[620:, 720:] == 255).all()
        for factor in (2, 4, 8):
            rows, columns = HEIGHT // factor, WIDTH // factor
            blocks = rgb[: rows * factor, : columns * factor]
            means = blocks.reshape(rows, factor, columns, factor, 3).mean((1, 3))
            coarse = ours.read(Box(0, 0, *SIZE), factor)[:rows, :columns]
            assert np.abs(coarse - means).mean() < 1.5


def test_a_slide_says_what_it_is_and_stays_a_plain_pyramid(tmp_path, rgb):
    path = tmp_path / "slide.tif"
    words = "SYNTHETIC: no patient's tissue, 1 px = 0.4 µm."
    write_rgb_pyramid(path, cut(rgb, [256]), SIZE, mpp=0.4, description=words)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages.first.description == words
        assert [page.aspage().description for page in tiff.pages[1:]] == [""] * 3
    assert openslide.OpenSlide.detect_format(path) == "generic-tiff"
    with openslide.OpenSlide(path) as theirs:
        assert (theirs.dimensions, theirs.level_count) == (SIZE, 4)
        assert theirs.properties["tiff.ImageDescription"] == words
        region = np.asarray(theirs.read_region((0, 0), 0, SIZE))[..., :3]
    with open_slide(path) as ours:
        assert (ours.mpp, ours.downsamples) == (pytest.approx(0.4, rel=1e-6), (1, 2, 4, 8))
        assert (ours.read(Box(0, 0, *SIZE)) == region).all()


@settings(deadline=None, max_examples=12)
@given(
    heights=st.lists(st.integers(1, 900), min_size=1, max_size=4),
    size=st.tuples(st.integers(1, 1100), st.integers(1, 700)),
)
def test_the_bands_heights_leave_no_trace(tmp_path_factory, heights, size):
    folder = tmp_path_factory.mktemp("bands")
    labels = np.random.default_rng(1).integers(0, 3, size[::-1]).astype(np.uint8)
    for name, cuts in {"a.ome.tif": heights, "b.ome.tif": [size[1]]}.items():
        write_label_pyramid(
            folder / name, cut(labels, cuts), Size(*size), mpp=None, classes=CLASSES
        )
    assert (tifffile.imread(folder / "a.ome.tif") == labels).all()
    one, two = ((folder / name).read_bytes() for name in ("a.ome.tif", "b.ome.tif"))
    assert one.replace(b"a.ome.tif", b"b.ome.tif") == two


def test_equal_input_gives_equal_bytes(tmp_path, rgb):
    for name in ("a.tif", "b.tif"):
        write_rgb_pyramid(tmp_path / name, cut(rgb, [256]), SIZE, mpp=0.4)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_huge_maps_get_wide_offsets(tmp_path, labels, monkeypatch):
    monkeypatch.setattr(pyramid, "_CLASSIC_BYTES", 1_000_000)
    write_label_pyramid(tmp_path / "a.ome.tif", cut(labels, [99]), SIZE, mpp=1, classes=CLASSES)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert tiff.is_bigtiff
        assert (tiff.series[0].asarray() == labels).all()


def _gap(labels) -> Bands:
    yield 0, labels[:100]
    yield 101, labels[101:]


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        (lambda _: iter(()), "ended at row 0 of 1139"),
        (lambda a: cut(a[:-1], [400]), "ended at row 1138 of 1139"),
        (lambda a: cut(np.vstack([a, a[:1]]), [400]), "row 1139|row 800"),
        (lambda a: [*cut(a, [400]), (1139, a[:1])], "row 1139 of 1139"),
        (_gap, "start at row 100 of 1139.*row 101"),
        (lambda a: cut(a[:, 1:], [400]), r"1301 columns.*\(1, 400, 1300, 1\)"),
        (lambda a: cut(a.astype(np.int64), [400]), "int64"),
        (lambda a: cut(a[..., None], [400]), r"\(1, 400, 1301, 1, 1\)"),
    ],
)
def test_bands_that_do_not_make_up_the_map(tmp_path, labels, bands, message):
    with pytest.raises(OutputError, match=message):
        write_label_pyramid(tmp_path / "a.ome.tif", bands(labels), SIZE, mpp=1, classes=CLASSES)
    assert not list(tmp_path.iterdir())


def test_what_goes_wrong_while_the_bands_are_made_leaves_nothing(tmp_path, labels):
    def bands() -> Bands:
        yield 0, labels[:700]
        raise ZeroDivisionError

    (tmp_path / "a.ome.tif").write_text("older")
    with pytest.raises(ZeroDivisionError):
        write_label_pyramid(tmp_path / "a.ome.tif", bands(), SIZE, mpp=1, classes=CLASSES)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_a_folder_that_cannot_be_written_to(tmp_path, labels):
    with pytest.raises(OutputError, match="could not be written"):
        write_label_pyramid(tmp_path / "no" / "a.ome.tif", cut(labels, [99]), SIZE, mpp=1,
                            classes=CLASSES)  # fmt: skip


def test_a_full_disk(tmp_path, labels, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pyramid.Spool, "put", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_label_pyramid(tmp_path / "a.ome.tif", cut(labels, [99]), SIZE, mpp=1,
                            classes=CLASSES)  # fmt: skip
    assert not list(tmp_path.iterdir())


KILLED = """
import os, sys
import numpy as np
from pathlib import Path
from slidemask.geometry.box import Size
from slidemask.io.pyramid import write_rgb_pyramid
def bands():
    yield 0, np.zeros((600, 700, 3), np.uint8)
    os._exit(9)
write_rgb_pyramid(Path(sys.argv[1]), bands(), Size(700, 1200), mpp=1)
"""


def test_a_killed_writer_leaves_no_file_under_the_name(tmp_path):
    ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a.tif"], check=False)
    assert ended.returncode == 9
    assert not (tmp_path / "a.tif").exists()


def test_memory_does_not_grow_with_height(tmp_path):
    def peak(height) -> int:
        band = np.random.default_rng(0).integers(0, 3, (128, 1500)).astype(np.uint8)
        tracemalloc.start()
        bands = ((top, band) for top in range(0, height, 128))
        write_label_pyramid(tmp_path / "a.ome.tif", bands, Size(1500, height), mpp=1,
                            classes=CLASSES)  # fmt: skip
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1024)
    assert peak(128 * 40) < 1.2 * peak(128 * 12)


def test_glass_costs_almost_nothing(tmp_path):
    white = np.full((512, 6000, 3), 255, np.uint8)
    bands = ((top, white) for top in range(0, 6144, 512))
    write_rgb_pyramid(tmp_path / "a.tif", bands, Size(6000, 6144), mpp=1)
    assert (tmp_path / "a.tif").stat().st_size < 700_000  # of 147 MB with its levels


def test_what_stood_in_a_row_of_tiles_does_not_stay_in_the_next(tmp_path):
    """Memory of rows that were full is used again, that of others not."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (512 * 5, 1500), np.uint8)
    labels[512:1024, 200:] = 0
    labels[1024:1536] = 0
    labels[2048:, :1100] = 0
    path = tmp_path / "mask.ome.tif"
    write_label_pyramid(path, cut(labels, [300]), Size(1500, 2560), mpp=1, classes=CLASSES)
    with tifffile.TiffFile(path) as tiff:
        for number, level in enumerate(tiff.series[0].levels):
            assert (level.asarray() == labels[:: 2**number, :: 2**number]).all()
