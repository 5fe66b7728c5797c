"""What a later pass draws is what the first one looked up."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from slidemask.post.components import Ledger


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_all_passes_give_each_component_its_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((12, 9)) < rng.uniform(0.3, 0.9)
    bands = [mask[:5], mask[5:6], mask[6:]]
    ledger = Ledger(9, connectivity=4)
    for band in bands:
        ledger.enter(band)
    values = rng.integers(0, 4, ledger.count + 1).astype(np.uint8)
    expected, before = [], 0
    for band in bands:
        numbers = np.zeros(band.shape, np.int32)
        ndimage.label(band, output=numbers)  # numbered row by row, as the ledger does
        expected.append(np.where(band, values[numbers + before], 0))
        before += numbers.max(initial=0)
    passes = ledger.replays(values)
    for _ in range(3):
        look_up = next(passes)
        for band, wanted in zip(bands, expected, strict=True):
            found = look_up(band)
            assert np.array_equal(np.zeros_like(wanted) if found is None else found, wanted)
