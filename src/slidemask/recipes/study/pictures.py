"""The same object as each row's network sees it, with the truth outlined."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.axes import Axes

from slidemask.base.types import IGNORE, Labels, Rgb
from slidemask.data.case import Case
from slidemask.data.shelf import OpenCase, open_case
from slidemask.geometry.box import Box
from slidemask.post.overlay import overlay
from slidemask.recipes.recipe import Recipe
from slidemask.recipes.study.charts import INK, new_figure, save
from slidemask.recipes.study.row import Row
from slidemask.tiles.grid import lay_grid
from slidemask.tiles.reading import read_tile

COARSE_PX = 3000
"""Longer side of the picture on which an object is looked for."""


class Found(NamedTuple):
    """An object to show: its slide's case and its centre, level-0 pixels."""

    case: Case
    x: float
    y: float


class Panel(NamedTuple):
    """One picture of the figure."""

    title: str
    picture: Rgb


def draw_same_object(rows: Sequence[Row], cases: Sequence[Case], path: Path) -> bool:
    """Draw the tile about one object at each row's resolution, as PNG.

    The object is of middling size, on the slide of `cases` with the most objects.

    Returns
    -------
    bool
        False, and no picture, where no case holds an object.
    """
    found = median_object(cases, rows[0].recipe)
    if found is None:
        return False
    panels: list[Panel] = []
    for row in rows:
        with open_case(found.case, row.recipe.classes) as opened:
            panels += _panels(row, opened, found)
    across = min(4, len(panels))
    down = math.ceil(len(panels) / across)
    figure = new_figure(3.0 * across, 3.35 * down)
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, panel in zip(axes.flat, panels, strict=False):
        _show(axis, panel)
    save(figure, path)
    return True


def median_object(cases: Sequence[Case], recipe: Recipe) -> Found | None:
    """Return an object of middling size, far from the edge, on the case that holds the most."""
    best: tuple[int, Found] | None = None
    for case in cases:
        with open_case(case, recipe.classes) as opened:
            centres = _objects(opened)
        if centres and (best is None or len(centres) > best[0]):
            best = len(centres), Found(case, *_middling(centres, opened))
    return best[1] if best else None


def _middling(centres: list[tuple[float, float]], opened: OpenCase) -> tuple[float, float]:
    """Of the middle third by size, return the one farthest from the slide's edge."""
    width, height = opened.slide.size
    third = len(centres) // 3
    some = centres[third : len(centres) - third]
    return max(some, key=lambda at: min(at[0], at[1], width - at[0], height - at[1]))


def _objects(opened: OpenCase) -> list[tuple[float, float]]:
    """Return the centres of a slide's objects, by size."""
    size = opened.slide.size
    downsample = max(1.0, max(size) / COARSE_PX)
    labels = opened.truth.labels(Box(0, 0, *size), downsample)
    some = ((labels > 0) & (labels != IGNORE)).astype(np.uint8)
    _, _, stats, centres = cv2.connectedComponentsWithStats(some, connectivity=8)
    order = np.argsort(np.asarray(stats)[1:, cv2.CC_STAT_AREA], kind="stable") + 1
    return [tuple((np.asarray(centres)[n] + 0.5) * downsample) for n in order]


def _panels(row: Row, opened: OpenCase, found: Found) -> list[Panel]:
    """Return the tile about the object and, where the network sees it, what lies around."""
    tiling = row.recipe.tiling
    grid = lay_grid(opened.slide, tiling)
    detail = _panel(row, opened, found, grid.downsample)
    if tiling.context is None:
        return [detail]
    around = _panel(row, opened, found, grid.downsample * tiling.context)
    return [detail, around._replace(title=around.title.replace("\n", ", context\n", 1))]


def _panel(row: Row, opened: OpenCase, found: Found, downsample: float) -> Panel:
    tile = row.recipe.tiling.tile_px
    side = tile * downsample
    box = Box(found.x - side / 2, found.y - side / 2, side, side)
    pixels = read_tile(opened.slide, box, downsample)
    labels: Labels = np.where(
        (known := opened.truth.labels(box, downsample)) == IGNORE, 0, known
    ).astype(np.uint8)
    drawn = overlay(pixels, labels, row.recipe.classes, fill=0, line_px=max(1, tile // 170))
    mpp = opened.slide.mpp
    area = f"{(side * mpp / 1000) ** 2:.3g} mm²" if mpp else ""
    return Panel(f"{row.label}\n{area}", drawn)


def _show(axis: Axes, panel: Panel) -> None:
    axis.imshow(panel.picture, interpolation="lanczos")
    axis.set_title(panel.title.strip(), fontsize=9.5, color=INK)
