"""Photos come out upright and in RGB whatever their file holds; what is no photo is named."""

import base64
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from slidemask.base.errors import SlideError
from slidemask.io.photograph import LARGEST_MEGAPIXELS, read_photo

ORIENTATION = 0x0112
HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAADRpbG9jAAAAAERAAAIAAQAAAAAB7AABAAAAAAAAAE8AAgAAAAACOwABAAAAAAAAACQAAAA4aWluZgAAAAAA"
    "AgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADm"
    "aXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAq"
    "QgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQAN"
    "AAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBp"
    "eGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEA"
    "AQAAAHttZGF0AAAASygBr1jm9Oq//+UNf/5s/IfJp+GlYf+beq+v75/rcbjx+/DTP39EPMsrRfAB/2e3Pu8SfqsVJPz/"
    "y8cNf0ctV7evi13P4xrjuDvTgAAAAAZFeGlmAABNTQAqAAAACAABARIAAwAAAAEABgAAAAAAAA=="
)
"""A camera held upright: 64 x 48 px, left half red, right half blue, in its top right corner white;
to be turned to the right, which both the file's own box and its EXIF data say."""


@pytest.fixture
def scene() -> np.ndarray:
    """A picture without any symmetry."""
    rng = np.random.default_rng(4)
    return np.kron(rng.integers(0, 256, (3, 5, 3), np.uint8), np.ones((8, 8, 1), np.uint8))


def as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return the rows and columns that a camera stores: what the EXIF standard says of row 0."""
    first_row_and_column = {
        1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left",
        5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom",
    }[orientation].split()  # fmt: skip
    stored = upright
    if "right" in first_row_and_column:
        stored = stored[:, ::-1]
    if "bottom" in first_row_and_column:
        stored = stored[::-1]
    return stored.swapaxes(0, 1) if orientation > 4 else stored


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_come_upright(
    tmp_path: Path, scene: np.ndarray, suffix: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"photo.{suffix}"
    stored = Image.fromarray(np.ascontiguousarray(as_stored(scene, orientation)))
    stored.save(path, exif=exif, lossless=True)
    np.testing.assert_array_equal(read_photo(path), scene)


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize(("subsampling", "progressive"), [(0, False), (2, True)])
@pytest.mark.parametrize("tail", [b"", b"\0appended"])
def test_jpeg_has_the_pixels_that_pillow_gives(
    tmp_path: Path, orientation: int | None, subsampling: int, progressive: bool, tail: bytes
) -> None:
    path, exif = tmp_path / "photo.jpg", Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    pixels = np.random.default_rng(7).integers(0, 256, (51, 37, 3), np.uint8)
    Image.fromarray(pixels).save(
        path, exif=exif, quality=88, subsampling=subsampling, progressive=progressive
    )
    path.write_bytes(path.read_bytes() + tail)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    found = read_photo(path)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_of_16_bits_comes_upright_in_8(
    tmp_path: Path, scene: np.ndarray, orientation: int
) -> None:
    path = tmp_path / "photo.tif"
    stored = np.ascontiguousarray(as_stored(scene, orientation))
    deep = stored.astype(np.uint16) * 256 + 100
    tag = (ORIENTATION, 3, 1, orientation, True)
    tifffile.imwrite(path, deep, photometric="rgb", extratags=[tag])
    np.testing.assert_array_equal(read_photo(path), scene)


def test_heic_is_turned_once(tmp_path: Path) -> None:
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(base64.b64decode(HEIC))
    photo = read_photo(path)
    assert photo.shape == (64, 48, 3)
    places = {"top": photo[5, 5], "bottom": photo[-5, 5], "corner": photo[-5, -5]}
    colours = {"top": (200, 30, 40), "bottom": (30, 60, 200), "corner": (255, 255, 255)}
    for name, colour in colours.items():
        assert np.abs(places[name].astype(int) - colour).max() < 12, name


def test_grey_16_bits_transparency_and_print_colours_become_rgb(tmp_path: Path) -> None:
    grey = np.arange(0, 256, 2).astype(np.uint8).reshape(8, 16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    tifffile.imwrite(tmp_path / "deep.tif", grey.astype(np.uint16) * 257)
    for name in ("grey.png", "deep.png", "deep.tif"):
        photo = read_photo(tmp_path / name)
        assert photo.dtype == np.uint8
        np.testing.assert_array_equal(photo, np.repeat(grey[..., None], 3, axis=2))
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:2] = (10, 20, 30, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    photo = read_photo(tmp_path / "clear.png")
    assert (photo[:2] == (10, 20, 30)).all()
    assert (photo[2:] == 255).all()
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=95)
    red = read_photo(tmp_path / "print.jpg")[8, 8].astype(int)
    assert np.abs(red - (255, 0, 0)).max() < 8


def test_what_is_no_photo_is_named(tmp_path: Path, scene: np.ndarray) -> None:
    large = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    whole = tmp_path / "whole.jpg"
    Image.fromarray(large).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:-3000])
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "cut.heic").write_bytes(base64.b64decode(HEIC)[:540])
    Image.fromarray(scene).save(tmp_path / "photo.gif")
    Image.fromarray(scene[..., 0].astype(np.float32)).save(tmp_path / "numbers.tif")
    cases = {
        "absent.jpg": "does not exist",
        ".": "is a directory",
        "cut.jpg": "damaged or cut off",
        "cut.heic": "damaged",
        "text.jpg": "not a picture of a known format",
        "photo.gif": "not a picture of a known format",
        "empty.jpg": "is empty",
        "numbers.tif": "scale of brightness",
    }
    for name, words in cases.items():
        with pytest.raises(SlideError, match=words) as caught:
            read_photo(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("side", [13_100, 40_000, 2_000_000_000])
def test_decompression_bombs_are_refused(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )  # fmt: skip
    with pytest.raises(SlideError, match=f"{LARGEST_MEGAPIXELS} megapixels"):
        read_photo(path)


def test_pillow_does_not_warn_of_what_cameras_write_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (50, 30)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # as 89 MP to a photo of 134 MP
    assert read_photo(path).shape == (30, 50, 3)
