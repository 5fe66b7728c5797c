"""Drawn smears: their own each time, mostly pale ground, with dark nuclei."""

import numpy as np
import pytest

from slidemask.data.photo.smears import draw_smear
from slidemask.data.photo.sources import draw_picture, find_sources


@pytest.mark.parametrize("seed", range(6))
def test_a_smear_is_pale_ground_with_dark_nuclei(seed: int) -> None:
    smear = draw_smear(np.random.default_rng(seed), side=256)
    assert smear.shape == (256, 256, 3)
    assert smear.dtype == np.uint8
    grey = smear.mean(axis=2)
    ground = np.percentile(grey, 95)
    assert ground > 170
    assert 0.001 < np.mean(grey < ground - 70) < 0.5
    dark = smear[grey <= np.percentile(grey, 0.5)].mean(axis=0)
    assert dark[2] > dark[1], "nuclei are blue to purple"


def test_each_seed_draws_its_own() -> None:
    one, same, other = (draw_smear(np.random.default_rng(seed), side=128) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one.astype(int) - other).mean() > 5


def test_every_third_phantom_is_a_smear() -> None:
    sources = find_sources((), phantoms=6)
    assert [source.name for source in sources] == [
        "phantom-0", "phantom-1", "smear-2", "phantom-3", "phantom-4", "smear-5",
    ]  # fmt: skip
    picture = draw_picture([sources[2]], (90, 120), np.random.default_rng(0), restained=1.0)
    assert picture.pixels.shape == (90, 120, 3)
    assert (picture.source, picture.stain) == ("smear-2", "Giemsa (synthetic)")
