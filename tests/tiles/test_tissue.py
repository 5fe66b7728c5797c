"""Tissue and nothing else: drawn cases whose truth is known, then real slides."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from slidemask.base.types import Mask, Rgb
from slidemask.geometry.box import Box
from slidemask.io.array import ArraySlide
from slidemask.io.open import open_slide
from slidemask.tiles.tissue import (
    TissueFilter,
    find_tissue,
    picture_downsample,
    widened,
    without_small,
)

PINK, PURPLE, GLASS = (214, 140, 190), (95, 60, 130), (243, 243, 244)
SIZE = 1000
PLAIN = TissueFilter(margin_um=0)


def glass(seed: int = 0):
    rng = np.random.default_rng(seed)
    return np.clip(np.array(GLASS) + rng.normal(0, 1.5, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)


def disc(pixels: Rgb, centre: tuple[int, int], radius: int, colour: tuple[int, int, int]):
    drawn = np.ascontiguousarray(pixels)
    cv2.circle(drawn, centre, radius, colour, -1)
    return drawn


def tissue_of(pixels: Rgb, settings: TissueFilter = PLAIN, mpp: float | None = 8.0):
    return find_tissue(ArraySlide("drawn", pixels, mpp), settings)


def truth(radius: int, centre: tuple[int, int] = (500, 500)) -> Mask:
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.hypot(x - centre[0], y - centre[1]) <= radius


def dice(a: Mask, b: Mask):
    return 2 * np.sum(a & b) / (a.sum() + b.sum())


@pytest.mark.parametrize("colour", [PINK, PURPLE, (180, 80, 130), (60, 30, 110)])
def test_stained_tissue_is_found(colour: tuple[int, int, int]):
    found = tissue_of(disc(glass(), (500, 500), 200, colour)).mask
    assert dice(found, truth(200)) > 0.98


def test_tissue_a_thousandth_of_the_slide_is_found():
    found = tissue_of(disc(glass(), (500, 500), 18, PINK)).mask
    assert dice(found, truth(18)) > 0.9


@pytest.mark.parametrize("tint", [(0, 0, 0), (-4, 0, 4), (3, 0, -9), (-25, -25, -25)])
def test_glass_alone_holds_no_tissue(tint: tuple[int, int, int]):
    pixels = np.clip(glass().astype(int) + tint, 0, 255).astype(np.uint8)
    pixels = (pixels * np.linspace(0.93, 1, SIZE)[:, None, None]).astype(np.uint8)
    assert not tissue_of(pixels).mask.any()


@pytest.mark.parametrize("colour", [PINK, PURPLE])
def test_a_field_of_tissue_is_not_split(colour: tuple[int, int, int]):
    rng = np.random.default_rng(1)
    pixels = np.clip(np.array(colour) + rng.normal(0, 30, (SIZE, SIZE, 3)), 0, 255)
    pixels[:, 500:] *= 0.75
    assert tissue_of(pixels.astype(np.uint8), mpp=1.0).mask.all()


def test_grey_dirt_shadows_and_edges_are_not_tissue():
    pixels = disc(glass(), (500, 500), 150, PINK)
    pixels = disc(pixels, (150, 150), 100, (205, 205, 207))
    pixels = disc(pixels, (850, 850), 60, (90, 90, 92))
    pixels[:, 950:956] = 140
    pixels[960:] = (pixels[960:] * np.linspace(1, 0.4, 40)[:, None, None]).astype(np.uint8)
    assert dice(tissue_of(pixels).mask, truth(150)) > 0.98


@pytest.mark.parametrize(
    "ink", [(40, 70, 180), (40, 150, 100), (210, 40, 60), (35, 25, 32)], ids=str
)
def test_pens_are_removed_on_glass_and_tissue(ink: tuple[int, int, int]):
    pixels = disc(glass(), (500, 500), 250, PINK)
    stroke = np.zeros((SIZE, SIZE), np.uint8)
    cv2.line(stroke, (100, 420), (900, 560), 1, 40)
    cv2.circle(stroke, (500, 500), 400, 1, 25)
    inked = (pixels.astype(float) * np.array(ink) / 243).astype(np.uint8)
    pixels[stroke > 0] = inked[stroke > 0]
    pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 1.5), np.uint8)
    found = tissue_of(pixels).mask
    expected = truth(250) & (stroke == 0)
    assert found[cv2.erode(stroke, np.ones((5, 5))) > 0].mean() < 0.02
    assert dice(found, expected) > 0.96
    kept = tissue_of(pixels, TissueFilter(margin_um=0, pens=False)).mask
    assert kept[(stroke > 0) & truth(240)].mean() > 0.9


def test_holes_and_specks_go_by_their_area():
    pixels = disc(glass(), (500, 500), 250, PINK)
    pixels = disc(pixels, (450, 450), 12, GLASS)  # 452 px of 64 µm²: 29,000 µm²
    pixels = disc(pixels, (600, 600), 40, GLASS)  # 322,000 µm²
    pixels = disc(pixels, (60, 60), 3, PINK)  # 1,800 µm²
    pixels = disc(pixels, (60, 900), 12, PINK)
    mask = tissue_of(pixels).mask
    assert mask[450, 450]
    assert not mask[600, 600]
    assert not mask[60, 60]
    assert mask[900, 60]
    small = TissueFilter(margin_um=0, min_area_um2=0, fill_holes_um2=0)
    assert not tissue_of(pixels, small).mask[450, 450]
    assert tissue_of(pixels, small).mask[60, 60]


def test_the_margin_is_as_wide_as_asked():
    pixels = disc(glass(), (500, 500), 200, PINK)
    widths = [
        np.flatnonzero(tissue_of(pixels, TissueFilter(margin_um=um)).mask[500]).size
        for um in (0, 40, 80)
    ]
    assert [b - a for a, b in pairwise(widths)] == [10, 10]


def test_area_in_mm2_is_the_discs():
    tissue = tissue_of(disc(glass(), (500, 500), 200, PINK))
    assert tissue.area_mm2(8.0) == pytest.approx(np.pi * 1.6**2, rel=0.02)


@pytest.mark.parametrize(
    ("size", "mpp", "downsample"),
    [
        ((100_000, 50_000), 0.25, 32.0),  # 8 µm
        ((200_000, 150_000), 0.25, 200_000 / 4096),  # never a larger picture
        ((4000, 3000), 0.5, 2.0),  # small: its longer side keeps 2000 px
        ((800, 600), 0.5, 1.0),  # smaller still: as it is
        ((10_000, 9000), None, 5.0),
    ],
)
def test_the_pictures_resolution(size: tuple[int, int], mpp: float | None, downsample: float):
    pixels = np.broadcast_to(np.uint8(0), (size[1], size[0], 3))
    slide = ArraySlide("large", pixels, mpp)
    assert picture_downsample(slide, TissueFilter()) == downsample


def test_without_small_keeps_parts_that_touch_at_corners_and_a_full_mask():
    mask = np.eye(6, dtype=bool)
    np.testing.assert_array_equal(without_small(mask, 6), mask)
    assert not without_small(mask, 7).any()
    assert without_small(np.ones((2, 2), bool), 100).all()


def test_widened_is_a_disc():
    mask = np.zeros((41, 41), bool)
    mask[20, 20] = True
    y, x = np.mgrid[:41, :41]
    away = np.hypot(x - 20, y - 20)
    found = widened(mask, 10)
    assert found[away <= 9.5].all()
    assert not found[away >= 10.6].any()


def test_crohn_slide_tissue_without_smears(shared_data: Path):
    with open_slide(shared_data / "slides" / "crohn_HE4_20x_whole.tif") as slide:
        tissue = find_tissue(slide)
        assert slide.mpp is not None
    assert 17 < tissue.area_mm2(slide.mpp) < 22  # 19.6 by an outline checked by eye
    share = {
        "grey smear": Box(16_150, 6_900, 900, 900),
        "spot": Box(16_800, 6_650, 350, 250),
        "glass": Box(9_800, 11_500, 1_500, 3_000),
        "smear at the top": Box(9_200, 950, 1_000, 800),
    }
    assert {name: tissue.share(box) for name, box in share.items()} == dict.fromkeys(share, 0.0)
    assert tissue.share(Box(11_300, 4_000, 2_000, 1_000)) > 0.99
    assert tissue.share(Box(1_700, 8_000, 1_500, 1_500)) > 0.9


def test_fields_full_of_tissue_are_all_tissue(shared_data: Path):
    def share(path: Path, mpp: float) -> float:
        with open_slide(path, mpp=mpp) as slide:
            return float(find_tissue(slide).mask.mean())

    glas = sorted((shared_data / "glas" / "images").glob("*.webp"))[::6]
    ebhi = sorted((shared_data / "ebhi_seg").glob("*/images/*.webp"))[::12]
    assert np.mean([share(path, 0.62) > 0.99 for path in glas]) > 0.9
    assert np.mean([share(path, 1.0) for path in ebhi]) > 0.99


def test_pen_pictures(shared_data: Path):
    folder = shared_data / "slide_thumbs"
    with open_slide(folder / "no-tissue-red-pen.png") as slide:
        assert find_tissue(slide).mask.mean() < 0.06
    with open_slide(folder / "tcga-green-pen.png") as slide:
        tissue = find_tissue(slide)
    assert tissue.share(Box(300, 240, 60, 80)) < 0.05  # pen
    assert tissue.share(Box(400, 200, 300, 300)) > 0.97  # eosin-pink tissue
    with open_slide(folder / "diagnostic-slide-thumb-rgb.png") as slide:
        tissue = find_tissue(slide)
    assert tissue.share(Box(150, 140, 20, 20)) == 1.0
    assert tissue.share(Box(86, 133, 6, 6)) == 0.0  # a black ring on tissue
    assert tissue.share(Box(225, 28, 20, 6)) == 0.0  # green on glass


def test_dark_epidermis_is_not_taken_for_black_ink(shared_data: Path):
    with open_slide(shared_data / "slides_native" / "CMU-1-Small-Region.svs") as slide:
        tissue = find_tissue(slide)
    assert tissue.share(Box(1100, 1500, 150, 300)) == 1.0
    assert tissue.share(Box(100, 100, 600, 600)) == 0.0
