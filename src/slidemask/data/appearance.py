"""Colour, sharpness and noise of a tile, each as one fast pass over 8-bit pixels."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Rgb

_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)


def recolour(
    image: Rgb, *, brightness: float, contrast: float, saturation: float, hue_degrees: float
) -> Rgb:
    """Change all four at once, by one matrix.

    Brightness scales, contrast scales about the picture's mean, saturation and hue scale and turn
    the chroma plane of NTSC's YIQ space.

    >>> grey = np.full((2, 2, 3), 100, np.uint8)
    >>> recolour(grey, brightness=1.1, contrast=2, saturation=0, hue_degrees=40)[0, 0].tolist()
    [110, 110, 110]
    """
    angle = np.deg2rad(hue_degrees)
    turn = np.eye(3)
    turn[1:, 1:] = saturation * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    gain = brightness * contrast
    mean = float(np.mean(cv2.mean(image)[:3]))
    matrix = np.column_stack(
        [gain * (_RGB @ turn @ _YIQ), np.full(3, brightness * (1 - contrast) * mean)]
    )
    return _uint8(cv2.transform(image, matrix))


def invert(image: Rgb) -> Rgb:
    """Return the negative.

    >>> invert(np.array([[[0, 100, 255]]], np.uint8)).tolist()
    [[[255, 155, 0]]]
    """
    return _uint8(cv2.bitwise_not(image))


def gamma(image: Rgb, exponent: float) -> Rgb:
    """Raise values to a power: below 1 is lighter."""
    table = np.round(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return _uint8(cv2.LUT(image, table))


def blur(image: Rgb, sigma_px: float) -> Rgb:
    """Blur as an objective out of focus does, by a Gaussian."""
    return _uint8(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT))


def sharpen(image: Rgb, amount: float) -> Rgb:
    """Add `amount` times what a blur of one pixel takes away (unsharp mask)."""
    return _uint8(cv2.addWeighted(image, 1 + amount, blur(image, 1.0), -amount, 0))


def add_noise(image: Rgb, sd: float, rng: np.random.Generator) -> Rgb:
    """Add Gaussian noise of a standard deviation, in grey levels, to each value."""
    noise = rng.standard_normal(image.shape, np.float32)
    return _uint8(np.clip(np.rint(image + sd * noise), 0, 255))


def compress(image: Rgb, quality: int) -> Rgb:
    """Go through JPEG of a quality 1..100."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a {image.shape} picture could not be compressed")
    return np.ascontiguousarray(_uint8(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])


def _uint8(pixels: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - OpenCV's stubs promise too little
    return np.asarray(pixels, np.uint8)
