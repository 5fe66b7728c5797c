"""Flat things with pictures on them: panels of figures, prints, glass slides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Rgb
from slidemask.data.photo.decoys import draw_decoy
from slidemask.data.photo.settings import PhotoSettings
from slidemask.data.photo.sources import Picture, Source, draw_picture
from slidemask.data.photo.typeset import FACES, Type, sentence, width_of, write_line

Corners = NDArray[np.float64]


class Figure(NamedTuple):
    """A slide's place on a sheet.

    Parameters
    ----------
    corners : (4, 2) float
        x, y of the corners in the sheet's pixels, clockwise from the top left; a pixel's edges
        lie on whole numbers.
    source, stain : str
    touching : bool
        Nothing, or only a thin white line, lies between it and another slide.
    radius : float
        Of rounded corners, sheet pixels.
    """

    corners: Corners
    source: str
    stain: str
    touching: bool = False
    radius: float = 0.0

    def moved(self, x: float, y: float) -> "Figure":
        """Return the figure shifted."""
        return self._replace(corners=self.corners + np.array((x, y)))


@dataclass(frozen=True, eq=False)
class Sheet:
    """Something flat with pixels of its own.

    Parameters
    ----------
    pixels : (H, W, 3) uint8
    figures : tuple of Figure
    alpha : (H, W) uint8, optional
        Where it is (255) and is not (0); None is everywhere.
    lit : (x, y, width, height), optional
        The part that gives light, on a screen.
    """

    pixels: Rgb
    figures: tuple[Figure, ...] = ()
    alpha: NDArray[np.uint8] | None = None
    lit: tuple[int, int, int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, eq=False)
class Stock:
    """What a photo is made of: sources of one group, scenes, settings, and the dice.

    Parameters
    ----------
    settings : PhotoSettings
    group : sequence of Source
    scenes : sequence of Path
    rng : numpy Generator
    """

    settings: PhotoSettings
    group: Sequence[Source]
    scenes: Sequence[Path]
    rng: np.random.Generator

    def slide(self, shape: tuple[int, int]) -> Picture:
        """Draw a slide's picture of (height, width)."""
        picture = draw_picture(self.group, shape, self.rng, self.settings.restained)
        return picture._replace(pixels=_edged(picture.pixels))

    def decoy(self, shape: tuple[int, int]) -> Rgb:
        """Draw a picture that is no slide."""
        return draw_decoy(shape, self.rng, self.scenes)


def panel(stock: Stock, width: int, count: int, ground: NDArray[np.floating]) -> Sheet:
    """Set `count` slides of one height a row into a grid, touching or apart, with letters.

    Parameters
    ----------
    stock : Stock
    width : int
    count : int
        0 gives one picture that is no slide.
    ground : (3,) float
        Colour between them.
    """
    rng = stock.rng
    if count == 0:
        shape = (max(40, round(width * rng.uniform(0.4, 0.9))), width)
        return Sheet(stock.decoy(shape))
    columns = _columns(count, rng)
    touching = count > 1 and rng.uniform() < stock.settings.touching
    gap = int(rng.choice([0, 0, 1, 2, 3, 5])) if touching else int(rng.uniform(0.02, 0.06) * width)
    cell = (width - gap * (columns - 1)) // columns
    height = max(40, round(cell * float(rng.choice([0.55, 0.67, 0.75, 0.8, 1.0, 1.25]))))
    rows = -(-count // columns)
    pixels = np.empty((rows * (height + gap) - gap, cell * columns + gap * (columns - 1), 3))
    pixels = np.full(pixels.shape, ground).astype(np.uint8)
    figures = []
    letters = bool(rng.integers(2)) and count > 1
    for number in range(count):
        row, column = divmod(number, columns)
        x, y = column * (cell + gap), row * (height + gap)
        picture = stock.slide((height, cell))
        if letters:
            _letter(picture.pixels, "ABCDEFGHIJKL"[number], rng)
        pixels[y : y + height, x : x + cell] = picture.pixels
        corners = _rectangle(x, y, cell, height)
        figures.append(Figure(corners, picture.source, picture.stain, touching))
    return Sheet(pixels, tuple(figures))


def printed(stock: Stock, longest: int, count: int) -> Sheet:
    """Lay slides on a piece of paper with a margin, or none, and perhaps a line of text."""
    rng = stock.rng
    ground = np.array([rng.uniform(225, 253)] * 3) - (0, *np.sort(rng.uniform(0, 12, 2)))
    width = round(longest * rng.uniform(0.6, 1.0))
    inner = panel(stock, width, count, ground)
    if inner.size[1] > 1.2 * longest:
        shrunk = max(40, round(width * longest / inner.size[1]))
        inner = panel(stock, shrunk, count, ground)
    margin = 0 if rng.uniform() < 0.4 else round(rng.uniform(0.03, 0.2) * longest)
    if margin == 0:
        return inner
    bottom = margin + (round(rng.uniform(0.0, 0.3) * longest) if rng.uniform() < 0.4 else 0)
    sheet = on_ground(inner, (margin, margin, margin, bottom), ground)
    if bottom > 20:
        size = max(8, min(bottom // 3, longest // 22))
        type_ = Type(str(rng.choice(list(FACES))), size)
        at = (margin, sheet.size[1] - bottom + round(1.4 * size))
        write_line(sheet.pixels, caption(rng, sheet.size[0] - 2 * margin, type_), at, type_)
    return sheet


def glass(stock: Stock, longest: int) -> Sheet:
    """Draw a glass slide: a label at one end, tissue shown through it, corners a little round."""
    rng = stock.rng
    height = round(longest / rng.uniform(2.6, 3.1))
    pixels = np.empty((height, longest, 3), np.uint8)
    pixels[:] = rng.uniform(215, 245, 3)
    label = round(longest * rng.uniform(0.2, 0.3))
    pixels[:, :label] = rng.choice(
        [[245, 245, 240], [250, 220, 120], [150, 200, 240], [245, 170, 190]]
    )
    size = max(7, height // 9)
    for row in range(int(rng.integers(1, 5))):
        at = (size // 2, round(size * (1.6 + 1.4 * row)))
        write_line(pixels, f"{sentence(rng, 1)} {rng.integers(99999)}", at, Type("sans", size))
    space = (height - 2 * (height // 8), longest - label - longest // 10)
    picture = stock.slide(space)
    cover = _blob(space, rng)[..., None]
    top, left = height // 8, label + longest // 20
    part = pixels[top : top + space[0], left : left + space[1]]
    part[:] = (part * (1 - cover) + picture.pixels * cover).astype(np.uint8)
    radius = round(0.03 * height)
    alpha = _rounded((height, longest), radius)
    pixels[:2] = pixels[-2:] = pixels[:, :2] = pixels[:, -2:] = (150, 165, 165)
    corners = _rectangle(0, 0, longest, height)
    return Sheet(pixels, (Figure(corners, picture.source, picture.stain, radius=radius),), alpha)


def on_ground(
    inner: Sheet, margins: tuple[int, int, int, int], ground: NDArray[np.floating]
) -> Sheet:
    """Put a sheet on a larger one: margins left, top, right, bottom."""
    left, top, right, bottom = margins
    width, height = inner.size
    pixels = np.empty((height + top + bottom, width + left + right, 3), np.uint8)
    pixels[:] = ground
    pixels[top : top + height, left : left + width] = inner.pixels
    return replace(inner, pixels=pixels, figures=tuple(f.moved(left, top) for f in inner.figures))


def caption(rng: np.random.Generator, width: int, type_: Type) -> str:
    """Return a figure's caption that fits the width."""
    words = ["Figure", f"{rng.integers(1, 30)}.{rng.integers(1, 40)}."]
    for word in sentence(rng, 30).split():
        if width_of(" ".join([*words, word]), type_) > width:
            break
        words.append(word)
    return " ".join(words)


def _columns(count: int, rng: np.random.Generator) -> int:
    """Choose how many stand side by side."""
    choices: dict[int, list[int]] = {1: [1], 2: [1, 2, 2], 3: [1, 3, 3, 2], 4: [2, 2, 4]}
    return int(rng.choice(choices.get(count, [2, 3, 3])))


def _rectangle(x: float, y: float, width: float, height: float) -> Corners:
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.float64)


def _edged(pixels: Rgb) -> Rgb:
    """Give a picture whose rim is as white as paper a thin line, or nobody could see its end."""
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if np.mean(rim.min(axis=1) > 222) > 0.25:
        pixels[:2] = pixels[-2:] = pixels[:, :2] = pixels[:, -2:] = (96, 96, 100)
    return pixels


def _letter(pixels: Rgb, letter: str, rng: np.random.Generator) -> None:
    """Write a figure's letter into one of its corners, on a white or black square or on none."""
    size = max(9, min(pixels.shape[:2]) // 9)
    side = round(1.5 * size)
    right, low = rng.integers(2, size=2).tolist()
    x, y = (pixels.shape[1] - side) * right, (pixels.shape[0] - side) * low
    plate = rng.uniform()
    if plate < 0.6:
        pixels[y : y + side, x : x + side] = 255 if plate < 0.4 else 0
    colour = (250, 250, 250) if plate >= 0.4 else (10, 10, 10)
    write_line(
        pixels,
        letter,
        (x + size // 3, y + round(1.2 * size)),
        Type("sans", size, bold=True, colour=colour),
    )


def _blob(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the cover of pieces of tissue, 0..1."""
    few = rng.uniform(0, 1, (4, 6)).astype(np.float32)
    field = np.asarray(cv2.resize(few, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].astype(np.float32)
    field -= 0.55 * np.maximum(np.abs(x), np.abs(y)) ** 4
    return np.clip((field - 0.32) * 25, 0, 1)


def _rounded(shape: tuple[int, int], radius: int) -> NDArray[np.uint8]:
    """Return 255 in a rectangle with round corners."""
    alpha = np.zeros(shape, np.uint8)
    height, width = shape
    alpha[radius : height - radius] = 255
    alpha[:, radius : width - radius] = 255
    for x in (radius, width - radius - 1):
        for y in (radius, height - radius - 1):
            cv2.circle(alpha, (x, y), radius, 255, cv2.FILLED)
    return alpha
