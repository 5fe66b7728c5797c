"""How much there is to see in a tile."""

import cv2
import numpy as np

from slidemask.base.types import Rgb


def entropy(tile: Rgb) -> float:
    """Return the Shannon entropy of a tile's 256-bin grey histogram, in bits, 0..8.

    Grey is the 8-bit luma of ITU-R BT.601 (0.299 R + 0.587 G + 0.114 B, rounded). Frank (2022,
    rs-122564/v3) keeps the tiles between two rails: the least and the greatest entropy of
    training tiles that hold the object.

    Parameters
    ----------
    tile : (H, W, 3) uint8

    Examples
    --------
    >>> entropy(np.full((4, 4, 3), 200, np.uint8))
    0.0
    >>> halves = np.zeros((4, 4, 3), np.uint8)
    >>> halves[:2] = 255
    >>> entropy(halves)
    1.0
    """
    counts = np.bincount(cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY).ravel(), minlength=256)
    shares = counts[counts > 0] / counts.sum()
    return float(np.abs(np.sum(shares * np.log2(shares))))
