"""Truth, prediction and error side by side."""

import numpy as np
import pytest

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.post.cases import case_picture
from slidemask.post.overlay import error_picture, overlay

CLASSES = ClassMap(classes=(ClassInfo(name="gland", colour=(0, 160, 60)),))


@pytest.mark.parametrize(("shape", "axis"), [((60, 80), 1), ((90, 40), 1), ((30, 70), 0)])
def test_three_copies_with_white_between(shape: tuple[int, int], axis: int):
    rng = np.random.default_rng(0)
    picture = rng.integers(90, 200, (*shape, 3)).astype(np.uint8)
    truth, predicted = np.zeros((2, *shape), np.uint8)
    truth[5:20, 5:20], truth[:3] = 1, 255
    predicted[8:25, 8:25] = 1
    before = picture.copy()
    found = case_picture(picture, truth, predicted, CLASSES)
    side = shape[axis]
    assert found.shape[axis] == 3 * side + 2 * 12
    assert found.shape[1 - axis] == shape[1 - axis]
    parts = np.split(found, [side, side + 12, 2 * side + 12, 2 * side + 24], axis=axis)
    assert (parts[0] == overlay(picture, truth, CLASSES, fill=0.12)).all()
    assert (parts[2] == overlay(picture, predicted, CLASSES, fill=0.12)).all()
    assert (parts[4] == error_picture(picture, truth, predicted)).all()
    assert (parts[1] == 255).all()
    assert (parts[3] == 255).all()
    assert (picture == before).all()
