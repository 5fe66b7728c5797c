"""How a slide's stains, glass and inks look; every patient's are a little different."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Rgb

INK_DENSITY = {
    "blue": (0.85, 0.58, 0.16),
    "green": (0.80, 0.26, 0.44),
    "red": (0.07, 0.80, 0.66),
    "black": (0.95, 1.05, 0.98),
}
"""Optical density of red, green and blue."""

Amount = NDArray[np.float32]
"""(H, W), optical density in green."""


class Stain(NamedTuple):
    """Colour of one preparation; vectors are densities for density 1 in green."""

    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    strength: tuple[float, float]
    glass: tuple[float, float, float]


def draw_stain(rng: np.random.Generator) -> Stain:
    """Draw the stain of a patient, after the spread of H&E colon pictures from several sites."""
    bright = float(rng.uniform(239, 247))
    return Stain(
        haematoxylin=(float(rng.uniform(0.55, 0.78)), 1.0, float(rng.uniform(0.25, 0.48))),
        eosin=(float(rng.uniform(0.06, 0.16)), 1.0, float(rng.uniform(0.32, 0.52))),
        strength=(float(rng.uniform(0.85, 1.25)), float(rng.uniform(0.75, 1.3))),
        glass=(bright, bright - float(rng.uniform(-1, 3)), bright + float(rng.uniform(-2, 2))),
    )


def coloured(stain: Stain, haematoxylin: Amount, eosin: Amount, glass: Amount) -> Rgb:
    """Let light of brightness `glass` (1 = the stain's own) through both stains."""
    rgb = np.empty((*glass.shape, 3), np.uint8)
    for channel in range(3):
        h, e = (
            np.float32(-np.log(10) * vector[channel] * strength)
            for vector, strength in zip(
                (stain.haematoxylin, stain.eosin), stain.strength, strict=True
            )
        )
        light = np.exp(haematoxylin * h + eosin * e) * (glass * np.float32(stain.glass[channel]))
        rgb[..., channel] = np.minimum(255, light + np.float32(0.5))
    return rgb


def inked(pixels: Rgb, where: NDArray[np.bool_], ink: str, amount: Amount) -> None:
    """Lay ink over pixels in place."""
    density = np.array(INK_DENSITY[ink], np.float32) * np.float32(-np.log(10))
    pixels[where] = pixels[where] * np.exp(amount[where][:, None] * density)
