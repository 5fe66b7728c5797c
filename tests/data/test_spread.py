"""The rails' spread against tile size: measured tile by tile, and where it jumps."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.measure import shannon_entropy

from journey import GLAND, write_png
from slidemask.data.case import Case
from slidemask.data.sampling import Sampling
from slidemask.data.spread import Learned, Spread, diseased_entropies, learned_rails, marked
from slidemask.data.survey import Rules
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling
from slidemask.tiles.rails import Rails

RULES = Rules(
    GLAND,
    Tiling(tile_px=16, overlap=0.5, downsample=1.0),
    Filters(tissue=None, rails="learn"),
    Sampling(min_positive_share=0.5),
)


def checks(cell: int, seed: int) -> np.ndarray:
    """Flat cells of any grey: tiles as small as a cell are flat or not, larger ones are alike."""
    grey = np.random.default_rng(seed).integers(60, 200, (-(-144 // cell), -(-192 // cell)))
    whole = np.kron(grey.astype(np.uint8), np.ones((cell, cell), np.uint8))[:144, :192]
    return np.repeat(whole[..., None], 3, axis=2)


def bits_of(tile: np.ndarray) -> float:
    """Return the entropy of a tile's grey values as another library has it."""
    return float(shannon_entropy(cv2.cvtColor(np.ascontiguousarray(tile), cv2.COLOR_RGB2GRAY), 2))


def cases_of(folder: Path, cell: int) -> list[Case]:
    mask = np.zeros((144, 192), np.uint8)
    mask[:, 40:] = 255
    return [
        Case(
            write_png(folder / "images" / f"p{number}.png", checks(cell, number)),
            write_png(folder / "labels" / f"p{number}.png", mask),
            f"p{number}",
        )
        for number in range(2)
    ]


def test_entropies_are_those_of_positive_tiles_inside(tmp_path: Path) -> None:
    cases = cases_of(tmp_path, 8)
    found = diseased_entropies(cases, RULES, 32, most=1000)
    expected = [
        bits_of(checks(8, number)[top : top + 32, left : left + 32])
        for number in range(2)
        for top in range(0, 144 - 31, 16)
        for left in range(32, 192 - 31, 16)  # at 32 three quarters of a tile are positive
    ]
    np.testing.assert_allclose(np.sort(found), np.sort(expected), atol=1e-12)
    some = diseased_entropies(cases, RULES, 32, most=30)
    np.testing.assert_array_equal(some, diseased_entropies(cases, RULES, 32, most=30))
    assert len(some) == 30
    assert set(some.round(9)) <= set(found.round(9))


def test_tiles_that_other_rules_drop_do_not_count(tmp_path: Path) -> None:
    cases = cases_of(tmp_path, 48)
    filters = RULES.filters.model_copy(update={"min_std": 1.0})
    strict = replace(RULES, filters=filters)
    assert diseased_entropies(cases, RULES, 16, most=1000).min() == 0
    assert diseased_entropies(cases, strict, 16, most=1000).min() > 0


@pytest.mark.parametrize(("cell", "jump"), [(14, True), (4, False)])
def test_tiles_of_a_cell_s_size_spread_further(tmp_path: Path, cell: int, jump: bool) -> None:
    cases = cases_of(tmp_path, cell)
    bits = diseased_entropies(cases, RULES, 16, most=1000)
    rails = Rails(low=bits.min(), high=bits.max())
    learned = learned_rails(cases, RULES, rails, len(bits))
    assert [one.tile_px for one in learned.spreads] == [16, 24, 32]
    assert learned.spreads[0].spread == pytest.approx(rails.spread, abs=1e-12)
    assert learned.spreads[0].inner <= rails.spread
    assert learned.jump is jump
    told = learned.as_dict()
    assert told["jump"] is jump
    assert (told["low"], told["high"], told["tiles"]) == (rails.low, rails.high, len(bits))
    assert f"learned from {len(bits)} tiles" in str(learned)
    assert ("16 px tiles spread much further" in told["in_words"]) is jump


@pytest.mark.parametrize(("overlap", "sizes"), [(0.9, [120]), (0.5, [])])
def test_sizes_with_few_tiles_say_nothing(tmp_path: Path, overlap: float, sizes: list[int]) -> None:
    """Of 180 and 240 px there is no tile, of 120 px there are 42, or 4."""
    large = replace(RULES, tiling=Tiling(tile_px=120, overlap=overlap, downsample=1.0))
    cases = cases_of(tmp_path, 8)
    learned = learned_rails(cases, large, Rails(low=6, high=7), 25)
    assert [one.tile_px for one in learned.spreads] == sizes
    assert not learned.jump
    assert "too few tiles of larger sizes" in str(learned)


def test_a_jump_is_half_as_much_again_as_at_the_next_larger_calm_size() -> None:
    def learned(*bits: float) -> Learned:
        sizes = [Spread(100 * n, 50, 0, 0, 0, inner, 9) for n, inner in enumerate(bits, 1)]
        return Learned(Rails(low=0, high=8), 50, tuple(marked(sizes)))

    assert not learned(1.5, 1.0).jump
    assert learned(1.51, 1.0).jump
    assert learned(3.9, 4.0, 1.0).jump, "the next larger size has jumped itself"
    assert not learned(4.0, 4.0, 4.0).jump
    assert not learned(4.0).jump
    assert not learned().jump
