"""Bands read once, from the top down, against the whole map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.evaluate.forward import ForwardRows
from slidemask.geometry.box import Size

NAMES = ("background", "a", "b")


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_rows_are_those_of_the_whole_map(data: st.DataObject) -> None:
    """However the map is cut, and whether reads overlap by rows or leave some out."""
    height = data.draw(st.integers(1, 30), "height")
    whole = np.random.default_rng(height).integers(0, 3, (height, 5), np.uint8)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, height - 1)))))
    tops = [0, *(cut for cut in cuts if cut < height)]
    bands = [(top, whole[top:end]) for top, end in zip(tops, [*tops[1:], height], strict=True)]
    mask = ForwardRows(iter(bands), Size(5, height), NAMES)
    top = 0
    while top < height:
        rows = data.draw(st.integers(1, height - top), "rows")
        assert np.array_equal(mask.rows(top, rows), whole[top : top + rows])
        top += data.draw(st.integers(max(1, rows - 1), rows + 2), "step")
    assert mask.areas() == {"a": int((whole == 1).sum()), "b": int((whole == 2).sum())}
    assert mask.areas() == {"a": int((whole == 1).sum()), "b": int((whole == 2).sum())}


def test_what_was_passed_is_gone() -> None:
    bands = [(top, np.zeros((2, 3), np.uint8)) for top in range(0, 8, 2)]
    mask = ForwardRows(iter(bands), Size(3, 8), NAMES)
    mask.rows(4, 2)
    with pytest.raises(ValueError, match="0 to 2"):
        mask.rows(0, 2)
    with pytest.raises(ValueError, match="6 to 9"):
        mask.rows(6, 3)
