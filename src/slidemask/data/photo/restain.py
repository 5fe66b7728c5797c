"""Other stains out of H&E by stain separation; synthetic, and said to be so."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Rgb
from slidemask.data.stain import HED

_TARGETS: Final[dict[str, list[list[float]]]] = {
    "IHC (synthetic)": [[0.72, 0.62, 0.30], [0.27, 0.57, 0.78], [0.27, 0.57, 0.78]],
    "PAS (synthetic)": [[0.66, 0.68, 0.32], [0.25, 0.92, 0.30], [0.40, 0.85, 0.34]],
    "Giemsa (synthetic)": [[0.80, 0.55, 0.20], [0.30, 0.80, 0.30], [0.80, 0.55, 0.20]],
}
STAINS: Final = tuple(_TARGETS)
_DENSITY = -np.log(np.maximum(np.arange(256), 1) / 255).astype(np.float32)


def restain(image: Rgb, stain: str, rng: np.random.Generator) -> Rgb:
    """Show H&E as another stain.

    Densities are separated as Ruifrok and Johnston do (see `slidemask.data.stain`), and each
    stain's amount is shown in the other's colour. Brown is kept to where eosin is strong, as an
    antibody binds in some places only.

    Parameters
    ----------
    image : (H, W, 3) uint8
    stain : str
        One of `STAINS`.
    rng : numpy Generator
        Draws strengths.

    Examples
    --------
    >>> pink = np.full((1, 1, 3), (225, 120, 190), np.uint8)
    >>> red, green, blue = restain(pink, "IHC (synthetic)", np.random.default_rng(0))[0, 0].tolist()
    >>> red > green > blue
    True
    """
    source, target = _unit(HED), _unit(np.array(_TARGETS[stain]))
    amounts = cv2.transform(_DENSITY[image], np.linalg.inv(source).T.astype(np.float32))
    amounts = np.maximum(amounts, 0).astype(np.float32)
    scale = rng.uniform((0.6, 0.6, 0.2), (1.1, 1.2, 0.6)).astype(np.float32)
    if stain.startswith("IHC"):
        middle = float(np.quantile(amounts[::4, ::4, 1], rng.uniform(0.3, 0.75)))
        amounts[..., 1] *= 1.6 / (1 + np.exp(-8 * (amounts[..., 1] - middle)))
    density = cv2.transform(amounts * scale, -target.T.astype(np.float32))
    return np.asarray(cv2.convertScaleAbs(cv2.exp(density), alpha=255), np.uint8)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
