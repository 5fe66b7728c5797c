"""Label images: values as stored."""

from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from slidemask.base.errors import AnnotationError
from slidemask.io.labelimage import read_label_image, write_label_image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_round_trip(tmp_path, dtype, name):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, np.iinfo(dtype).max + 1, (37, 53)).astype(dtype)
    assert write_label_image(tmp_path / name, labels) == tmp_path / name
    again = read_label_image(tmp_path / name)
    assert again.dtype == dtype
    assert np.array_equal(again, labels)


def test_too_long_for_png_becomes_tiff(tmp_path):
    labels = np.zeros((2, 65_536), np.uint8)
    labels[1, -1] = 7
    path = write_label_image(tmp_path / "a.png", labels)
    assert path == tmp_path / "a.tif"
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]
    assert np.array_equal(read_label_image(path), labels)
    with tifffile.TiffFile(path) as file:
        assert file.pages.first.is_tiled


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif"])
def test_equal_channels_are_one_value(tmp_path, suffix):
    values = np.array([[0, 1, 2], [9, 128, 255]], np.uint8)
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(np.stack([values] * 3, axis=2)).save(tmp_path / f"a{suffix}", **options)
    assert np.array_equal(read_label_image(tmp_path / f"a{suffix}"), values)


def test_palette_indices_not_colours(tmp_path):
    values = np.array([[0, 1], [2, 3]], np.uint8)
    image = Image.fromarray(values)
    image = image.convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 9, 9, 9, 1, 2, 3])
    image.putdata(values.ravel().tolist())
    for name in ("a.png", "a.bmp", "a.tif"):
        image.save(tmp_path / name)
        assert np.array_equal(read_label_image(tmp_path / name), values)


def test_two_values_and_alpha(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
    assert read_label_image(tmp_path / "bits.png").tolist() == [[1, 0]]
    Image.fromarray(np.array([[[5, 5, 5, 0], [6, 6, 6, 255]]], np.uint8)).save(tmp_path / "a.png")
    assert read_label_image(tmp_path / "a.png").tolist() == [[5, 6]]
    Image.fromarray(np.array([[[5, 0], [6, 255]]], np.uint8)).save(tmp_path / "la.png")
    assert read_label_image(tmp_path / "la.png").tolist() == [[5, 6]]


def test_whole_numbers_of_other_types(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 40_000]], np.int32))
    assert read_label_image(tmp_path / "a.tif").tolist() == [[0, 40_000]]
    for values in (np.array([[70_000]], np.int32), np.array([[-1]], np.int8), np.array([[0.5]])):
        tifffile.imwrite(tmp_path / "b.tif", values)
        with pytest.raises(AnnotationError, match=r"whole numbers from 0 to 65535"):
            read_label_image(tmp_path / "b.tif")


def test_what_is_refused(tmp_path):
    Image.fromarray(np.array([[[1, 1, 1], [1, 2, 3]]], np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(AnnotationError, match=r"pixel \(row 0, column 1\) holds \(1, 2, 3\)"):
        read_label_image(tmp_path / "c.png")
    for content in (b"", b"hello", b"\x89PNG\r\n\x1a\nrest", b"II*\x00rest"):
        (tmp_path / "bad.png").write_bytes(content)
        with pytest.raises(AnnotationError, match=r"bad\.png cannot be read"):
            read_label_image(tmp_path / "bad.png")
    with pytest.raises(AnnotationError, match="No such file"):
        read_label_image(tmp_path / "absent.png")
    write_label_image(
        tmp_path / "cut.png", np.random.default_rng(0).integers(0, 9, (99, 99), np.uint8)
    )
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:400])
    with pytest.raises(AnnotationError, match=r"cut\.png cannot be read"):
        read_label_image(tmp_path / "cut.png")


def test_real_label_images(shared_data):
    path = next((shared_data / "ebhi_seg").rglob("labels/*.png"))
    assert set(np.unique(read_label_image(path)).tolist()) <= {0, 255}
    nuclei = read_label_image(next((shared_data / "dsb2018_he" / "labels").iterdir()))
    assert nuclei.dtype == np.uint16
    assert nuclei.max() > 1
