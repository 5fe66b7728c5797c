"""Blood smears, drawn: a few stained cells on a pale ground, from a field of them to a single one.

Textbooks and posters are full of them, and they look like no tissue: large even areas, round
shapes, grounds from yellow to lilac.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Rgb

Field = NDArray[np.float32]
Point = NDArray[np.float64]
_GROUNDS = ((238, 228, 140), (232, 224, 232), (244, 236, 228), (222, 226, 236), (236, 214, 214))
_RED_CELLS = ((214, 150, 150), (222, 170, 140), (190, 160, 170), (206, 196, 120))
_NUCLEI = ((92, 42, 122), (70, 50, 110), (112, 40, 96), (60, 44, 84))
_PLASMA = ((176, 178, 214), (220, 176, 196), (226, 190, 140), (196, 160, 190))


def draw_smear(rng: np.random.Generator, side: int = 768) -> Rgb:
    """Draw a blood smear as a camera on a microscope sees it; all of it is left to chance.

    Parameters
    ----------
    rng : numpy.random.Generator
    side : int
        Pixels.

    Returns
    -------
    (side, side, 3) uint8
    """
    picture = _ground(rng, side)
    radius = side * float(np.exp(rng.uniform(np.log(0.03), np.log(0.3))))  # of a white cell
    _draw_red_cells(picture, rng, radius * rng.uniform(0.5, 0.8))
    for _ in range(max(1, rng.poisson(0.05 * (side / radius) ** 2))):
        _draw_white_cell(picture, rng, radius * rng.uniform(0.85, 1.15))
    blurred = cv2.GaussianBlur(picture, (0, 0), max(0.5, radius * rng.uniform(0.01, 0.06)))
    noisy = blurred + rng.normal(0, rng.uniform(0.5, 4), blurred.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def _ground(rng: np.random.Generator, side: int) -> Field:
    colour = _near(rng, _GROUNDS, 10)
    uneven = cv2.resize(rng.normal(0, 4, (4, 4, 1)), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(colour + uneven[..., None], np.float32)


def _draw_red_cells(picture: Field, rng: np.random.Generator, radius: float) -> None:
    """Draw pale discs, paler in their middle, crowded or few."""
    side = len(picture)
    colour, strength = _near(rng, _RED_CELLS, 12), rng.uniform(0.3, 1)
    count = rng.poisson(rng.uniform(0, 0.7) * side**2 / (np.pi * radius**2))
    for at in rng.uniform(0, side, (count, 2)):
        around, centre = _around(picture, at, 1.5 * radius)
        axes = radius * rng.uniform(0.85, 1.15, 2)
        cell = _ellipse(around, centre, axes, rng.uniform(0, 180), soft=0.1 * radius)
        middle = _ellipse(around, centre, 0.5 * axes, 0, soft=0.3 * radius)
        _lay(around, colour, strength * cell * (1 - 0.6 * middle))


def _draw_white_cell(picture: Field, rng: np.random.Generator, radius: float) -> None:
    """Draw a cell with one round nucleus or one of several lobes."""
    at = rng.uniform(0, len(picture), 2)
    around, centre = _around(picture, at, 1.5 * radius)
    axes = radius * rng.uniform(0.9, 1.1, 2)
    cell = _ellipse(around, centre, axes, rng.uniform(0, 180), soft=0.08 * radius)
    grain = cv2.GaussianBlur(rng.normal(0, 1, cell.shape), (0, 0), max(1.0, 0.04 * radius))
    grain = (grain / grain.std() * rng.uniform(4, 16))[..., None]
    _lay(around, _near(rng, _PLASMA, 15) + grain, rng.uniform(0.3, 0.95) * cell)
    lobes = int(rng.integers(1, 5))
    nucleus, size = np.zeros_like(cell), radius * (0.75 if lobes == 1 else 0.42)
    turn, away = rng.uniform(0, 2 * np.pi), 0.0 if lobes == 1 else 0.42 * radius
    for lobe in range(lobes):
        angle = turn + lobe * rng.uniform(0.9, 1.5)
        place = centre + away * np.array([np.cos(angle), np.sin(angle)])
        shape = size * rng.uniform(0.8, 1.2, 2)
        drawn = _ellipse(around, place, shape, np.degrees(angle), soft=0.08 * radius)
        nucleus = np.maximum(nucleus, drawn)
    _lay(around, _near(rng, _NUCLEI, 12) + grain, rng.uniform(0.8, 1) * nucleus)


def _around(picture: Field, at: Point, radius: float) -> tuple[Field, Point]:
    """Return the part of a picture that may be drawn upon, and where in it the middle is."""
    first = np.maximum(0, np.floor(at - radius)).astype(int)
    last = np.ceil(at + radius).astype(int) + 1
    return picture[first[1] : last[1], first[0] : last[0]], at - first


def _ellipse(picture: Field, at: Point, axes: Point, degrees: float, *, soft: float) -> Field:
    """Return an ellipse's cover, 0..1, with a soft edge of that many pixels."""
    cover = np.zeros(picture.shape[:2], np.float32)
    ring = ((float(at[0]), float(at[1])), (2 * float(axes[0]), 2 * float(axes[1])), degrees)
    cv2.ellipse(cover, ring, 1.0, cv2.FILLED, cv2.LINE_8)
    return np.asarray(cv2.GaussianBlur(cover, (0, 0), max(0.6, soft)), np.float32)


def _lay(picture: Field, colour: Point, cover: NDArray[np.floating[Any]]) -> None:
    """Tint as a stain does: what is below it shows through."""
    picture += cover[..., None] * (np.asarray(colour, np.float32) - picture)


def _near(
    rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...], spread: float
) -> NDArray[np.float64]:
    return colours[int(rng.integers(len(colours)))] + rng.normal(0, spread, 3)
