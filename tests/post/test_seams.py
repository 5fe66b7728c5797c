"""Seams between drawn tissues: found where they were drawn, and nowhere else."""

import cv2
import numpy as np
import pytest

from slidemask.post import seams
from slidemask.post.seams import Part, Straightened, parted

SIZE = (240, 320)
SHARE = 0.01


def tissue(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Draw smooth blobs in two colours that are drawn by chance."""
    noise = cv2.GaussianBlur(rng.normal(0, 1, (rows + 40, columns + 40)), (0, 0), 4)[20:-20, 20:-20]
    share = np.clip(0.5 + noise / noise.std() / 2, 0, 1)[..., None]
    pale, dark = rng.uniform(150, 250, 3), rng.uniform(40, 160, 3)
    return (pale * (1 - share) + dark * share + rng.normal(0, 3, (rows, columns, 3))).clip(0, 255)


def drawn(rng: np.random.Generator, boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    photo = np.full((*SIZE, 3), 235.0)
    for x, y, right, bottom in boxes:
        photo[y:bottom, x:right] = tissue(rng, bottom - y, right - x)
    return cv2.GaussianBlur(photo, (0, 0), 0.8).astype(np.uint8)


def whole(x: int, y: int, right: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the region in a map of half the photo's size, and the corners in the photo."""
    region = np.zeros((SIZE[0] // 2, SIZE[1] // 2), bool)
    region[y // 2 : bottom // 2, x // 2 : right // 2] = True
    return region, np.array([[x, y], [right, y], [right, bottom], [x, bottom]], np.float64)


def inkling(boxes: list[tuple[int, int, int, int]], strength: float) -> np.ndarray:
    """Return the border that a network might have an inkling of."""
    border = np.zeros((SIZE[0] // 2, SIZE[1] // 2), np.float32)
    for x, y, right, bottom in boxes:
        cv2.rectangle(border, (x // 2, y // 2), (right // 2 - 1, bottom // 2 - 1), strength, 2)
    return border


def masks_of(parts: list[Part]) -> list[np.ndarray]:
    return [part.mask for part in parts]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "boxes",
    [
        [(40, 40, 160, 200), (160, 40, 280, 200)],
        [(40, 40, 280, 110), (40, 110, 280, 200)],
        [(40, 40, 140, 120), (140, 40, 280, 120), (40, 120, 200, 200), (200, 120, 280, 200)],
    ],
)
def test_slides_that_touch_are_parted_along_their_seams(
    boxes: list[tuple[int, int, int, int]], seed: int
) -> None:
    photo = drawn(np.random.default_rng(seed), boxes)
    region, corners = whole(40, 40, 280, 200)
    parts = masks_of(parted(region, inkling(boxes, 0.7), photo, corners, band_share=SHARE))
    assert len(parts) == len(boxes)
    np.testing.assert_array_equal(np.sum(parts, axis=0), region)  # nothing lost, nothing twice
    for one in boxes:
        mask, _ = whole(*one)
        ious = [(mask & part).sum() / (mask | part).sum() for part in parts]
        assert max(ious) > 0.95


@pytest.mark.parametrize("seed", range(10))
def test_one_slide_stays_whole(seed: int) -> None:
    box = (40, 40, 280, 200)
    photo = drawn(np.random.default_rng(seed), [box])
    region, corners = whole(*box)
    (part,) = parted(region, inkling([box], 0.7), photo, corners, band_share=SHARE)
    np.testing.assert_array_equal(part.mask, region)
    assert part.whole


@pytest.mark.parametrize("strength", [0.0, 0.05])
def test_a_find_with_what_might_be_a_seam_is_not_surely_whole(strength: float) -> None:
    boxes = [(40, 40, 140, 200), (140, 40, 280, 200)]
    blurred = cv2.GaussianBlur(drawn(np.random.default_rng(1), boxes), (0, 0), 1.5)
    photo = np.asarray(blurred, np.uint8)
    region, corners = whole(40, 40, 280, 200)
    (part,) = parted(region, inkling(boxes, strength), photo, corners, band_share=SHARE)
    assert not part.whole


def test_a_speck_of_border_in_its_midst_leaves_a_find_whole() -> None:
    box = (40, 40, 280, 200)
    photo = drawn(np.random.default_rng(0), [box])
    region, corners = whole(*box)
    border = inkling([box], 0.7)
    border[55:60, 70:75] = 0.3
    (part,) = parted(region, border, photo, corners, band_share=SHARE)
    assert part.whole


def test_seams_are_found_in_perspective() -> None:
    left, right = (40, 40, 160, 200), (160, 40, 280, 200)
    flat = np.array([[40, 40], [280, 40], [280, 200], [40, 200]], np.float32)
    seen = np.array([[60, 30], [270, 55], [250, 215], [35, 180]], np.float32)
    turn = cv2.getPerspectiveTransform(flat, seen)

    def turned(plane: np.ndarray, scale: float, around: int = 0) -> np.ndarray:
        smaller = np.diag([scale, scale, 1])
        matrix = smaller @ turn @ np.linalg.inv(smaller)
        size = plane.shape[1::-1]
        return np.asarray(cv2.warpPerspective(plane, matrix, size, borderValue=(around,) * 3))

    photo = turned(drawn(np.random.default_rng(2), [left, right]), 1, 235)
    masks = [turned(whole(*box)[0].view(np.uint8), 0.5) > 0 for box in (left, right)]
    border = turned(inkling([left, right], 0.7), 0.5)
    region = masks[0] | masks[1]
    parts = masks_of(parted(region, border, photo, seen.astype(float), band_share=SHARE))
    assert len(parts) == 2
    for mask, part in zip(masks, parts, strict=True):
        assert (mask & part).sum() / (mask | part).sum() > 0.93


def test_a_ragged_region_is_left_alone() -> None:
    boxes = [(40, 40, 160, 200), (160, 40, 280, 200)]
    photo = drawn(np.random.default_rng(0), boxes)
    region, _ = whole(*boxes[0])
    _, corners = whole(40, 40, 280, 200)  # the outline holds both, the region only one
    (part,) = masks_of(parted(region, inkling(boxes, 0.7), photo, corners, band_share=SHARE))
    np.testing.assert_array_equal(part, region)


def leaning(by_px: int) -> Straightened:
    """Draw two tissues with the seam between them leaning by so many columns over the height."""
    rng = np.random.default_rng(4)
    left, right = tissue(rng, 160, 240), tissue(rng, 160, 240)
    at = 120 + np.rint(by_px * (np.arange(160) / 159 - 0.5))
    is_left = (np.arange(240)[None] < at[:, None])[..., None]
    pixels = cv2.GaussianBlur(np.where(is_left, left, right), (0, 0), 0.6).astype(np.uint8)
    return Straightened(pixels, np.zeros((160, 240), np.float32), 2.0)


def test_what_lies_on_the_two_sides_of_a_seam_is_not_alike() -> None:
    likeness = seams.signs(leaning(0))[1]
    assert np.abs(likeness[119:122]).max() < 0.3
    assert np.median(likeness[np.r_[20:100, 140:220]]) > 0.5


def test_a_seam_may_lean_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    upright, leans = (seams.score(seams.signs(leaning(by)))[115:126].max() for by in (0, 4))
    monkeypatch.setattr(seams, "_SLANT_PX", 0)
    without = seams.score(seams.signs(leaning(4)))[115:126].max()
    assert leans > without + 0.4 * (upright - without)


def test_a_change_counts_by_what_changes_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "_SLANT_PX", 0)
    rng = np.random.default_rng(5)
    find = Straightened(
        rng.integers(0, 256, (40, 60, 3), np.uint8), np.zeros((40, 60), np.float32), 2.0
    )
    lab = cv2.cvtColor(find.pixels, cv2.COLOR_RGB2LAB).astype(float)
    step = np.zeros((40, 60))
    for column in range(1, 60):
        step[:, column] = np.sqrt(((lab[:, column] - lab[:, column - 1]) ** 2).sum(axis=1))
    step += 2
    for column in range(20, 40):  # whose surroundings lie within the picture
        around = step[:, column - 8 : column + 9].mean(axis=1)
        upright = np.log(step[:, column] / around).mean()
        assert seams.signs(find)[0, column] == pytest.approx(upright, abs=1e-4)


@pytest.mark.parametrize("width", [24, 30, 31, 50, 100, 101, 256, 512])
def test_panels_of_one_size_are_expected(width: int) -> None:
    expected = seams.expected(width)  # at the left end of each column
    np.testing.assert_array_equal(expected[1:], expected[1:][::-1])
    likelier = np.flatnonzero(expected > 0)
    off = np.abs(likelier[:, None] - width * np.array([1 / 3, 1 / 2, 2 / 3])).min(axis=1)
    assert off.max(initial=0) <= 0.015 * width
    if width % 2 == 0:
        assert expected[width // 2] > expected[1]
    assert len(np.unique(expected)) <= 2


def test_three_panels_in_a_row_are_no_glass_slide() -> None:
    boxes = [(40, 80, 120, 160), (120, 80, 200, 160), (200, 80, 280, 160)]
    photo = drawn(np.random.default_rng(7), boxes)
    region, corners = whole(40, 80, 280, 160)
    border = inkling(boxes, 0.7)
    assert len(parted(region, border, photo, corners, band_share=SHARE, glass=True)) == 3


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize(("at", "long"), [(60, 240), (180, 240), (60, 480), (120, 240)])
def test_a_label_of_a_glass_slide_stays_where_it_is(at: int, long: int, upright: bool) -> None:
    sizes = (40, 40, 40 + at, 120), (40 + at, 40, 40 + long, 120)
    canvas = (160, 560)
    photo = np.full((*canvas, 3), 235.0)
    rng = np.random.default_rng(3)
    for x, y, right, bottom in sizes:
        photo[y:bottom, x:right] = tissue(rng, bottom - y, right - x)
    region = np.zeros((canvas[0] // 2, canvas[1] // 2), bool)
    region[20:60, 20 : 20 + long // 2] = True
    corners = np.array([[40, 40], [40 + long, 40], [40 + long, 120], [40, 120]], np.float64)
    if not upright:
        photo, region, corners = photo.swapaxes(0, 1), region.T, corners[[0, 3, 2, 1], ::-1]
    pixels = np.ascontiguousarray(photo.clip(0, 255).astype(np.uint8))
    border = np.zeros(region.shape, np.float32)
    counts = [
        len(parted(region, border, pixels, corners, band_share=SHARE, glass=glass))
        for glass in (False, True)
    ]
    is_label = long == 240 and at != 120  # 3 times as long as wide, a quarter of it the label
    assert counts == [2, 1 if is_label else 2]
