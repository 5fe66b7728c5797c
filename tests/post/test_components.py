"""What a later pass paints is where the first one found small components."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from slidemask.geometry import squeezed
from slidemask.geometry.squeezed import squeezed_bands
from slidemask.post import components
from slidemask.post.components import Ledger, numbered, repainted

AROUND = {4: ndimage.generate_binary_structure(2, 1), 8: np.ones((3, 3), bool)}


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.sampled_from([1, 7]),
    st.sampled_from([0, 1 << 20]),
)  # fmt: skip
@settings(deadline=None, max_examples=100)
def test_small_components_become_their_area_and_nothing_else_changes(
    seed: int, connectivity: int, spread: int, held_runs: int
) -> None:
    """Columns that lie far apart leave gaps, which are squeezed."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((12, 9 * spread), np.uint8)
    held = rng.random((12, 9)) < rng.uniform(0.3, 0.9)
    mask[:, ::spread] = held
    mask[rng.random(12) < 0.2] = 1  # rows across the gaps
    tops, below_px = [0, 5, 6], int(rng.integers(1, 30))
    bands = list(zip(tops, np.split(mask, tops[1:]), strict=True))
    before = mask.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(squeezed, "_LEAST_GAP", 2)
        patch.setattr(components, "_HELD_RUNS", held_runs)
        ledger = Ledger(mask.shape[1], connectivity, below_px)
        for top, _, thin in squeezed_bands(bands):
            for row in range(0, len(thin.values), 2):
                some = thin.values[row : row + 2] == 1
                ledger.enter(numbered(some, connectivity, thin.edges, top=top, row=row))
        areas = ledger.areas()
        spots = ledger.spots(areas < below_px, (areas % 200 + 2).astype(np.uint8))
        found = np.concatenate([band for _, band in repainted(iter(bands), spots)])

    ids = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, AROUND[connectivity], output=ids)
    sizes = np.bincount(ids.ravel())[ids]
    small = (mask == 1) & (sizes < below_px)
    assert np.array_equal(found, np.where(small, sizes % 200 + 2, mask))
    assert np.array_equal(mask, before)


def test_where_large_components_are_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_HELD_RUNS", 64)
    ledger, rows = Ledger(60, 8, below_px=50), np.zeros((2, 60), bool)
    rows[:, 10:20] = rows[:, 30:40] = True  # 20 pixels in each slab
    rows[0, 50] = True  # one pixel in each
    held = []
    for row in range(0, 400, 2):
        ledger.enter(numbered(rows, 8, top=row))
        held.append(sum(runs.starts.size for _, runs in ledger._small))
    assert max(held) < 2 * 200 + 64 + 5  # not 5 runs in each of 200 slabs
    areas = ledger.areas()
    spots = ledger.spots(areas < 50, np.full(areas.shape, 9, np.uint8))
    assert {top: [runs.starts.tolist() for runs in there] for top, there in spots.items()} == {
        row: [[50]] for row in range(0, 400, 2)
    }


def test_bands_without_rows_are_passed_on() -> None:
    bands = [(0, np.ones((2, 6), np.uint8)), (2, np.zeros((0, 6), np.uint8))]
    bands.append((2, np.eye(4, 6, 3, dtype=np.uint8)))
    ledger = Ledger(6, 4, below_px=2)
    for top, band in bands:
        if len(band):
            ledger.enter(numbered(band == 1, 4, top=top))
    areas = ledger.areas()
    spots = ledger.spots(areas < 2, np.full(areas.shape, 0, np.uint8))
    found = [band for _, band in repainted(iter(bands), spots)]
    assert [band.shape for band in found] == [(2, 6), (0, 6), (4, 6)]
    assert found[2].sum() == 1  # the one that hangs on the rows above
