"""Whatever is wrong with a file, one named error says what and what to do."""

import logging
import os

import numpy as np
import pytest
import tifffile
from PIL import Image

from slidemask.base.errors import ResolutionUnknownError, SettingsError, SlideError
from slidemask.geometry.box import Box
from slidemask.io.open import open_slide
from slidemask.io.resolution import Mpp, downsample_for

PIXELS = np.random.default_rng(0).integers(0, 256, (300, 280, 3), dtype=np.uint8)


def refused(path) -> str:
    with pytest.raises(SlideError) as caught:
        open_slide(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_no_such_file(tmp_path):
    assert "does not exist; check the spelling" in refused(tmp_path / "absent.svs")


def test_a_directory(tmp_path):
    assert "is a directory; name a slide file" in refused(tmp_path)


def test_an_empty_file(tmp_path):
    (tmp_path / "a.svs").touch()
    assert "is empty (0 bytes); copy it again" in refused(tmp_path / "a.svs")


@pytest.mark.parametrize("name", ["a.svs", "a.tif", "a.png", "a.dcm", "a.mrxs", "a.ndpi"])
def test_text_with_a_slides_name(tmp_path, name):
    (tmp_path / name).write_text("This is no slide.\n" * 40)
    assert "begins with b'This is '" in refused(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_rights(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS)
    path.chmod(0)
    assert "check its access rights" in refused(path)


def test_rights_are_named_whoever_runs_this(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", denied)
    assert "cannot be read (Permission denied); check its access rights" in refused(path)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
def test_a_tiff_cut_short(tmp_path, share):
    whole = tmp_path / "whole.tif"
    tifffile.imwrite(whole, PIXELS, tile=(64, 64), photometric="rgb")
    data = whole.read_bytes()
    path = tmp_path / "cut.tif"
    path.write_bytes(data[: int(len(data) * share)])
    assert f"has {int(len(data) * share)}" in refused(path)


def test_a_tiff_whose_tags_were_lost(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0\xff\xff\xff\0" + bytes(500))
    refused(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_a_picture_cut_short(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(PIXELS).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SlideError, match=name), open_slide(path) as slide:  # at the read at latest
        slide.read(Box(0, 0, 280, 300))


def test_one_damaged_tile_leaves_the_others(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, tile=(64, 64), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[6]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(data)
    with open_slide(path) as slide:
        with pytest.raises(SlideError, match=r"a\.tif.*Box\(x=64.*at downsample 1 .*damaged"):
            slide.read(Box(64, 64, 64, 64))
        assert (slide.read(Box(0, 0, 64, 64)) == PIXELS[:64, :64]).all()


def test_a_picture_too_large_to_decode(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "vips tiffsave" in refused(tmp_path / "a.png")


def test_a_strip_too_large_to_decode(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb")
    monkeypatch.setattr("slidemask.io.tiff.SEGMENT_PX", 1000)
    assert "vips tiffsave" in refused(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [
        (np.zeros((4, 64, 64), np.uint8), {"photometric": "minisblack"}, "4 planes"),
        (np.zeros((5, 64, 64, 3), np.uint8), {"photometric": "rgb"}, "5 planes"),
        (np.zeros((64, 64), np.uint16), {}, "16-bit grey"),
        (np.zeros((64, 64), np.float32), {}, "float32"),
        (np.zeros((64, 64, 3), np.float32), {"photometric": "rgb"}, "float32"),
    ],
)
def test_kinds_of_tiff_that_are_not_pictures_of_light(tmp_path, pixels, options, message):
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, tile=(16, 16), **options)
    assert message in refused(tmp_path / "a.ome.tif")


def test_the_collected_files_of_readers_test_suites(shared_data):
    folder = shared_data / "slides_native"
    assert "b'IJrEr1vV'" in refused(folder / "broken.svs")
    assert "Couldn't get image flavor" in refused(folder / "small_dicom.dcm")
    assert "compression 52479 is not known" in refused(folder / "unopenable.tiff")
    with (
        open_slide(folder / "unreadable.svs") as slide,
        pytest.raises(SlideError, match=r"unreadable\.svs: Box\(x=2.*Bogus marker length"),
    ):
        slide.read(Box(2, 0, 9, 9))
    with open_slide(folder / "😐.svs") as face, open_slide(folder / "small.svs") as small:
        assert face.id == "😐"
        assert (face.read(Box(0, 0, 16, 16)) == small.read(Box(0, 0, 16, 16))).all()


def test_slides_of_unknown_resolution_open_and_say_why(shared_data, tmp_path):
    folder = shared_data / "slides_native"
    for path, reason in {
        folder / "tcga-cr-7395-01a-01-ts1.svs": "the file names none",
        folder / "boxes.tiff": "resolution tags says 352.778",
        tmp_path / "a.png": "plain picture",
    }.items():
        if path.suffix == ".png":
            Image.fromarray(PIXELS).save(path, dpi=(96, 96))
        with open_slide(path) as slide:
            assert slide.mpp is None
            with pytest.raises(ResolutionUnknownError, match=reason) as caught:
                downsample_for(slide, Mpp(1.0))
            assert "--mpp" in str(caught.value)
        with open_slide(path, mpp=0.25) as slide:
            assert downsample_for(slide, Mpp(1.0)) == 4


@pytest.mark.parametrize("mpp", [0, -1, 250, float("nan")])
def test_impossible_mpp_from_the_caller(tmp_path, mpp):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    with pytest.raises(SettingsError, match=r"0\.05 to 100"):
        open_slide(tmp_path / "a.png", mpp=mpp)


def test_an_objective_power_is_assumed_with_a_warning(tmp_path, caplog):
    path = tmp_path / "a.svs"
    tifffile.imwrite(
        path, PIXELS, tile=(64, 64), photometric="rgb", metadata=None,
        description="Aperio Image Library v11\n280x300 [0,0 280x300] (64x64)|AppMag = 40",
    )  # fmt: skip
    with caplog.at_level(logging.WARNING), open_slide(path) as slide:
        assert slide.mpp == 0.25
        assert slide.reader == "tiff (svs)"
    assert "objective power 40 stands for 0.25" in caplog.text
    caplog.clear()
    with open_slide(path, mpp=0.24) as slide:
        assert slide.mpp == 0.24
    assert not caplog.text
