"""What a later pass paints is where the first one found small components."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from slidemask.geometry import squeezed
from slidemask.geometry.squeezed import squeezed_bands
from slidemask.post.components import Ledger, numbered, repainted

AROUND = {4: ndimage.generate_binary_structure(2, 1), 8: np.ones((3, 3), bool)}


@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.sampled_from([1, 7]))
@settings(deadline=None, max_examples=100)
def test_small_components_become_their_area_and_nothing_else_changes(
    seed: int, connectivity: int, spread: int
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
    ledger = Ledger(mask.shape[1], connectivity, below_px)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(squeezed, "_LEAST_GAP", 2)
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
