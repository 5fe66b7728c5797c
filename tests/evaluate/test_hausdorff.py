"""Distances between objects against closed forms and rasters."""

import numpy as np
import pytest
import shapely
from scipy import ndimage
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Point, Polygon

from slidemask.evaluate import hausdorff as module
from slidemask.evaluate.hausdorff import Shape, directed, hausdorff, nearest
from slidemask.geometry.box import Box
from slidemask.geometry.raster import rasterise


def disc(x: float, y: float, radius: float) -> Polygon:
    return Point(x, y).buffer(radius, quad_segs=64)


def star(rng: np.random.Generator, x: float, y: float) -> Polygon:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = 20 * (1 + 0.4 * np.sin(3 * angle + rng.uniform(0, 6)) * rng.uniform())
    return Polygon(np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1))


@pytest.mark.parametrize("many", [0, 10**9])  # edges in a tree, or all at once
@pytest.mark.parametrize(
    ("one", "other", "away", "back"),
    [
        (disc(0, 0, 30), disc(50, 0, 10), 70.0, 30.0),  # |c| + r - R either way
        (disc(0, 0, 30), disc(5, 0, 10), 25.0, 0.0),  # what lies inside is not far
        (shapely.box(0, 0, 10, 10), shapely.box(0, 0, 10, 10), 0.0, 0.0),
        # A filled lumen is as far from the ring as its middle.
        (disc(0, 0, 30), disc(0, 0, 30).difference(disc(3, 0, 12)), 12.0, 0.0),
        # A long edge is farthest from a notch of the other at its own middle, no corner of it.
        (
            shapely.box(0, 0, 100, 10),
            MultiPolygon([shapely.box(0, 0, 30, 10), shapely.box(70, 0, 100, 10)]),
            20.0,
            0.0,
        ),
    ],
)
def test_closed_forms(
    monkeypatch: pytest.MonkeyPatch,
    many: int,
    one: Polygon,
    other: Polygon,
    away: float,
    back: float,
):
    monkeypatch.setattr(module, "_MANY", many)
    error = one.length / 512 + 1e-3
    assert directed(Shape(one), Shape(other)) == pytest.approx(away, abs=error)
    assert directed(Shape(other), Shape(one)) == pytest.approx(back, abs=error)


@pytest.mark.parametrize("seed", range(6))
def test_pixels_say_the_same(seed: int):
    rng = np.random.default_rng(seed)
    shapes = [star(rng, *rng.uniform(40, 80, 2)) for _ in range(2)]
    fine = 0.25
    masks = [rasterise(shape, Box(0, 0, 120, 120), fine) for shape in shapes]
    away = [np.asarray(ndimage.distance_transform_edt(~mask)) for mask in masks]
    wanted = fine * max(away[1][masks[0]].max(), away[0][masks[1]].max())
    assert hausdorff(*map(Shape, shapes)) == pytest.approx(wanted, abs=0.6)


@pytest.mark.parametrize("seed", range(4))
def test_the_nearest_of_many_is_found_without_measuring_all(seed: int):
    rng = np.random.default_rng(seed)
    many = [Shape(star(rng, *rng.uniform(0, 600, 2))) for _ in range(60)]
    one = Shape(translate(star(rng, 0, 0), 300, 300))
    measured: list[int] = []

    def at(index: int) -> Shape:
        measured.append(index)
        return many[index]

    bounds = np.array([shape.bounds for shape in many])
    assert nearest(one, bounds, at) == min(hausdorff(one, shape) for shape in many)
    assert len(measured) < 30
