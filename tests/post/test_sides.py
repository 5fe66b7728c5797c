"""What sides begin from: regions without what sticks out of them."""

import numpy as np
import pytest
from scipy import ndimage

from slidemask.post.sides import _opened


@pytest.mark.parametrize("kind", ["ragged", "all", "nothing", "thin"])
@pytest.mark.parametrize("radius", [1, 3, 6])
def test_opening_by_distances_is_opening_with_a_disc(kind: str, radius: int) -> None:
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(size=(90, 120)), 4)
    mask = {
        "ragged": noise > 0,
        "all": noise < 9,
        "nothing": noise > 9,
        "thin": np.eye(90, 120) > 0,
    }
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = x * x + y * y <= radius * radius
    core = ndimage.binary_erosion(mask[kind], disc, border_value=1)
    wanted = ndimage.binary_dilation(core, disc)
    np.testing.assert_array_equal(_opened(mask[kind], radius), wanted)
    assert kind != "ragged" or 0 < np.count_nonzero(wanted) < np.count_nonzero(mask[kind])
