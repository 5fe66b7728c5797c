"""Every back end keeps the same contract, on the same picture."""

import gc
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile
from openslide import OpenSlide
from PIL import Image
from tests.io.naive import area_mean, block_means, centroid

from slidemask.base.errors import SlideError
from slidemask.base.types import Rgb
from slidemask.geometry.box import Box, Size
from slidemask.io.array import ArraySlide
from slidemask.io.cache import TILES
from slidemask.io.open import FileSlide, open_slide
from slidemask.io.openslide_ import OpenSlideSource
from slidemask.io.slide import Slide
from slidemask.io.source import PerThread

WIDTH, HEIGHT = 203, 187
SPOT = 121.4, 83.9


def pattern() -> np.ndarray:
    """A smooth dark spot on a light ground that differs in every corner."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    spot = 200 * np.exp(-((x - SPOT[0]) ** 2 + (y - SPOT[1]) ** 2) / 2 / 14**2)
    return np.stack([255 - spot, 250 - spot * 0.5 - x / 20, 245 - spot * 0.7 - y / 20], -1).astype(
        np.uint8
    )


LEVELS = [pattern(), block_means(pattern(), 2), block_means(pattern(), 4)]


def _tiled(path: Path, levels=LEVELS, **options: Any) -> None:
    with tifffile.TiffWriter(path) as tiff:
        for number, level in enumerate(levels):
            tiff.write(
                level, tile=(64, 48), subfiletype=int(number > 0), photometric="rgb",
                metadata=None, **options,
            )  # fmt: skip


def _ome_sub_ifds(path: Path) -> None:
    with tifffile.TiffWriter(path, ome=True) as tiff:
        common = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"}
        sizes = {"PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}
        tiff.write(LEVELS[0], subifds=2, metadata={"axes": "YXS", **sizes}, **common)
        for level in LEVELS[1:]:
            tiff.write(level, subfiletype=1, **common)


def _three_planes(path: Path) -> None:
    planes = np.moveaxis(LEVELS[0], -1, 0)
    tifffile.imwrite(
        path, planes, ome=True, tile=(64, 64), photometric="minisblack", metadata={"axes": "CYX"}
    )


def _stripped(path: Path) -> None:
    tifffile.imwrite(path, LEVELS[0], rowsperstrip=13, compression="lzw", photometric="rgb")


def _sixteen_bit(path: Path) -> None:
    tifffile.imwrite(path, LEVELS[0].astype(np.uint16) * 257, tile=(64, 64), photometric="rgb")


def _with_alpha(path: Path) -> None:
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    tifffile.imwrite(
        path, np.concatenate([LEVELS[0], alpha], -1), tile=(64, 64), photometric="rgb",
        extrasamples=["unassalpha"],
    )  # fmt: skip


def _separate(path: Path) -> None:
    _tiled(path, [np.moveaxis(level, -1, 0).copy() for level in LEVELS], planarconfig="separate")


def _picture(path: Path) -> None:
    Image.fromarray(LEVELS[0]).save(path, lossless=True)


FILES: dict[str, Callable[[Path], None]] = {
    "pyramid.tif": _tiled,
    "deflate.tiff": lambda path: _tiled(path, compression="zlib", predictor=True),
    "separate.tif": _separate,
    "sub_ifds.ome.tif": _ome_sub_ifds,
    "three_planes.ome.tif": _three_planes,
    "stripped.tif": _stripped,
    "sixteen_bit.tif": _sixteen_bit,
    "alpha.tif": _with_alpha,
    "picture.png": _picture,
    "picture.webp": _picture,
    "picture.bmp": lambda path: Image.fromarray(LEVELS[0]).save(path),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    for name, write in FILES.items():
        write(folder / name)
    return folder


@pytest.fixture(params=["array", "openslide", *FILES])
def slide(request, folder):
    if request.param == "array":
        yield ArraySlide("array", LEVELS[0], mpp=0.25)
        return
    if request.param == "openslide":  # a file that the TIFF reader would take first
        path = folder / "pyramid.tif"
        slide = FileSlide(path, OpenSlideSource(path, "generic-tiff"))
    else:
        slide = open_slide(folder / request.param)
    with slide:
        yield slide


def test_is_a_slide(slide):
    assert isinstance(slide, Slide)
    assert slide.size == Size(WIDTH, HEIGHT)
    assert slide.downsamples[0] == 1
    assert all(isinstance(down, float) for down in slide.downsamples)
    assert slide.id


def test_gives_the_pixels_that_were_stored(slide):
    assert (slide.read(Box(0, 0, WIDTH, HEIGHT)) == LEVELS[0]).all()
    assert (slide.read(Box(60, 40, 70, 100)) == LEVELS[0][40:140, 60:130]).all()


def test_area_means_of_whole_and_broken_boxes(slide):
    for box in (Box(17, 9, 120, 96), Box(17.3, 9.8, 120, 96), Box(-20, 100, 90, 120)):
        for downsample in (1, 1.4, 1.9):
            found, true = slide.read(box, downsample), area_mean(LEVELS[0], box, downsample)
            assert found.shape == true.shape
            assert np.abs(found - true).max() < 0.51
        for downsample in (2, 3.1, 4, 7.3):  # now from a level that has been rounded once
            found, true = slide.read(box, downsample), area_mean(LEVELS[0], box, downsample)
            assert np.abs(found - true).mean() < 1.2


@pytest.mark.parametrize("downsample", [0.5, 0.77, 1, 1.3, 2, 2.6, 4, 4.0003, 5.1])
def test_a_pattern_keeps_its_place(slide, downsample):
    true = centroid(np.where(LEVELS[0] < 200, LEVELS[0], 255))
    read = slide.read(Box(0, 0, WIDTH + 37, HEIGHT + 13), downsample)
    read = np.where(read < 200, read, 255)
    for seen, expected in zip(centroid(read), true, strict=True):
        assert abs(seen * downsample - expected) < 0.5 * max(1, downsample)


@pytest.mark.parametrize("downsample", [1, 2.6, 4])
def test_tiles_fit_together(slide, downsample):
    side, whole = 16, slide.read(Box(0, 0, 48 * downsample, 32 * downsample), downsample)
    # OpenSlide interpolates where a level's scale is not whole for it, as 203 / 102 is.
    allowed = 5 if "openslide" in getattr(slide, "reader", "") else 1
    for i in range(2):
        for j in range(3):
            step = side * downsample
            tile = slide.read(Box(j * step, i * step, step, step), downsample)
            there = whole[i * side : (i + 1) * side, j * side : (j + 1) * side]
            assert np.abs(tile.astype(int) - there).max() <= allowed


def test_outside_is_white(slide):
    assert (slide.read(Box(WIDTH + 5, 0, 30, 30)) == 255).all()
    assert (slide.read(Box(-90, -90, 60, 60), 3.3) == 255).all()


def test_many_threads_read_the_same(slide):
    boxes = [Box(x, y, 64, 64) for x in range(0, 140, 20) for y in range(0, 120, 20)]
    with ThreadPoolExecutor(6) as pool:
        tiles = list(pool.map(slide.read, boxes))
    for box, tile in zip(boxes, tiles, strict=True):
        assert (tile == LEVELS[0][box.slices]).all()


def test_forgotten_pixels_are_read_again(slide):
    if not isinstance(slide, FileSlide):
        pytest.skip("holds its pixels itself")
    before = slide.read(Box(0, 0, WIDTH, HEIGHT))
    slide.forget()
    np.testing.assert_array_equal(slide.read(Box(0, 0, WIDTH, HEIGHT)), before)


def test_a_copy_sent_elsewhere_reads_the_same(slide):
    slide.read(Box(0, 0, 8, 8))
    copy = pickle.loads(pickle.dumps(slide))
    assert (copy.size, copy.mpp, copy.id) == (slide.size, slide.mpp, slide.id)
    assert (copy.read(Box(3, 4, 50, 60), 1.7) == slide.read(Box(3, 4, 50, 60), 1.7)).all()
    if isinstance(copy, FileSlide):
        copy.close()


def test_spawned_workers_reopen(folder):
    with open_slide(folder / "pyramid.tif") as slide:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            box = Box(0, 0, 20, 20)
            assert (pool.submit(slide.read, box).result() == slide.read(box)).all()


def test_close_closes_the_handles_of_all_threads(folder):
    path = folder / "pyramid.tif"
    slide = open_slide(path)

    def handles() -> int:
        return sum(Path(file.path) == path for file in psutil.Process().open_files())

    meeting = threading.Barrier(3)

    def read(x) -> Rgb:
        meeting.wait()
        return slide.read(Box(x, 0, 9, 9))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(read, (0, 64, 128)))
        assert handles() == 3
        slide.close()
        assert handles() == 0
    with pytest.raises(SlideError, match="closed"):
        slide.read(Box(0, 0, 100, 100))


class _Handle:
    def __init__(self) -> None:
        self.open = True

    def close(self) -> None:
        self.open = False


def test_handles_belong_to_threads_and_go_with_them():
    made = []
    handles = PerThread(lambda: made.append(_Handle()) or made[-1])
    mine = handles.get()
    assert handles.get() is mine
    for _ in range(5):
        thread = threading.Thread(target=handles.get)
        thread.start()
        thread.join()
    assert sum(handle.open for handle in made) == 2  # mine and the last thread's
    handles.drop()
    assert not mine.open
    assert handles.get() is not mine
    handles.close()
    assert not any(handle.open for handle in made)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_opens_its_own_handle():
    handles = PerThread(_Handle)
    mine = handles.get()
    child = os.fork()
    if not child:
        os._exit(int(handles.get() is mine))
    assert os.waitpid(child, 0)[1] == 0
    handles.close()


def test_an_openslide_handle_that_failed_is_replaced(shared_data, monkeypatch):
    path, opened = shared_data / "slides_native" / "unreadable.svs", []

    def counted(path) -> OpenSlide:
        opened.append(OpenSlide(path))
        return opened[-1]

    monkeypatch.setattr("slidemask.io.openslide_.OpenSlide", counted)
    with FileSlide(path, OpenSlideSource(path, "aperio")) as slide:
        for _ in range(2):
            with pytest.raises(SlideError, match=r"unreadable.svs.*Box.*Bogus marker length"):
                slide.read(Box(0, 0, 16, 16))
    assert len(opened) == 2


def test_forgetting_drops_the_decoded_tiles_of_this_slide_alone(folder):
    with open_slide(folder / "pyramid.tif") as one, open_slide(folder / "pyramid.tif") as other:
        for slide in (one, other):
            slide.read(Box(0, 0, WIDTH, HEIGHT))
        before = TILES.keys()
        one.forget()
        gone = set(before) - set(TILES.keys())
        assert gone
        assert len({key[0] for key in gone if isinstance(key, tuple)}) == 1
        other.forget()
        assert len(TILES.keys()) == len(before) - 2 * len(gone)


def test_a_forgotten_slide_leaves_no_handle(folder):
    slide = open_slide(folder / "pyramid.tif")
    slide.read(Box(0, 0, 9, 9))
    del slide
    gc.collect()
    assert not any("pyramid.tif" in file.path for file in psutil.Process().open_files())


@pytest.mark.parametrize("name", ["pyramid.tif", "sub_ifds.ome.tif", "separate.tif"])
def test_stored_levels_are_used(folder, name, monkeypatch):
    with open_slide(folder / name) as slide:
        assert slide.downsamples == (1, 2, 4)
        asked = []
        fetch = slide._source.fetch
        monkeypatch.setattr(
            slide._source, "fetch", lambda n, window: asked.append(n) or fetch(n, window)
        )
        for downsample in (1.9, 2, 3.9, 4.3):
            slide.read(Box(0, 0, 150, 150), downsample)
        assert asked == [0, 1, 1, 2]


def test_the_chosen_reader_is_named(folder, shared_data):
    for name, reader in {
        folder / "pyramid.tif": "tiff",
        folder / "sub_ifds.ome.tif": "tiff (ome)",
        folder / "picture.png": "picture (PNG)",
        shared_data / "slides_native" / "sm_image.dcm": "openslide (dicom)",
        shared_data / "slides_native" / "small.svs": "tiff (svs)",
    }.items():
        with open_slide(name) as slide:
            assert slide.reader.startswith(reader)


def test_real_slides_match_openslide(shared_data):
    for name in (
        "slides_native/CMU-1-Small-Region.svs",
        "slides_native/boxes.tiff",
        "slides_native/tcga-cr-7395-01a-01-ts1.svs",
        "slides/crohn_HE4_20x_whole.tif",
    ):
        path = shared_data / name
        with open_slide(path) as ours, FileSlide(path, OpenSlideSource(path, "")) as theirs:
            width, height = ours.size
            box = Box(width * 0.43, height * 0.37, width * 0.1, height * 0.1)
            for downsample in (1, 1.7):
                assert (ours.read(box, downsample) == theirs.read(box, downsample)).all()


def test_a_thumbnail_of_a_real_slide(shared_data):
    with open_slide(shared_data / "slides" / "crohn_HE4_20x_whole.tif") as slide:
        coarse = slide.read(Box(0, 0, *slide.size), 64).astype(float)
        fine = slide.read(Box(0, 0, *slide.size), 16)[: 948 // 4 * 4, :1248]
        assert coarse.shape == (237, 313, 3)
        means = fine.reshape(237, 4, 312, 4, 3).mean((1, 3))
        assert np.abs(coarse[:, :312] - means).mean() < 3
        assert 0.05 < (coarse.mean(-1) < 225).mean() < 0.4  # tissue on glass


def test_tiles_that_were_left_out_are_white(tmp_path):
    def tiles() -> Iterator[Rgb | None]:
        yield np.full((64, 64, 3), 7, np.uint8)
        yield None
        yield np.full((64, 64, 3), 9, np.uint8)
        yield None

    path = tmp_path / "sparse.tif"
    tifffile.imwrite(path, tiles(), shape=(128, 128, 3), dtype=np.uint8, tile=(64, 64),
                     photometric="rgb")  # fmt: skip
    with open_slide(path) as slide:
        read = slide.read(Box(0, 0, 128, 128))
    assert (read[:64, :64] == 7).all()
    assert (read[64:, :64] == 9).all()
    assert (read[:, 64:] == 255).all()


def test_transparent_pixels_lie_on_white(tmp_path):
    pixels = np.zeros((6, 8, 4), np.uint8)
    pixels[:, 4:] = (200, 10, 30, 255)
    pixels[:, :2, 3] = 51  # a fifth of black
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(16, 16), photometric="rgb",
                     extrasamples=["unassalpha"])  # fmt: skip
    for name in ("a.png", "a.tif"):
        with open_slide(tmp_path / name) as slide:
            read = slide.read(Box(0, 0, 8, 6))
        assert (read[:, :2] == 204).all()
        assert (read[:, 2:4] == 255).all()
        assert (read[:, 4:] == (200, 10, 30)).all()


def test_grey_palette_and_deep_pictures_become_rgb(tmp_path):
    grey = LEVELS[0][..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 256 + 99).save(tmp_path / "deep.png")
    tifffile.imwrite(tmp_path / "grey.tif", grey)
    tifffile.imwrite(tmp_path / "inverted.tif", 255 - grey, photometric="miniswhite")
    for name in ("grey.png", "deep.png", "grey.tif", "inverted.tif"):
        with open_slide(tmp_path / name) as slide:
            assert (slide.read(Box(0, 0, WIDTH, HEIGHT)) == grey[..., None]).all()
    few = Image.fromarray(LEVELS[0]).quantize(16)
    few.save(tmp_path / "few.png")
    with open_slide(tmp_path / "few.png") as slide:
        assert (slide.read(Box(0, 0, WIDTH, HEIGHT)) == np.asarray(few.convert("RGB"))).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_camera_pictures_stand_upright(tmp_path, orientation):
    image = Image.fromarray(LEVELS[0])
    turned = {
        1: image,
        2: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: image.rotate(180),
        4: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: image.transpose(Image.Transpose.TRANSPOSE),
        6: image.rotate(90, expand=True),
        7: image.transpose(Image.Transpose.TRANSVERSE),
        8: image.rotate(-90, expand=True),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned.save(tmp_path / "a.png", exif=exif)
    with open_slide(tmp_path / "a.png") as slide:
        assert slide.size == Size(WIDTH, HEIGHT)
        assert (slide.read(Box(0, 0, WIDTH, HEIGHT)) == LEVELS[0]).all()
