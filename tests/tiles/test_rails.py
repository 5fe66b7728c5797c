"""Rails: extremes of the diseased tiles, and what lies between them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from slidemask.base.errors import SettingsError
from slidemask.tiles.rails import Rails, learn_rails

BITS = st.floats(0, 8)


@given(st.lists(BITS, min_size=1))
def test_every_tile_that_taught_the_rails_lies_within(bits: list[float]) -> None:
    rails = learn_rails(bits)
    assert rails.within(bits).all()
    assert rails.within(np.array(bits) + 1e-12).all()
    assert rails.spread == max(bits) - min(bits)


def test_outside_and_unknown() -> None:
    rails = Rails(low=6.42, high=7.46)
    found = rails.within([[6.41, 6.42], [7.47, np.nan]])
    assert found.tolist() == [[False, True], [False, False]]


def test_no_tile_and_no_entropy() -> None:
    with pytest.raises(SettingsError, match="No diseased tile"):
        learn_rails([])
    with pytest.raises(SettingsError, match=r"got 9 and 1 more such among 3"):
        learn_rails([9, 7, float("nan")])


def test_rails_in_order() -> None:
    with pytest.raises(ValidationError, match="above the upper"):
        Rails(low=7, high=6)
    assert Rails.model_validate(Rails(low=1, high=2).model_dump()) == Rails(low=1, high=2)
