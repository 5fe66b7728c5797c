"""Stain separation of H&E, and its random variation."""

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Rgb

HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Optical densities (red, green, blue) of haematoxylin, eosin and DAB, one a row: Ruifrok and
Johnston, Anal Quant Cytol Histol 23(4):291-299, 2001; rows are scaled to unit length in use."""

_STAINS = HED / np.linalg.norm(HED, axis=1, keepdims=True)
_DENSITY = -np.log(np.maximum(np.arange(256), 1) / 255).astype(np.float32)


def vary_stains(image: Rgb, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> Rgb:
    """Scale and shift the concentration of each stain.

    Colour deconvolution into haematoxylin, eosin and DAB, c' = scale * c + shift for each, and
    back: Tellez et al., IEEE Trans Med Imaging 37(9):2126-2136, 2018, section III-C, and Med Image
    Anal 58:101544, 2019. All three steps are linear in optical density, so they are one matrix.

    Parameters
    ----------
    image : (H, W, 3) uint8
    scale, shift : (3,) float
        Of haematoxylin, eosin and DAB; 1 and 0 change nothing. Shifts are optical densities
        (natural logarithm).

    Returns
    -------
    (H, W, 3) uint8

    Examples
    --------
    >>> pink = np.full((1, 1, 3), (200, 100, 180), np.uint8)
    >>> vary_stains(pink, np.ones(3), np.zeros(3)).ravel().tolist()
    [200, 100, 180]
    >>> vary_stains(pink, np.full(3, 2.0), np.zeros(3)).ravel().tolist()  # density x 2
    [157, 39, 127]
    """
    mix = np.linalg.inv(_STAINS) @ np.diag(scale) @ _STAINS
    matrix = np.column_stack([mix.T, shift @ _STAINS]).astype(np.float32)
    density = cv2.transform(_DENSITY[image], -matrix)
    return np.asarray(cv2.convertScaleAbs(cv2.exp(density), alpha=255), np.uint8)
