"""Truth, prediction and error of one slide, side by side."""

import numpy as np

from slidemask.base.classes import ClassMap
from slidemask.base.types import Labels, Rgb
from slidemask.post.overlay import error_picture, fit_labels, overlay

_GAP = 12


def case_picture(picture: Rgb, truth: Labels, predicted: Labels, classes: ClassMap) -> Rgb:
    """Put three copies of a picture beside one another, below one another where it is wide.

    The first is outlined with the truth, the second with the prediction, both in the classes'
    colours; the third shows the errors as `error_picture` colours them.

    Parameters
    ----------
    picture : (H, W, 3) uint8
    truth, predicted : (h, w) uint8
        Of any size: they are fitted to the picture. Truth may hold 255, unknown.
    classes : ClassMap
        Colours by index.

    Returns
    -------
    (H', W', 3) uint8
        On white, with a gap of 12 px between the copies.
    """
    known = fit_labels(truth, picture.shape[:2])
    panels = [
        overlay(picture, known, classes, fill=0.12),
        overlay(picture, predicted, classes, fill=0.12),
        error_picture(picture, known, predicted),
    ]
    axis = 0 if picture.shape[1] > 2 * picture.shape[0] else 1
    shape = list(picture.shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=axis)
