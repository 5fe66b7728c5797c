"""What lies on a pen mark is background, and nothing else changes."""

import numpy as np
import pytest

from slidemask.post.ink import without_ink
from slidemask.tiles.tissue import TissueMask


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_labels_on_ink_become_background(cut: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (40, 60), np.uint8)
    ink = rng.random((8, 12)) < 0.5  # one pixel of it is 5 x 5 pixels of the canvas
    tissue = TissueMask(np.ones((8, 12), bool), downsample=10.0, ink=ink)
    bands = ((top, labels[top : top + cut]) for top in range(0, 40, cut))
    found = np.concatenate([band for _, band in without_ink(bands, tissue, 2.0)])
    np.testing.assert_array_equal(found, np.where(np.kron(ink, np.ones((5, 5), bool)), 0, labels))


def test_without_ink_all_stays() -> None:
    labels = np.ones((4, 5), np.uint8)
    for tissue in (None, TissueMask(np.ones((2, 2), bool), 4.0)):
        ((_, found),) = without_ink(iter([(0, labels)]), tissue, 1.0)
        np.testing.assert_array_equal(found, labels)
