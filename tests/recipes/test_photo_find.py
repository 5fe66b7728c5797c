"""From a photo and what a network says of it to outlines in the photo's own pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from drawnphotos import PHOTO, Knowing, bundle_info, draw_photo, ideal
from fakes import GLAND
from slidemask.base.errors import BundleError
from slidemask.base.types import Mask
from slidemask.models.bundle import BundleInfo
from slidemask.post.outlines import Outlines
from slidemask.post.rectify import rectify
from slidemask.post.seams import Part
from slidemask.recipes.photo import find
from slidemask.recipes.photo.crops import draw_outlines
from slidemask.recipes.photo.find import (
    Found,
    find_outlines,
    look,
    outlines_from,
    seen_by_network,
)

WIDE = Outlines(longest_px=320)
THESIS = Outlines(
    method="boxes", longest_px=320, squash=True, pad_px=15, min_share=2500 / 409_600
)  # half the size that was published


def upright(x: float, y: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[x, y], [right, y], [right, bottom], [x, bottom]], np.float64)


def iou(found: shapely.Polygon, ring: np.ndarray) -> float:
    truth = shapely.Polygon(ring)
    return found.intersection(truth).area / found.union(truth).area


@dataclass
class Nearsighted:
    """A bundle that tells slides apart from near alone; colours tell it where it looks.

    In the photo red grows with x and green with y, from 0 to 255.
    """

    info: BundleInfo
    size: tuple[int, int]
    from_afar: list[np.ndarray]
    from_near: list[np.ndarray]
    looks: int = 0
    streams: int = 1

    def predict(self, tiles: np.ndarray) -> np.ndarray:
        self.looks += 1
        seen = tiles[0, :, :, :2].astype(float) / 255 * self.size
        first, last = seen[0, 0], seen[-1, -1]
        near = (last - first).max() < 0.7 * max(self.size)
        rings = [ring - first for ring in (self.from_near if near else self.from_afar)]
        part = np.zeros((*np.ceil(last - first).astype(int)[::-1], 3), np.uint8)
        return ideal(rings, part, WIDE)[None]


def gradient(width: int, height: int) -> np.ndarray:
    photo = np.zeros((height, width, 3), np.uint8)
    photo[..., 0] = np.linspace(0, 255, width)[None, :].round()
    photo[..., 1] = np.linspace(0, 255, height)[:, None].round()
    return photo


LEFT, RIGHT = upright(300, 250, 400, 350), upright(400, 250, 500, 350)
BOTH, ASIDE = upright(300, 250, 500, 350), upright(600, 60, 760, 200)


def seen_twice(near: list[np.ndarray], **settings: float) -> tuple[Found, int]:
    chosen = WIDE.model_copy(update={"refine": False, "look_closer": True, **settings})
    bundle = Nearsighted(bundle_info(chosen), (800, 600), [BOTH], near)
    found = look(gradient(800, 600), bundle, chosen)  # type: ignore[arg-type]  # a bundle as far as it matters
    return found, bundle.looks


def test_slides_that_seem_one_from_afar_are_told_apart_from_near() -> None:
    found, looks = seen_twice([LEFT, RIGHT])
    assert looks == 2
    assert len(found.outlines) == 2
    for outline, ring in zip(found.outlines, (LEFT, RIGHT), strict=True):
        assert iou(outline.polygon, ring) > 0.93
        assert np.abs(outline.corners - ring).max() < 8
    without, looks = seen_twice([LEFT, RIGHT], look_closer=False)
    assert (len(without.outlines), looks) == (1, 1)


@pytest.mark.parametrize(("glass", "count"), [(True, 1), (False, 2)])
def test_a_label_and_the_tissue_beside_it_are_one_slide_where_asked_for(
    glass: bool, count: int
) -> None:
    photo = draw_photo([], 600, 800)
    rings = [upright(100, 250, 250, 450), upright(250, 250, 680, 450)]
    asked = WIDE.model_copy(update={"refine": False, "glass": glass})
    bundle = Knowing(bundle_info(asked), ideal(rings, photo, asked))
    found = look(photo, bundle, asked)  # type: ignore[arg-type]  # a bundle as far as it matters
    assert len(found.outlines) == count
    if glass:
        assert iou(found.outlines[0].polygon, upright(100, 250, 680, 450)) > 0.95


@pytest.mark.parametrize("glass", [True, False])
def test_labels_of_glass_slides_are_left_where_that_is_asked_for(
    glass: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[bool]()

    def noting(region: Mask, *_: object, **named: bool) -> list[Part]:
        asked.append(named["glass"])
        return [Part(region, whole=True)]

    monkeypatch.setattr(find, "parted", noting)
    seen_twice([LEFT, RIGHT], seams=True, glass=glass)
    assert asked == [glass]


def test_what_is_surely_one_slide_is_not_searched_again() -> None:
    found, looks = seen_twice([LEFT, RIGHT], seams=True)  # nothing speaks for a seam
    assert looks == 1
    (outline,) = found.outlines
    assert iou(outline.polygon, BOTH) > 0.93


def test_slides_are_found_in_a_photo_with_halves_as_in_one_without() -> None:
    ring = np.array([[310, 300], [2100, 380], [2010, 1500], [420, 1420]], float)
    photo = np.asarray(cv2.GaussianBlur(draw_photo([ring], 1801, 2403), (0, 0), 3), np.uint8)
    asked = WIDE.model_copy(update={"seams": True})
    bundle = Knowing(bundle_info(asked), ideal([ring], photo, asked))
    for size in (photo, photo[:1800, :2402]):
        (found,) = look(size, bundle, asked).outlines  # type: ignore[arg-type]  # a bundle as far as it matters
        assert np.abs(found.corners - ring).max() < 1


def test_what_is_seen_no_more_from_near_stays() -> None:
    (outline,) = seen_twice([])[0].outlines
    assert iou(outline.polygon, BOTH) > 0.93


def test_one_slide_from_near_is_the_one_that_was_seen_from_afar() -> None:
    (outline,) = seen_twice([upright(316, 262, 484, 338)])[0].outlines
    assert iou(outline.polygon, BOTH) > 0.93


def test_neighbours_that_come_into_sight_are_no_new_finds() -> None:
    beside = upright(504, 200, 700, 400)  # 20 of the 248 pixels in sight
    (outline,) = seen_twice([BOTH, beside])[0].outlines
    assert iou(outline.polygon, BOTH) > 0.93


def test_what_was_refused_from_afar_may_be_found_from_near() -> None:
    ragged = np.array(
        [[300, 250], [500, 250], [500, 280], [330, 280], [330, 350], [300, 350]], float
    )
    chosen = WIDE.model_copy(update={"refine": False, "min_confidence": 0.8})
    afar = outlines_from(
        ideal([ragged], gradient(800, 600), chosen), gradient(800, 600), PHOTO.names, chosen
    )
    assert not afar.outlines
    assert len(afar.refused) == 1
    small = upright(300, 250, 420, 290)
    settings = chosen.model_copy(update={"look_closer": True})
    bundle = Nearsighted(bundle_info(settings), (800, 600), [ragged], [small])
    found = look(gradient(800, 600), bundle, settings)  # type: ignore[arg-type]  # a bundle as far as it matters
    assert not found.refused
    assert iou(found.outlines[0].polygon, small) > 0.9


@pytest.mark.parametrize(("height", "width"), [(600, 800), (800, 600), (301, 777)])
def test_slides_are_found_in_photos_of_any_shape(height: int, width: int) -> None:
    ring = upright(0.2, 0.25, 0.7, 0.8) * (width, height) + np.array(
        [[3, 9], [0, 0], [7, 2], [0, 5]]
    )
    photo = draw_photo([ring], height, width)
    bundle = Knowing(bundle_info(WIDE), ideal([ring], photo, WIDE))
    (found,) = find_outlines(photo, bundle)  # type: ignore[arg-type]  # a bundle as far as it matters
    assert iou(found.polygon, ring) > 0.995
    assert found.kind == "quadrilateral"
    assert 0.85 < found.confidence <= 1


def test_six_slides_come_in_reading_order() -> None:
    rings = [upright(x, y + x / 20, x + 180, y + 150 + x / 20) for y in (40, 240, 420)
             for x in (60, 400)]  # fmt: skip
    photo = draw_photo(rings, 620, 640)
    found = outlines_from(ideal(rings, photo, WIDE), photo, PHOTO.names, WIDE).outlines
    assert len(found) == 6
    for outline, ring in zip(found, rings, strict=True):
        assert iou(outline.polygon, ring) > 0.98


def test_slides_that_touch_are_two() -> None:
    rings = [upright(100, 150, 400, 450), upright(400, 150, 700, 450)]
    photo = draw_photo(rings, 600, 800)
    found = outlines_from(ideal(rings, photo, WIDE), photo, PHOTO.names, WIDE).outlines
    assert len(found) == 2
    for outline, ring in zip(found, rings, strict=True):
        assert iou(outline.polygon, ring) > 0.97


def test_ragged_regions_such_as_text_are_refused_and_said() -> None:
    photo = draw_photo([], 600, 800)
    planes = np.zeros((3, 240, 320), np.float32)
    for row in range(60, 180, 12):  # lines of words of different lengths, smeared into one
        end = 120 + 17 * row % 140
        planes[1, row : row + 13, 90:end] = 0.8
    planes[0] = 1 - planes[1]
    found = outlines_from(planes, photo, PHOTO.names, WIDE)
    assert not found.outlines
    (refused,) = found.refused
    assert "too uncertain" in refused.reason or "four sides" in refused.reason


def test_what_is_bent_too_far_is_refused_with_a_word() -> None:
    t = np.linspace(0, 1, 60)[:, None]
    top = np.concatenate([150 + 500 * t, 300 - 700 * t * (1 - t)], axis=1)
    ring = np.concatenate([top, [[650, 480], [150, 480]]])
    photo = draw_photo([ring], 600, 800)
    planes = ideal([ring], photo, WIDE)
    loose = WIDE.model_copy(update={"max_bend_share": 0.5})
    (found,) = outlines_from(planes, photo, PHOTO.names, loose).outlines
    assert found.kind == "curved"
    assert iou(found.polygon, ring) > 0.98
    refused = outlines_from(planes, photo, PHOTO.names, WIDE).refused
    assert [one.reason.split("(")[0].strip() for one in refused] == ["too bent"]


def test_a_network_without_a_border_class_will_do() -> None:
    ring = upright(200, 150, 600, 450)
    photo = draw_photo([ring], 600, 800)
    planes = ideal([ring], photo, WIDE)
    two = np.stack([planes[0], planes[1] + planes[2]])
    (found,) = outlines_from(two, photo, ("background", "slide"), WIDE).outlines
    assert iou(found.polygon, ring) > 0.995


def test_the_published_way_gives_boxes_in_the_frame() -> None:
    """Squashed, padded, boxed, and mapped back to the photo."""
    ring = np.array([[300, 200], [900, 150], [1000, 500], [250, 520.0]])
    photo = draw_photo([ring], 700, 1400)
    seen = seen_by_network(photo, THESIS)
    assert seen.shape == (320, 320, 3)
    assert not seen[:10].any()
    slide = np.asarray(np.abs(seen.astype(int) - (160, 70, 130)).sum(axis=2) < 150, np.float32)
    slide[12:16, 300:304] = 1  # a speck
    planes = np.stack([1 - slide, slide])
    (found,) = outlines_from(planes, photo, ("background", "slide"), THESIS).outlines
    assert found.kind == "box"
    one_px = 1400 / (320 * 320 / 350)
    np.testing.assert_allclose(found.corners, upright(250, 150, 1000, 520), atol=1.6 * one_px)


def test_padding_is_taken_off_again() -> None:
    ring = upright(200, 150, 600, 450)
    photo = draw_photo([ring], 600, 800)
    planes = np.pad(ideal([ring], photo, WIDE), ((0, 0), (20, 20), (20, 20)))
    padded = np.stack([cv2.resize(p, (320, 240), interpolation=cv2.INTER_AREA) for p in planes])
    chosen = WIDE.model_copy(update={"pad_px": 20, "refine": False})
    (found,) = outlines_from(padded, photo, PHOTO.names, chosen).outlines
    np.testing.assert_allclose(found.corners, ring, atol=1.5)


@given(st.integers(0, 2**32 - 1), st.floats(2, 12), st.sampled_from([(90, 120), (120, 80)]))
@settings(deadline=None, max_examples=10)
def test_whatever_a_network_says_outlines_are_sound(
    seed: int, smooth_px: float, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    height, width = shape[0] * 2, shape[1] * 2
    photo = rng.integers(0, 256, (height, width, 3), np.uint8)
    noise = [cv2.GaussianBlur(rng.normal(0, 1, shape), (0, 0), smooth_px) for _ in range(3)]
    lively = np.exp([4 * plane / plane.std() for plane in noise])
    planes = np.asarray(lively / lively.sum(axis=0), np.float32)
    chosen = WIDE.model_copy(update={"min_confidence": 0.3, "max_bend_share": 0.9})
    found = outlines_from(planes, photo, PHOTO.names, chosen)
    frame = shapely.box(0, 0, width, height).buffer(1e-6)
    for outline in [*found.outlines, *(one.outline for one in found.refused)]:
        assert outline.polygon.is_valid
        assert frame.contains(outline.polygon)
        assert 0 <= outline.confidence <= 1
        assert 0 < rectify(photo, outline).size < 13 * photo.size


@pytest.mark.parametrize(("chosen", "classes"), [(None, PHOTO), (WIDE, GLAND)])
def test_other_bundles_are_refused(chosen: Outlines | None, classes: object) -> None:
    info = bundle_info(chosen, classes)  # type: ignore[arg-type]  # a class map
    bundle = Knowing(info, np.zeros((2, 240, 320), np.float32))
    with pytest.raises(BundleError, match="is not for photos"):
        find_outlines(np.zeros((600, 800, 3), np.uint8), bundle)  # type: ignore[arg-type]  # as above


def test_a_seam_parts_a_find_where_the_network_has_but_an_inkling_of_a_border() -> None:
    rings = [upright(100, 150, 400, 450), upright(400, 150, 700, 450)]
    rng = np.random.default_rng(3)
    photo = np.full((600, 800, 3), 230, np.uint8)
    for ring, pale, dark in zip(rings, (220, 170), (60, 140), strict=True):
        noise = cv2.GaussianBlur(rng.normal(0, 1, (300, 300)), (0, 0), 5)
        grey = np.where(noise > 0, pale, dark)
        x, y = ring[0].astype(int)
        photo[y : y + 300, x : x + 300] = np.stack([grey, grey // 2, grey], axis=2)
    photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), 1), np.uint8)
    planes = ideal([upright(100, 150, 700, 450)], photo, WIDE)
    middle = slice(planes.shape[2] // 2 - 2, planes.shape[2] // 2 + 2)
    shift = 0.48 * planes[1, :, middle]
    planes[1, :, middle] -= shift
    planes[2, :, middle] += shift
    (one,) = outlines_from(planes, photo, PHOTO.names, WIDE).outlines
    assert iou(one.polygon, upright(100, 150, 700, 450)) > 0.98
    chosen = WIDE.model_copy(update={"seams": True})
    both = outlines_from(planes, photo, PHOTO.names, chosen).outlines
    assert len(both) == 2
    for outline, ring in zip(both, rings, strict=True):
        assert iou(outline.polygon, ring) > 0.97


def test_the_overlay_is_the_photo_only_smaller() -> None:
    x, y = np.meshgrid(np.linspace(0, 12, 3300), np.linspace(0, 9, 2500))
    wave = np.rint(127 + 120 * np.sin(9 * x) * np.cos(7 * y)).astype(np.uint8)
    photo = np.stack([wave, 255 - wave, wave // 2], axis=2)
    drawn = draw_outlines(photo, Found(()), longest_px=1280)
    whole = cv2.resize(photo, drawn.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert drawn.shape == (970, 1280, 3)
    assert np.abs(drawn.astype(int) - whole).max() <= 6
