"""What stands where on a phantom: drawn once per slide, before any pixel."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from slidemask.data.phantom.noise import noise_at
from slidemask.data.phantom.settings import CLUSTER, GLAND, PEN, TISSUE, PhantomSettings
from slidemask.data.phantom.shapes import blob, gridded, placed, stroke
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.box import Size

WAVE_UM = 700.0  # how far apart the bends of the layers are
WHOLE = 0.97  # from this share on, one piece fills the slide
MUCOSA_END = 0.63  # depth at which glands and their stroma end
HALO_UM = 90.0
INKS = ("blue", "green", "red", "black")


class Piece(NamedTuple):
    """One piece of tissue; `depth` runs from 0 at the mucosal surface to 1 at the muscle."""

    outline: Polygon
    x: float
    y: float
    across: tuple[float, float]
    extent: float
    seed: int


class Cluster(NamedTuple):
    """A lymphoid cluster, or a decoy, which has no halo and is no ground truth."""

    outline: Polygon
    true: bool


class Pen(NamedTuple):
    """A stroke and the colour of its ink."""

    outline: Polygon
    ink: str


@dataclass(frozen=True, eq=False)
class Layout:
    """All objects of one slide, in level-0 pixels."""

    size: Size
    mpp: float
    pieces: tuple[Piece, ...]
    glands: NDArray[np.object_]
    clusters: tuple[Cluster, ...]
    pens: tuple[Pen, ...]

    @cached_property
    def annotations(self) -> Annotations:
        """The ground truth; a later polygon lies on top of an earlier one."""
        groups = {
            TISSUE: [piece.outline for piece in self.pieces],
            CLUSTER: [cluster.outline for cluster in self.clusters if cluster.true],
            GLAND: list(self.glands),
            PEN: [pen.outline for pen in self.pens],
        }
        polygons = [polygon for group in groups.values() for polygon in group]
        labels = [name for name, group in groups.items() for _ in group]
        return Annotations.of(polygons, labels)


def lay_out(settings: PhantomSettings, seed: int) -> Layout:
    """Draw a slide's objects; equal settings and seed give equal objects."""
    rng = np.random.default_rng([seed, 0])
    size = Size(settings.width_px, settings.height_px)
    pieces = tuple(_pieces(settings, rng))
    clusters = tuple(_clusters(settings, pieces, rng))
    glands = _glands(settings, pieces, clusters, rng)
    pens = tuple(_pens(settings, rng))
    return Layout(size, settings.mpp, pieces, glands, clusters, pens)


def depth_at(piece: Piece, x: NDArray, y: NDArray, mpp: float) -> NDArray:
    """Return the depth of points in a piece: 0 at the mucosal surface, 1 at the muscle."""
    along = ((x - piece.x) * piece.across[0] + (y - piece.y) * piece.across[1]) / piece.extent
    return 0.5 + 0.5 * along + 0.16 * noise_at(x, y, WAVE_UM / mpp, piece.seed)


def _pieces(settings: PhantomSettings, rng: np.random.Generator) -> list[Piece]:
    width, height, share = settings.width_px, settings.height_px, settings.tissue_share
    if share <= 0:
        return []
    if share >= WHOLE:
        return [_piece(shapely.box(0, 0, width, height), rng)]
    piece_px = np.pi / 4 * (settings.piece_mm * 1000 / settings.mpp) ** 2
    wanted = max(1, round(width * height * share / piece_px))
    columns = max(1, min(wanted, round((wanted * width / height) ** 0.5)))
    rows = -(-wanted // columns)
    cells = rng.permutation(rows * columns)[:wanted]
    area, cell = width * height * share / wanted, (width / columns, height / rows)
    pieces = []
    for row, column in sorted(divmod(int(number), columns) for number in cells):
        outline = _outline(area, cell, settings.mpp, rng)
        outline = shapely.transform(outline, lambda p, o=(column, row): p + np.array(o) * cell)
        if not outline.is_empty:
            pieces.append(_piece(gridded(outline), rng))
    return pieces


def _outline(
    area: float, cell: tuple[float, float], mpp: float, rng: np.random.Generator
) -> Polygon:
    """Return a torn-looking outline of about `area` that stays inside one cell."""
    radius = (area / np.pi) ** 0.5
    corners = int(np.clip(2 * np.pi * radius * mpp / 8, 40, 4000))
    aspect = float(np.clip(cell[0] / cell[1] * rng.uniform(0.7, 1.5), 0.4, 2.5))
    angle = rng.normal(0, 0.25)
    inside = shapely.box(0, 0, *cell).buffer(-0.02 * min(cell), join_style="mitre")
    drawn = []
    for factor in (1.0, 1.0, 1.0, 1.0, 1.08, 1.16, 1.26, 1.4):
        shape = blob(rng, radius * factor, roughness=0.16, corners=corners, aspect=aspect)
        drawn.append(placed(shape, angle, cell[0] / 2, cell[1] / 2).intersection(inside))
        if drawn[-1].area >= 0.97 * area:
            break
    grown = min(drawn, key=lambda each: abs(each.area - area))
    return gridded(grown)


def _piece(outline: Polygon, rng: np.random.Generator) -> Piece:
    left, top, right, bottom = outline.bounds
    x, y, angle = (left + right) / 2, (top + bottom) / 2, rng.uniform(0, 2 * np.pi)
    across = (float(np.cos(angle)), float(np.sin(angle)))
    corners = shapely.get_coordinates(outline) - (x, y)
    extent = float(np.abs(corners @ across).max())
    return Piece(outline, x, y, across, extent, int(rng.integers(2**31)))


def _clusters(
    settings: PhantomSettings, pieces: tuple[Piece, ...], rng: np.random.Generator
) -> list[Cluster]:
    """Scatter clusters and decoys over the tissue, none near another."""
    mpp, found, taken = settings.mpp, [], []
    per_cm2 = settings.clusters_per_cm2 + settings.decoys_per_cm2
    for piece in pieces:
        room = piece.outline.buffer(-HALO_UM / mpp)
        count = rng.poisson(piece.outline.area * mpp**2 / 1e8 * per_cm2)
        for _ in range(count if not room.is_empty else 0):
            radius = (settings.cluster_mm2 * 1e6 / np.pi) ** 0.5 / mpp * rng.uniform(0.6, 1.3)
            shape = blob(rng, radius, roughness=0.12, corners=120, aspect=rng.uniform(1, 1.6))
            left, top, right, bottom = room.bounds
            at = rng.uniform((left, top), (right, bottom))
            outline = placed(shape, rng.uniform(0, np.pi), *at)
            true = rng.uniform() * per_cm2 < settings.clusters_per_cm2
            around = outline.buffer(1.6 * HALO_UM / mpp)
            if room.contains(outline) and not any(around.intersects(other) for other in taken):
                taken.append(around)
                found.append(Cluster(outline, true))
    return found


def _glands(
    settings: PhantomSettings,
    pieces: tuple[Piece, ...],
    clusters: tuple[Cluster, ...],
    rng: np.random.Generator,
) -> NDArray[np.object_]:
    """Fill the mucosa with glands: round ones and, where the cut runs along them, long ones."""
    gap = HALO_UM / settings.mpp
    taken = shapely.STRtree([cluster.outline.buffer(gap) for cluster in clusters])
    kept = [np.empty(0, object)]
    for piece in pieces:
        glands = np.array([*_piece_glands(settings, piece, rng), None], object)[:-1]
        room = piece.outline.buffer(-12 / settings.mpp)
        shapely.prepare(room)
        glands = glands[shapely.contains(room, glands)]
        glands = np.delete(glands, np.unique(taken.query(glands, predicate="intersects")[0]))
        kept.append(_apart(glands, 3 / settings.mpp))
    return np.concatenate(kept)


def _piece_glands(
    settings: PhantomSettings, piece: Piece, rng: np.random.Generator
) -> list[Polygon]:
    mpp, along = settings.mpp, float(np.arctan2(piece.across[1], piece.across[0]))
    glands = []
    for long in (True, False):
        pitch = settings.gland_um / mpp * np.array([3.5, 1.02] if long else [1.22, 1.12])
        x, y = _lattice(piece, pitch, along, rng)
        depth = depth_at(piece, x, y, mpp)
        runs = noise_at(x, y, 1500 / mpp, piece.seed + 1) > 0.25
        tip = settings.gland_um / mpp / piece.extent if long else 0.0
        there = (depth < MUCOSA_END - 0.03 - tip) & (runs == long)
        for px, py in zip(x[there], y[there], strict=True):
            glands.append(_gland(settings.gland_um / mpp, (px, py), along, long=long, rng=rng))
    return glands


def _gland(
    diameter: float,
    at: tuple[float, float],
    along: float,
    *,
    long: bool,
    rng: np.random.Generator,
) -> Polygon:
    """Return a round outline, or a long one with round ends that points along the depth."""
    radius = diameter / 2 * np.clip(rng.normal(1.0, 0.12), 0.6, 1.4)
    aspect = 1.0 if long else rng.uniform(1.0, 1.28)
    shape = blob(rng, radius * (0.82 if long else 1), roughness=0.07, corners=72, aspect=aspect)
    if long:
        shape[:, 0] += rng.uniform(0.7, 1.4) * diameter * np.clip(2 * shape[:, 0] / radius, -1, 1)
    angle = along + rng.normal(0, 0.08) if long else rng.uniform(0, np.pi)
    return placed(shape, float(angle), *at)


def _lattice(
    piece: Piece, pitch: NDArray[np.float64], angle: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return jittered points, every second row shifted by half, turned by `angle`."""
    left, top, right, bottom = piece.outline.bounds
    reach = np.hypot(right - left, bottom - top) / 2
    u, v = (np.arange(-reach, reach + step, step) for step in pitch)
    points = np.stack(np.meshgrid(u, v), axis=-1)
    points[1::2, :, 0] += pitch[0] / 2
    points += rng.normal(0, 0.05, points.shape) * pitch
    points = points.reshape(-1, 2)
    x = piece.x + points[:, 0] * np.cos(angle) - points[:, 1] * np.sin(angle)
    y = piece.y + points[:, 0] * np.sin(angle) + points[:, 1] * np.cos(angle)
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    return x[inside], y[inside]


def _apart(glands: NDArray[np.object_], gap: float) -> NDArray[np.object_]:
    """Drop every gland that comes nearer than `gap` to an earlier one that stays."""
    if not len(glands):
        return glands
    first, second = shapely.STRtree(glands).query(glands, predicate="dwithin", distance=gap)
    later = second > first
    gone = np.zeros(len(glands), bool)
    for one, other in sorted(zip(first[later].tolist(), second[later].tolist(), strict=True)):
        if not gone[one]:
            gone[other] = True
    return glands[~gone]


def _pens(settings: PhantomSettings, rng: np.random.Generator) -> list[Pen]:
    width, height = settings.width_px, settings.height_px
    shorter = min(width, height)
    pens = []
    first = int(rng.integers(len(INKS)))
    for number in range(settings.pens):
        start = (rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height)
        breadth = min(rng.uniform(350, 700) / settings.mpp, shorter / 12)
        drawn = stroke(rng, start, length=min(7000 / settings.mpp, shorter), width=breadth)
        drawn = gridded(drawn.intersection(shapely.box(0, 0, width, height)))
        if not drawn.is_empty:
            pens.append(Pen(drawn, INKS[(first + number) % len(INKS)]))
    return pens
