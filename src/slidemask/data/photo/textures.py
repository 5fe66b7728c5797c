"""Procedural surfaces that photos are taken on: wood, cloth, paper, concrete, laminate."""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Rgb

Field = NDArray[np.float32]


def noise_field(
    shape: tuple[int, int], cells: tuple[float, float], rng: np.random.Generator
) -> Field:
    """Return smooth noise in about -1..1 with so many (rows, columns) of cells."""
    rows, columns = (max(2, round(count) + 1) for count in cells)
    few = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return np.asarray(
        cv2.resize(few, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32
    )


def grain(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    """Return fine noise of unit variance, tiled from a small patch."""
    patch = rng.standard_normal((256, 256), np.float32)
    return np.tile(patch, (-(-shape[0] // 256), -(-shape[1] // 256)))[: shape[0], : shape[1]]


def coloured(
    values: NDArray[np.floating], dark: NDArray[np.floating], light: NDArray[np.floating]
) -> Rgb:
    """Turn 0..1 into colours between two."""
    ramp = np.linspace(0, 1, 256)[:, None]
    table = np.clip(dark + ramp * (np.asarray(light) - dark), 0, 255).astype(np.uint8)
    return table[np.clip(values * 255, 0, 255).astype(np.uint8)]


def wood(shape: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """Draw boards with rings stretched along them."""
    height = shape[0]
    across = np.linspace(0, rng.uniform(4, 14), height, dtype=np.float32)[:, None]
    rings = (
        across + 0.9 * noise_field(shape, (6, 1.5), rng) + 0.1 * noise_field(shape, (60, 4), rng)
    )
    values = 0.5 + 0.28 * np.sin(2 * np.pi * rings) * (0.4 + 0.6 * np.abs(np.sin(0.7 * rings)))
    values += 0.16 * noise_field(shape, (height / 3, 12), rng) + 0.03 * grain(shape, rng)
    dark = rng.uniform((60, 30, 12), (130, 90, 60))
    picture = coloured(values, dark, dark + rng.uniform((50, 40, 25), (100, 85, 70)))
    if rng.uniform() < 0.5:  # gaps between boards
        step = int(rng.uniform(0.12, 0.35) * height)
        for row in range(int(rng.integers(step)), height, step):
            picture[row : row + 3] = (picture[row : row + 3] * 0.45).astype(np.uint8)
    return picture


def cloth(shape: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """Weave in one or two colours, often pink or purple: what is not a slide."""
    height, width = shape
    pitch = rng.uniform(3, 8)
    y = np.sin(np.arange(height, dtype=np.float32) * (2 * np.pi / pitch))[:, None]
    x = np.sin(np.arange(width, dtype=np.float32) * (2 * np.pi / pitch))[None, :]
    values = 0.5 + 0.12 * (x * y) + 0.2 * noise_field(shape, (5, 5), rng) + 0.05 * grain(shape, rng)
    colour = _cloth_colour(rng)
    picture = coloured(values, colour * 0.6, np.minimum(colour * 1.15, 255))
    pattern = rng.uniform()
    if pattern < 0.3:
        _stripes(picture, rng, both=bool(rng.integers(2)))
    elif pattern < 0.55:
        _dots(picture, rng)
    return picture


def paper(shape: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """Draw paper, white to cream, with a faint structure."""
    light = np.array([rng.uniform(225, 252)] * 3) - (0, *np.sort(rng.uniform(0, 22, 2)))
    values = 0.8 + 0.1 * noise_field(shape, (5, 5), rng) + 0.025 * grain(shape, rng)
    return coloured(values, light - 34, light)


def concrete(shape: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """Draw concrete or stone: speckles of several sizes."""
    values = np.full(shape, 0.5, np.float32)
    for cells, weight in ((4, 0.18), (16, 0.12), (70, 0.1), (min(shape) / 3, 0.12)):
        values += weight * noise_field(shape, (cells, cells * shape[1] / shape[0]), rng)
    grey = rng.uniform(60, 170) + rng.uniform(-10, 10, 3)
    return coloured(values + 0.06 * grain(shape, rng), grey - 50, grey + 60)


def laminate(shape: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """Draw a plain desk top of any colour, mostly white, grey or black."""
    colour = np.array([rng.choice([35, 90, 150, 205, 235])] * 3) + rng.uniform(-12, 12, 3)
    if rng.uniform() < 0.25:
        colour = rng.uniform(30, 230, 3)
    values = 0.5 + 0.12 * noise_field(shape, (2, 2), rng) + 0.06 * grain(shape, rng)
    return coloured(values, colour - 25, colour + 20)


SURFACES: Final[dict[str, Callable[[tuple[int, int], np.random.Generator], Rgb]]] = {
    "wood": wood,
    "cloth": cloth,
    "paper": paper,
    "concrete": concrete,
    "laminate": laminate,
}


def surface(shape: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """Draw one of the surfaces, (height, width, 3)."""
    name = str(rng.choice(list(SURFACES), p=[0.34, 0.16, 0.1, 0.14, 0.26]))
    return np.ascontiguousarray(SURFACES[name](shape, rng))


def _cloth_colour(rng: np.random.Generator) -> NDArray[np.float64]:
    if rng.uniform() < 0.45:  # pink, purple, magenta
        return rng.uniform((150, 60, 110), (235, 150, 210))
    return rng.uniform(30, 220, 3)


def _stripes(picture: Rgb, rng: np.random.Generator, *, both: bool) -> None:
    step, colour = int(rng.integers(24, 120)), rng.uniform(0, 255, 3)
    for axis in (0, 1) if both else (0,):
        for start in range(0, picture.shape[axis], step):
            band = np.s_[start : start + step // 3]
            part = picture[band] if axis == 0 else picture[:, band]
            part[:] = (0.55 * part + 0.45 * colour).astype(np.uint8)


def _dots(picture: Rgb, rng: np.random.Generator) -> None:
    step, colour = int(rng.integers(30, 110)), [int(value) for value in rng.uniform(0, 255, 3)]
    for row, y in enumerate(range(0, picture.shape[0] + step, step)):
        for x in range((row % 2) * step // 2, picture.shape[1] + step, step):
            cv2.circle(picture, (x, y), step // 5, colour, cv2.FILLED, cv2.LINE_AA)
