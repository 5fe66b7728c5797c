"""Slow and plain versions to hold the fast ones against."""

import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Rgb
from slidemask.geometry.box import Box


def overlaps(origin: float, step: float, count: int, length: int) -> NDArray[np.float64]:
    """(count, length) lengths that output pixel j and input pixel i have in common."""
    low = [origin + j * step for j in range(count)]
    high = [origin + (j + 1) * step for j in range(count)]
    begin = np.maximum.outer(low, np.arange(length))
    end = np.minimum.outer(high, np.arange(length) + 1)
    return np.maximum(end - begin, 0)


def area_mean(pixels: Rgb, box: Box, downsample: float) -> NDArray[np.float64]:
    """Exact means of level-0 pixels, white where there are none."""
    rows, columns = box.shape_at(downsample)
    y = overlaps(box.y, downsample, rows, pixels.shape[0]) / downsample
    x = overlaps(box.x, downsample, columns, pixels.shape[1]) / downsample
    covered = np.outer(y.sum(1), x.sum(1))[..., None]
    means = [y @ pixels[..., channel].astype(float) @ x.T for channel in range(3)]
    return np.stack(means, axis=-1) + 255 * (1 - covered)


def centroid(picture: Rgb) -> tuple[float, float]:
    """(x, y) of the ink's centre in output pixels."""
    ink = 255.0 - picture[..., 0]
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]] + 0.5
    return float((ink * x).sum() / ink.sum()), float((ink * y).sum() / ink.sum())


def block_means(pixels: Rgb, factor: int) -> Rgb:
    """Means of factor x factor blocks; a begun block is the mean of what there is of it."""
    rows, columns = -(-pixels.shape[0] // factor), -(-pixels.shape[1] // factor)
    out = np.empty((rows, columns, 3), np.uint8)
    for i in range(rows):
        for j in range(columns):
            block = pixels[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
            out[i, j] = np.round(block.mean((0, 1)))
    return out
