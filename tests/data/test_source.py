"""Rails and balance: what laying tiles learns from the training part."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import shannon_entropy

from journey import write_png
from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import SettingsError
from slidemask.data.balance import choose_overlaps, trim
from slidemask.data.case import Case
from slidemask.data.loader import TrainingLoader
from slidemask.data.sampling import Sampling
from slidemask.data.source import TileSource, lay_tiles
from slidemask.geometry.box import Box
from slidemask.io.labelimage import read_label_image
from slidemask.io.open import open_slide
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import TileGrid, Tiling
from slidemask.tiles.rails import Rails
from slidemask.tiles.reading import read_tile

KINDS = ClassMap(
    classes=(ClassInfo(name="dense", values=(1,)), ClassInfo(name="loose", values=(2,)))
)
TILING = Tiling(tile_px=24, overlap=0.5, downsample=1.0)
RAILS = Filters(tissue=None, rails="learn")
HALF = Sampling(min_positive_share=0.5)


def picture(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return tissue of three textures and glass, and its labels: much background, little of 2."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((120, 160), np.uint8)
    labels[10:80, 20:90] = 1
    labels[70:110, 110:150] = 2
    spread = np.array([4, 30, 14])[labels]
    pixels = 150 + spread[..., None] * rng.standard_normal((120, 160, 3))
    pixels[:, 150:] = 250
    return pixels.clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    folder, made = tmp_path_factory.mktemp("kinds"), []
    for number in range(3):
        pixels, labels = picture(number)
        slide = write_png(folder / "images" / f"p{number}.png", pixels)
        truth = write_png(folder / "labels" / f"p{number}.png", labels)
        made.append(Case(slide, truth, f"p{number}"))
    return made


def bits_of(tile: np.ndarray) -> float:
    """Return the entropy of a tile's grey values as another library has it."""
    return float(shannon_entropy(cv2.cvtColor(np.ascontiguousarray(tile), cv2.COLOR_RGB2GRAY), 2))


def one_by_one(cases: list[Case], stride: int) -> list[tuple[int, float, float, int, float]]:
    """Case, corner, label and entropy of every tile, each read for itself."""
    found = []
    for number, case in enumerate(cases):
        assert case.annotations
        labels = read_label_image(case.annotations)
        with open_slide(case.slide) as slide:
            for tile in TileGrid(slide.size, 24, stride):
                inside = labels[tile.box.slices]
                counts = [np.count_nonzero(inside == value) for value in (1, 2)]
                label = int(np.argmax(counts)) + 1 if 2 * sum(counts) >= inside.size else 0
                bits = bits_of(read_tile(slide, tile.box, 1))
                found.append((number, tile.box.x, tile.box.y, label, bits))
    return found


def rows_of(source: TileSource) -> list[tuple[int, float, float, int, float]]:
    table = source.table
    columns = (table.case, table.x, table.y, table.label, table.entropy)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def same(found: list[tuple], expected: list[tuple]) -> bool:
    return np.allclose(
        np.array(sorted(found)), np.array(sorted(expected)), atol=1e-9, rtol=0, equal_nan=True
    )


def assert_rails(rails: Rails | None, diseased: list[float]) -> None:
    assert rails
    assert rails.low == pytest.approx(min(diseased), abs=1e-12)
    assert rails.high == pytest.approx(max(diseased), abs=1e-12)


def pixels_of(source: TileSource) -> set[bytes]:
    epoch = TrainingLoader(source, 6).epoch(1)
    return {image.tobytes() for images, _ in epoch for image in images.numpy()}


def test_learned_rails_are_the_extremes_of_diseased_tiles(cases: list[Case]) -> None:
    source = lay_tiles(cases, KINDS, tiling=TILING, filters=RAILS, sampling=HALF)
    every = one_by_one(cases, 12)
    diseased = [row[4] for row in every if row[3]]
    assert_rails(source.rails, diseased)
    assert source.rail_tiles == len(diseased)
    within = [row for row in every if min(diseased) <= row[4] <= max(diseased)]
    assert len(diseased) < len(within) < len(every)
    assert same(rows_of(source), within)


def test_another_part_is_sifted_with_the_rails_that_are_given(cases: list[Case]) -> None:
    rails = Rails(low=5.2, high=6.5)
    filters = RAILS.model_copy(update={"rails": rails})
    source = lay_tiles(cases[:1], KINDS, tiling=TILING, filters=filters, sampling=HALF)
    expected = [row for row in one_by_one(cases[:1], 12) if 5.2 <= row[4] <= 6.5]
    assert same(rows_of(source), expected)
    assert (source.rails, source.rail_tiles) == (rails, 0)


def test_rules_on_pixels_hold_for_training_tiles_too(cases: list[Case]) -> None:
    filters = Filters(tissue=None, max_background_share=0.3)
    source = lay_tiles(cases, KINDS, tiling=TILING, filters=filters, sampling=HALF)
    assert source.table.x.max() + 24 - 150 <= 0.3 * 24 + 1
    assert source.rails is None
    assert np.isnan(source.table.entropy).all()


def test_rails_cannot_be_learned_from_healthy_tissue(cases: list[Case]) -> None:
    larger = Tiling(tile_px=100, overlap=0.0, downsample=1.0)  # none is half filled
    with pytest.raises(SettingsError, match="No diseased tile to learn the rails from"):
        lay_tiles(cases, KINDS, tiling=larger, filters=RAILS, sampling=HALF)


BALANCED = HALF.model_copy(update={"balance": "overlap", "overlaps": (0.0, 0.5, 0.75, 0.83, 0.875)})


def test_each_class_is_cut_with_an_overlap_of_its_own_until_counts_match(
    cases: list[Case],
) -> None:
    source = lay_tiles(cases, KINDS, tiling=TILING, sampling=BALANCED)
    strides = {overlap: round(24 * (1 - overlap)) for overlap in BALANCED.overlaps}
    every = {overlap: one_by_one(cases, stride) for overlap, stride in strides.items()}
    counts = {
        overlap: np.bincount([row[3] for row in rows], minlength=3)
        for overlap, rows in every.items()
    }
    enough = min(max(counts[overlap][label] for overlap in strides) for label in range(3))
    assert [one.name for one in source.balance] == ["background", "dense", "loose"]
    for label, one in enumerate(source.balance):
        assert one.overlap == min(o for o in strides if counts[o][label] >= enough)
        assert (one.found, one.taken) == (counts[one.overlap][label], enough)
        mine = [row[:4] for row in rows_of(source) if row[3] == label]
        assert len(mine) == len(set(mine)) == enough
        assert set(mine) <= {row[:4] for row in every[one.overlap] if row[3] == label}
        assert set(source.table.stride[source.table.label == label]) == {strides[one.overlap]}
    overlaps = [one.overlap for one in source.balance]
    assert overlaps[0] < overlaps[1] < overlaps[2], "the test shows nothing otherwise"


def test_rails_and_balance_together(cases: list[Case]) -> None:
    source = lay_tiles(cases, KINDS, tiling=TILING, filters=RAILS, sampling=BALANCED)
    assert source.rails
    assert source.rails.within(source.table.entropy).all()
    cut = [one.overlap for one in source.balance[1:]]
    diseased = [
        row[4]
        for label, overlap in enumerate(cut, 1)
        for row in one_by_one(cases, round(24 * (1 - overlap)))
        if row[3] == label
    ]
    assert_rails(source.rails, diseased)
    counts = np.bincount(source.table.label, minlength=3)
    assert len(set(counts.tolist())) == 1
    assert counts[0] == min(one.found for one in source.balance)


def test_as_many_tiles_of_a_class_as_were_asked_for(cases: list[Case]) -> None:
    asked = BALANCED.model_copy(update={"tiles_per_class": 30})
    source = lay_tiles(cases, KINDS, tiling=TILING, sampling=asked)
    assert np.bincount(source.table.label).tolist() == [30, 30, 30]
    again = lay_tiles(cases, KINDS, tiling=TILING, sampling=asked)
    assert [row[:4] for row in rows_of(again)] == [row[:4] for row in rows_of(source)]
    other = asked.model_copy(update={"seed": 1})
    drawn = lay_tiles(cases, KINDS, tiling=TILING, sampling=other)
    assert {row[:3] for row in rows_of(drawn)} != {row[:3] for row in rows_of(source)}


def test_a_class_that_no_slide_holds_leaves_the_others_balanced(
    cases: list[Case], caplog: pytest.LogCaptureFixture
) -> None:
    more = ClassMap(classes=(*KINDS.classes, ClassInfo(name="rare", values=(3,))))
    source = lay_tiles(cases, more, tiling=TILING, sampling=BALANCED)
    counts = np.bincount(source.table.label, minlength=4).tolist()
    assert counts[0] == counts[1] == counts[2] > 0 == counts[3]
    assert "rare: no training tile passes the filters" in caplog.text


def test_without_jitter_balanced_tiles_stay_on_their_grids(cases: list[Case]) -> None:
    still = BALANCED.model_copy(update={"jitter": 0.0, "tiles_per_class": 8})
    source = lay_tiles(cases, KINDS, tiling=TILING, sampling=still)
    stored = set()
    for case, x, y in zip(source.table.case, source.table.x, source.table.y, strict=True):
        with open_slide(cases[case].slide) as slide:
            box = Box(min(x, 160 - 24), min(y, 120 - 24), 24, 24)  # pushed back onto the slide
            stored.add(read_tile(slide, box, 1).tobytes())
    assert pixels_of(source) == stored
    moving = still.model_copy(update={"jitter": 1.0})
    far = lay_tiles(cases, KINDS, tiling=TILING, sampling=moving)
    assert not pixels_of(far) <= stored


@settings(deadline=None, max_examples=200)
@given(data=st.data(), classes=st.integers(1, 4), overlaps=st.integers(1, 6))
def test_chosen_overlaps_are_the_least_that_give_enough(
    data: st.DataObject, classes: int, overlaps: int
) -> None:
    row = st.lists(st.integers(0, 50), min_size=overlaps, max_size=overlaps)
    counts = np.array(data.draw(st.lists(row, min_size=classes, max_size=classes)))
    most = data.draw(st.none() | st.integers(1, 60))
    chosen = choose_overlaps(counts, most)
    held = [max(one) for one in counts.tolist() if max(one)]
    enough = min([*held, *([most] if most else [])], default=0)
    for one, place in zip(counts.tolist(), chosen.tolist(), strict=True):
        if max(one):
            assert one[place] >= enough
            assert all(count < enough for count in one[:place])


def test_trimming_draws_anew_for_every_seed(cases: list[Case]) -> None:
    table = lay_tiles(cases, KINDS, tiling=TILING, sampling=HALF).table
    first, second = trim(table, 20, 0), trim(table, 20, 1)
    assert np.bincount(first.label).tolist() == [20, 20, 20]
    assert first.x.tolist() != second.x.tolist()
    keys = list(zip(first.case.tolist(), first.y.tolist(), first.x.tolist(), strict=True))
    assert keys == sorted(keys), "the order stays"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tiles_per_class": 9}, 'for balance = "overlap"'),
        ({"overlaps": []}, "there must be one"),
        ({"overlaps": [0.5, 1.0]}, "below 1"),
    ],
)
def test_impossible_balances_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling.model_validate(wrong)
