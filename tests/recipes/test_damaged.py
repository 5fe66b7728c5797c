"""A slide with a damaged tile: refused with its place, or segmented but for it."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile

from journey import discs, save_dark_bundle, write_slide
from slidemask.data.case import Case
from slidemask.evaluate.confusion import Confusion
from slidemask.geometry.box import Box
from slidemask.io.geojson import read_geojson
from slidemask.io.maskfile import open_mask
from slidemask.models.bundle import Bundle
from slidemask.recipes.reporting import report
from slidemask.recipes.results import read_summary
from slidemask.recipes.segment import Options, Outcome, segment
from slidemask.tiles.filters import Filters


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(save_dark_bundle(tmp_path_factory.mktemp("model") / "dark"), "cpu")


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a whole slide and one whose stored tile in row 1, column 1 (of 256 px) is damaged."""
    folder = tmp_path_factory.mktemp("slides")
    pixels = discs(640, 700, seed=5)[0]
    whole, damaged = (write_slide(folder / name / "s.tif", pixels) for name in ("whole", "damaged"))
    with tifffile.TiffFile(damaged) as tiff:
        page = tiff.series[0].keyframe
        number = 1 * -(-page.imagewidth // 256) + 1
        offset, length = page.dataoffsets[number], page.databytecounts[number]
    data = bytearray(damaged.read_bytes())
    for place in range(offset + 2, offset + length - 2):  # between the marks of begin and end
        data[place] ^= 0xA5
    damaged.write_bytes(data)
    return whole, damaged


def go(slide: Path, bundle: Bundle, out: Path, **options: bool) -> Outcome:
    (outcome,) = segment([Case(slide)], bundle, out, Options(**options))  # type: ignore[arg-type]
    return outcome


def mask_of(outcome: Outcome) -> np.ndarray:
    with open_mask(outcome.folder / "mask.ome.tif") as mask:
        return mask.rows(0, mask.size.height)


def test_by_default_the_slide_fails_with_the_place(
    slides: tuple[Path, Path], bundle: Bundle, tmp_path: Path
) -> None:
    outcome = go(slides[1], bundle, tmp_path)
    assert outcome.state == "failed"
    assert str(slides[1]) in outcome.message
    assert "Box(x=" in outcome.message
    assert "cannot be read" in outcome.message
    assert not (outcome.folder / "summary.json").exists()


def test_with_keep_going_only_the_tile_is_unknown(
    slides: tuple[Path, Path],
    bundle: Bundle,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = mask_of(go(slides[0], bundle, tmp_path / "whole"))
    with caplog.at_level(logging.WARNING):
        outcome = go(slides[1], bundle, tmp_path / "damaged", keep_going=True)
    assert outcome.state == "done"
    found = mask_of(outcome)
    unknown = found == 255
    # Tiles of 64 px, 48 px apart, that touch rows and columns 256 to 511 are lost.
    rows = np.zeros(640, bool)
    rows[5 * 48 + 16 : 10 * 48 + 48] = True  # what the readable ones above and below do not reach
    np.testing.assert_array_equal(unknown, rows[:, None] & np.pad(rows, (0, 60))[None, :700])
    np.testing.assert_array_equal(found[~unknown], expected[~unknown])

    summary = read_summary(outcome.folder)
    lost = summary["unread"]
    assert lost["tiles"] == len(lost["boxes"]) == 36
    assert "cannot be read" in lost["first"]
    assert lost["boxes"][0] == [240, 240, 64, 64]
    assert lost["tissue_share"] == pytest.approx(unknown.mean(), abs=0.005)
    assert outcome.message.startswith("36 tiles could not be read")
    assert "36 of 195 tiles could not be read" in caplog.text
    assert summary["classes"]["gland"]["area_px"] == np.count_nonzero(found == 1)
    regions = read_geojson(outcome.folder / "polygons.geojson")
    drawn = regions.rasterise(Box(0, 0, 700, 640), 1.0, {"gland": 1})
    np.testing.assert_array_equal(drawn, np.where(unknown, 0, found))

    truth = (expected == 1).astype(np.uint8)
    scored = Confusion.of(truth, found, 2)  # what could not be read is not held against it
    assert scored.total == np.count_nonzero(~unknown)
    assert scored.dice.tolist() == [1, 1]

    again = go(slides[1], bundle, tmp_path / "damaged")
    assert (again.state, again.message) == ("there", outcome.message)
    report(tmp_path / "damaged", [outcome])


def test_what_lacks_tiles_is_not_taken_up_without_the_option(
    slides: tuple[Path, Path], bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise RuntimeError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr("slidemask.recipes.oneslide.write_results", interrupted)
        assert go(slides[1], bundle, tmp_path, keep_going=True).state == "failed"
    refused = go(slides[1], bundle, tmp_path)
    assert refused.state == "failed"
    assert "--keep-going left out 36 tiles" in refused.message
    assert go(slides[1], bundle, tmp_path, keep_going=True).state == "done"
    assert read_summary(tmp_path / "s")["unread"]["tiles"] == 36


def test_a_slide_of_which_nothing_can_be_read_fails(
    slides: tuple[Path, Path], bundle: Bundle, tmp_path: Path
) -> None:
    with tifffile.TiffFile(slides[1]) as tiff:
        page = tiff.series[0].keyframe
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    data = bytearray(slides[1].read_bytes())
    for offset, length in places:
        data[offset : offset + length] = bytes(length)
    path = tmp_path / "s.tif"
    path.write_bytes(data)
    outcome = go(path, bundle, tmp_path / "out", keep_going=True)
    assert outcome.state == "failed"
    assert "No tile of" in outcome.message


def test_tissue_that_cannot_be_seen_is_a_failure_all_the_same(tmp_path: Path) -> None:
    """The tissue is found on a low level, or here on the only one."""
    pixels = discs(300, 300, seed=5)[0]
    path = tmp_path / "flat.tif"
    tifffile.imwrite(path, pixels, tile=(64, 64), compression="jpeg", photometric="rgb")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[6]
    data = bytearray(path.read_bytes())
    data[offset : offset + 20] = bytes(20)
    path.write_bytes(data)
    bundle = Bundle.load(save_dark_bundle(tmp_path / "tissue", filters=Filters()), "cpu")
    outcome = go(path, bundle, tmp_path / "out", keep_going=True)
    assert outcome.state == "failed"
    assert "cannot be read" in outcome.message
