"""Pictures that are no slides: charts, tables, drawings, boxes, flowers, food, photographs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from slidemask.base.types import Rgb
from slidemask.data.photo.textures import cloth, coloured, grain, noise_field
from slidemask.data.photo.typeset import Type, sentence, write_line, write_paragraph
from slidemask.data.photo.views import view_of

Shape = tuple[int, int]
Draw = Callable[[Shape, np.random.Generator], Rgb]


def chart(shape: Shape, rng: np.random.Generator) -> Rgb:
    """Draw bars, lines or points on axes."""
    height, width = shape
    picture = np.full((height, width, 3), 255 if rng.uniform() < 0.7 else 238, np.uint8)
    left, bottom = round(0.14 * width), round(0.86 * height)
    kind, colours = int(rng.integers(3)), rng.integers(20, 230, (4, 3)).tolist()
    series = rng.uniform(0.1, 0.9, (3, int(rng.integers(4, 12))))
    xs = np.linspace(left, 0.95 * width, series.shape[1] + 1)
    thick = max(1, min(shape) // 160)
    for row, values in enumerate(series[: int(rng.integers(1, 4))]):
        ys = bottom - values * (bottom - 0.08 * height)
        if kind == 0:
            step = (xs[1] - xs[0]) / 4
            for x, y in zip(xs[:-1] + row * step, ys, strict=True):
                corner = (int(x + step), bottom)
                cv2.rectangle(picture, (int(x), int(y)), corner, colours[row], cv2.FILLED)
        elif kind == 1:
            points = np.stack([xs[:-1] + 4, ys], axis=1).astype(np.int32)
            cv2.polylines(
                picture,
                [points],
                isClosed=False,
                color=colours[row],
                thickness=2 * thick,
                lineType=cv2.LINE_AA,
            )
        else:
            for x, y in rng.uniform((left, 0.1 * height), (0.95 * width, bottom), (40, 2)):
                cv2.circle(picture, (int(x), int(y)), 2 * thick, colours[row], -1, cv2.LINE_AA)
    axis = [(left, round(0.05 * height)), (left, bottom), (round(0.97 * width), bottom)]
    corners = [np.array(axis, np.int32)]
    cv2.polylines(picture, corners, isClosed=False, color=(20, 20, 20), thickness=thick)
    small = Type("sans", max(7, min(shape) // 22))
    for tick, y in enumerate(np.linspace(bottom, 0.1 * height, 5)):
        write_line(picture, str(20 * tick), (max(1, left - 3 * small.size), int(y)), small)
    write_line(picture, sentence(rng, 3), (left, height - small.size // 2), small)
    return picture


def table(shape: Shape, rng: np.random.Generator) -> Rgb:
    """Set rows of words and numbers under a head, often on a tint."""
    height, width = shape
    picture = np.full((height, width, 3), rng.choice([255, 250, 235]), np.uint8)
    size = max(7, min(15, height // 12))
    columns, step = int(rng.integers(2, 6)), round(1.7 * size)
    head = rng.uniform(120, 245, 3)
    picture[:step] = head.astype(np.uint8)
    face = str(rng.choice(["sans", "times", "serif"]))
    for row, y in enumerate(range(0, height - step + 1, step)):
        if row % 2 and rng.uniform() < 0.7:
            picture[y : y + step] = (0.85 * picture[y : y + step] + 0.15 * head).astype(np.uint8)
        for column in range(columns):
            text = sentence(rng, 2) if column == 0 or row == 0 else f"{rng.uniform(0, 99):.1f}"
            at = (6 + column * width // columns, y + size + 2)
            write_line(picture, text, at, Type(face, size, row == 0))
        cv2.line(picture, (0, y), (width, y), (120, 120, 120), 1)
    return picture


def drawing(shape: Shape, rng: np.random.Generator) -> Rgb:
    """Draw something anatomical: outlines, tints, leader lines, labels."""
    height, width = shape
    picture = np.full((height, width, 3), 254, np.uint8)
    small = Type("sans", max(7, min(shape) // 20))
    tinted = rng.uniform() < 0.6
    for _ in range(int(rng.integers(3, 9))):
        centre = rng.uniform((0.25 * width, 0.2 * height), (0.75 * width, 0.8 * height))
        angles = np.linspace(0, 2 * np.pi, 60)
        radius = rng.uniform(0.06, 0.26) * min(shape)
        wave = np.ones(60)
        for number in (2, 3, 5):
            wave += rng.uniform(0, 0.16) * np.sin(number * angles + rng.uniform(0, 6))
        ring = np.stack([np.cos(angles), rng.uniform(0.5, 1) * np.sin(angles)], 1)
        points = np.asarray(centre + radius * wave[:, None] * ring, np.int32)
        if tinted:
            cv2.fillPoly(picture, [points], rng.integers(120, 255, 3).tolist())
        cv2.polylines(picture, [points], isClosed=True, color=(30, 30, 30), lineType=cv2.LINE_AA)
        if rng.uniform() < 0.7:
            end = (int(rng.uniform(0.02, 0.75) * width), int(rng.uniform(0.05, 0.95) * height))
            cv2.line(
                picture, (int(points[0, 0]), int(points[0, 1])), end, (60, 60, 60), 1, cv2.LINE_AA
            )
            write_line(picture, sentence(rng, 2), end, small)
    return picture


def box(shape: Shape, rng: np.random.Generator) -> Rgb:
    """Draw a tinted box of text, often pink or purple, as books set their summaries."""
    height, width = shape
    tint = rng.uniform((225, 180, 205), (255, 215, 240))
    if rng.uniform() < 0.5:
        tint = rng.uniform(150, 255, 3)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = tint
    size = max(7, min(16, height // 10))
    if rng.uniform() < 0.8:
        pad = size
        write_line(picture, sentence(rng, 3), (pad, pad + size), Type("sans", size + 2, bold=True))
        inner = (pad, pad + 2 * size, width - 2 * pad, height - 3 * pad - size)
        write_paragraph(picture, inner, Type("sans", size), rng)
    return picture


def flowers(shape: Shape, rng: np.random.Generator) -> Rgb:
    """Draw pink and purple petals before a blurred green."""
    values = 0.5 + 0.5 * noise_field(shape, (5, 5), rng)
    picture = coloured(values, rng.uniform(10, 60, 3), rng.uniform((60, 100, 40), (160, 200, 120)))
    for _ in range(int(rng.integers(2, 12))):
        centre = rng.uniform((0, 0), shape[::-1])
        length = rng.uniform(0.08, 0.3) * min(shape)
        colour, petals = rng.uniform((150, 40, 110), (250, 150, 220)), int(rng.integers(5, 14))
        for turn in np.linspace(0, 360, petals, endpoint=False) + rng.uniform(0, 60):
            step = np.array([np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))]) * length * 0.6
            middle = (int(centre[0] + step[0]), int(centre[1] + step[1]))
            axes, shade = (int(length * 0.6), int(length * 0.24)), colour * rng.uniform(0.75, 1.05)
            tone = np.clip(shade, 0, 255).tolist()
            cv2.ellipse(picture, middle, axes, turn, 0, 360, tone, -1, cv2.LINE_AA)
        middle = (int(centre[0]), int(centre[1]))
        cv2.circle(picture, middle, int(length * 0.22), (225, 190, 40), -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 2)), np.uint8)


def gross(shape: Shape, rng: np.random.Generator) -> Rgb:
    """Draw flesh or food: smooth pink to brown lumps that shine, on a cloth or plate."""
    picture = coloured(
        0.5 + 0.3 * noise_field(shape, (3, 3), rng),
        rng.uniform(0, 120, 3),
        rng.uniform(120, 255, 3),
    )
    lumps = noise_field(shape, (rng.uniform(3, 9), rng.uniform(3, 9)), rng)
    fine = noise_field(shape, (40, 40), rng)
    flesh = coloured(
        0.55 + 0.3 * lumps + 0.14 * fine + 0.03 * grain(shape, rng),
        rng.uniform((90, 20, 20), (140, 60, 60)),
        rng.uniform((210, 120, 100), (255, 200, 190)),
    )
    mask = np.zeros(shape, np.uint8)
    middle, axes = (shape[1] // 2, shape[0] // 2), (int(shape[1] * 0.38), int(shape[0] * 0.36))
    cv2.ellipse(mask, middle, axes, float(rng.uniform(-30, 30)), 0, 360, 255, -1)
    picture[(mask > 0) & (lumps + 0.4 * fine > -0.8)] = flesh[
        (mask > 0) & (lumps + 0.4 * fine > -0.8)
    ]
    picture[(lumps > 0.72) & (mask > 0)] = 245
    return picture


def radiograph(shape: Shape, rng: np.random.Generator) -> Rgb:
    """Draw grey shapes on black, as X-rays and scans."""
    values = 0.35 + 0.3 * noise_field(shape, (3, 3), rng) + 0.2 * noise_field(shape, (14, 14), rng)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].astype(np.float32)
    values *= 1.4 * np.exp(-((x / 0.7) ** 4) - (y / 0.8) ** 4)
    return coloured(values + 0.04 * grain(shape, rng), np.zeros(3), np.full(3, 240.0))


def sky(shape: Shape, rng: np.random.Generator) -> Rgb:
    """Draw a landscape: sky, hills, sometimes at sunset in pink and purple."""
    ramp = np.repeat(np.linspace(0, 1, shape[0], dtype=np.float32)[:, None], shape[1], axis=1)
    top, low = rng.uniform((40, 60, 120), (140, 160, 230)), rng.uniform((180, 130, 140), 255)
    picture = coloured(ramp + 0.12 * noise_field(shape, (4, 6), rng), top, low)
    hill = 0.55 + 0.2 * noise_field(shape, (2, 4), rng)[:1]
    ground = coloured(0.5 + 0.4 * noise_field(shape, (20, 30), rng), top * 0.2, top * 0.8)
    below = ramp > hill
    picture[below] = ground[below]
    return picture


DECOYS: Final[dict[str, Draw]] = {
    "chart": chart, "table": table, "drawing": drawing, "box": box, "flowers": flowers,
    "gross": gross, "radiograph": radiograph, "sky": sky, "cloth": cloth,
}  # fmt: skip


def draw_decoy(shape: Shape, rng: np.random.Generator, scenes: Sequence[Path]) -> Rgb:
    """Draw something rectangular that is no slide, or cut it from one of the user's scenes."""
    if scenes and rng.uniform() < 0.3:
        return view_of(scenes[int(rng.integers(len(scenes)))], shape, rng)
    return DECOYS[str(rng.choice(list(DECOYS)))](shape, rng)
