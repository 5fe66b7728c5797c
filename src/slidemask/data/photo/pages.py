"""Textbook pages, posters and screens."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.data.photo.sheets import Figure, Sheet, Stock, caption, on_ground, panel
from slidemask.data.photo.typeset import Type, sentence, write_line, write_paragraph


def page(stock: Stock, longest: int, count: int) -> Sheet:
    """Typeset a page of a textbook in one or two columns around its figures."""
    rng = stock.rng
    size = (round(longest * rng.uniform(0.68, 0.8)), longest)
    ground = np.array([rng.uniform(228, 252)] * 3) - (0, *np.sort(rng.uniform(0, 20, 2)))
    face = str(rng.choice(["times", "times", "serif", "sans", "modern"]))
    type_ = Type(face, max(8, round(longest * rng.uniform(0.0105, 0.0145))))
    canvas = _canvas(size, ground)
    margin = round(size[0] * rng.uniform(0.06, 0.11))
    columns = int(rng.choice([1, 2, 2]))
    _header(canvas, margin, type_, rng)
    blocks = _blocks(count, rng)
    figures: list[Figure] = []
    top = 2 * margin
    if blocks and (columns == 1 or sum(blocks) > 2 or rng.uniform() < 0.3):
        width = size[0] - 2 * margin
        top = _figure(
            stock, (margin, top, width, longest - margin), blocks.pop(0), (canvas, type_, figures)
        )
    gutter = margin // 2
    width = (size[0] - 2 * margin - gutter * (columns - 1)) // columns
    shares = [blocks[number::columns] for number in range(columns)]
    for number, share in enumerate(shares):
        left = margin + number * (width + gutter)
        _column(stock, (left, top, width, longest - margin), share, (canvas, type_, figures))
    return Sheet(canvas, tuple(figures))


def poster(stock: Stock, longest: int, count: int) -> Sheet:
    """Set a conference poster: a coloured head, columns of boxes."""
    rng = stock.rng
    size = (longest, round(longest * rng.uniform(0.62, 0.8)))
    if rng.integers(2):
        size = (size[1], size[0])
    canvas = _canvas(size, np.full(3, rng.uniform(225, 253)))
    head, colour = round(size[1] * rng.uniform(0.09, 0.15)), rng.uniform(0, 200, 3)
    canvas[:head] = colour.astype(np.uint8)
    light = (250, 250, 250) if colour.mean() < 120 else (20, 20, 20)
    title = Type("sans", max(12, head // 3), bold=True, colour=light)
    write_line(canvas, sentence(rng, 6), (size[0] // 20, head // 2), title)
    write_line(
        canvas,
        sentence(rng, 9),
        (size[0] // 20, round(head * 0.85)),
        title._replace(size=title.size // 2),
    )
    columns = 3 if size[0] > size[1] else 2
    margin = size[0] // 40
    width = (size[0] - margin * (columns + 1)) // columns
    blocks, figures = _blocks(count, rng), []
    type_ = Type("sans", max(8, longest // 95))
    for number in range(columns):
        box = (margin + number * (width + margin), head + margin, width, size[1] - margin)
        _column(stock, box, blocks[number::columns], (canvas, type_, figures))
    return Sheet(canvas, tuple(figures))


def screen(stock: Stock, longest: int, count: int) -> Sheet:
    """Draw a monitor, tablet or phone with slides in a viewer, a document or a web page."""
    rng = stock.rng
    wide = rng.uniform() < 0.75
    shape = float(rng.choice([0.5625, 0.625, 0.75]))
    size = (longest, round(longest * shape)) if wide else (round(longest * shape), longest)
    dark = bool(rng.integers(2))
    ground = np.full(3, rng.uniform(15, 60) if dark else rng.uniform(225, 255))
    canvas = _canvas(size, ground)
    ink = (215, 215, 215) if dark else (40, 40, 45)
    type_ = Type("sans", max(8, longest // 95), colour=ink)
    bar = 3 * type_.size
    canvas[:bar] = np.clip(ground + rng.uniform(-40, 40), 0, 255).astype(np.uint8)
    write_line(
        canvas, "File Edit View Tools " + sentence(rng, 3), (type_.size, 2 * type_.size), type_
    )
    figures: list[Figure] = []
    side = round(size[0] * rng.uniform(0.12, 0.25)) if wide and rng.uniform() < 0.7 else 0
    if side:
        box = (
            type_.size,
            2 * bar,
            side - 2 * type_.size,
            round(size[1] * rng.uniform(0.4, 0.9)) - 2 * bar,
        )
        write_paragraph(canvas, box, type_, rng)
    _window(stock, (side, bar, size[0] - side, size[1] - bar), count, (canvas, type_, figures))
    return _framed(Sheet(canvas, tuple(figures)), rng)


Target = tuple[NDArray[np.uint8], Type, list[Figure]]


def _window(stock: Stock, box: tuple[int, int, int, int], count: int, target: Target) -> None:
    """Show slides in the main part of a screen, as large as they fit."""
    rng, (canvas, type_, figures) = stock.rng, target
    left, top, width, height = box
    ground = canvas[min(top + 2, canvas.shape[0] - 1), -2].astype(float)
    inner = panel(stock, round(width * rng.uniform(0.55, 0.97)), count, ground)
    room = 0.94 * height - 3 * type_.size
    if inner.size[1] > room:
        inner = panel(stock, max(60, round(inner.size[0] * room / inner.size[1])), count, ground)
    if inner.size[1] > height:  # the grid came out another way
        inner = panel(
            stock,
            max(60, round(inner.size[0] * 0.5 * room / inner.size[1])),
            1 if count else 0,
            ground,
        )
    x = left + int(rng.integers(max(1, width - inner.size[0])))
    y = top + int(rng.integers(max(1, height - inner.size[1])))
    visible = inner.pixels[: canvas.shape[0] - y, : canvas.shape[1] - x]
    if visible.shape != inner.pixels.shape:
        return
    canvas[y : y + inner.size[1], x : x + inner.size[0]] = inner.pixels
    figures += [figure.moved(x, y) for figure in inner.figures]
    below = y + inner.size[1] + 2 * type_.size
    if below < canvas.shape[0]:
        write_line(canvas, caption(rng, inner.size[0], type_), (x, below), type_)


def _framed(inner: Sheet, rng: np.random.Generator) -> Sheet:
    """Put a bezel around a screen."""
    rim = round(max(inner.size) * rng.uniform(0.008, 0.035))
    bottom = round(rim * rng.uniform(1, 3))
    colour = np.full(3, rng.choice([12, 25, 40, 170, 225]))
    sheet = on_ground(inner, (rim, rim, rim, bottom), colour)
    return Sheet(sheet.pixels, sheet.figures, None, (rim, rim, *inner.size))


def _column(
    stock: Stock, box: tuple[int, int, int, int], blocks: Sequence[int], target: Target
) -> None:
    """Fill (left, top, width, bottom) with text and, between paragraphs, the figures."""
    rng, (canvas, type_, _) = stock.rng, target
    left, y, width, bottom = box
    waiting = list(blocks)
    if not waiting and rng.uniform() < 0.3:
        waiting = [0]
    if rng.uniform() < 0.4 and waiting:
        y = _figure(stock, (left, y, width, bottom), waiting.pop(0), target)
    while bottom - y > 4 * type_.size:
        if rng.uniform() < 0.35:
            head = type_._replace(bold=True, size=round(type_.size * rng.uniform(1.1, 1.6)))
            write_line(canvas, sentence(rng, 3), (left, y + round(1.5 * head.size)), head)
            y += 2 * head.size
        height = min(round(rng.uniform(3, 16) * 1.3 * type_.size), bottom - y)
        y = write_paragraph(canvas, (left, y, width, height), type_, rng) + type_.size // 2
        if waiting:
            y = _figure(stock, (left, y, width, bottom), waiting.pop(0), target)


def _figure(stock: Stock, box: tuple[int, int, int, int], count: int, target: Target) -> int:
    """Set a block of slides, or one other picture, with its caption; return the y below."""
    rng, (canvas, type_, figures) = stock.rng, target
    left, top, width, bottom = box
    ground = canvas[top, left].astype(float)
    wide = width if rng.uniform() < 0.6 else round(width * rng.uniform(0.6, 1.0))
    inner = panel(stock, wide, count, ground)
    small = type_._replace(size=max(7, round(type_.size * 0.85)))
    if top + inner.size[1] + 3 * small.size > bottom:
        return top
    x = left + (width - inner.size[0]) // 2
    canvas[top : top + inner.size[1], x : x + inner.size[0]] = inner.pixels
    figures += [figure.moved(x, top) for figure in inner.figures]
    y = top + inner.size[1] + round(rng.uniform(1.1, 1.8) * small.size)
    write_line(canvas, caption(rng, inner.size[0], small), (x, y), small)
    if rng.uniform() < 0.6:
        room = (x, y + small.size // 3, inner.size[0], round(2.8 * small.size))
        y = write_paragraph(canvas, room, small, rng)
    return y + type_.size


def _header(canvas: NDArray[np.uint8], margin: int, type_: Type, rng: np.random.Generator) -> None:
    """Write page number and running title, sometimes with a rule."""
    width = canvas.shape[1]
    write_line(canvas, str(rng.integers(1, 1500)), (margin, margin), type_._replace(bold=True))
    write_line(canvas, sentence(rng, 4), (width // 2, margin), type_)
    if rng.integers(2):
        y = margin + type_.size
        cv2.line(canvas, (margin, y), (width - margin, y), (90, 90, 90), 1)


def _blocks(count: int, rng: np.random.Generator) -> list[int]:
    """Share slides among blocks.

    >>> sum(_blocks(6, np.random.default_rng(1)))
    6
    """
    blocks = []
    while count > 0:
        taken = min(count, int(rng.choice([1, 1, 2, 2, 3, 4, 6])))
        blocks.append(taken)
        count -= taken
    return blocks


def _canvas(size: tuple[int, int], ground: NDArray[np.floating]) -> NDArray[np.uint8]:
    canvas = np.empty((size[1], size[0], 3), np.uint8)
    canvas[:] = ground
    return canvas
