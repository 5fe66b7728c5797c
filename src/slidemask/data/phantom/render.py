"""Paint any block of a phantom from layout, seed and position alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from slidemask.base.types import Mask, Rgb
from slidemask.data.phantom.atlas import Atlas, atlas_for
from slidemask.data.phantom.glands import GlandPatch, gland_patch
from slidemask.data.phantom.ground import Ground, Patch
from slidemask.data.phantom.layout import HALO_UM, Layout
from slidemask.data.phantom.noise import Field
from slidemask.data.phantom.nuclei import UNIT
from slidemask.data.phantom.stain import Stain, coloured, inked
from slidemask.geometry.box import Box
from slidemask.geometry.raster import rasterise

BLOCK = 512
MARGIN = 8  # pixels around a block that its blur looks at
WALLS = 200_000  # added to the numbers of nuclei in glands
HALO_STEP_UM = 2.0
CACHED_GLANDS = 160


class Stained(NamedTuple):
    """A block and its margin: both stains, where tissue is, and which nucleus a pixel shows."""

    haematoxylin: Field
    eosin: Field
    tissue: Mask
    nuclei: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Painter:
    """Paints blocks of one slide; a block comes out the same whenever and in whatever order.

    Parameters
    ----------
    layout : Layout
    stain : Stain
    seed : int
    dirt : float
        0 = clean glass, 1 = many smears.
    """

    layout: Layout
    stain: Stain
    seed: int
    dirt: float

    def block(self, row: int, column: int) -> Rgb:
        """Return the block's pixels, (BLOCK, BLOCK, 3)."""
        patch, area = self._patch(row, column)
        light = self._light(patch)
        if not any(len(tree.query(area)) for tree in (self._pieces, self._pens)):
            blank = np.zeros((1, 1), np.float32)
            return coloured(self.stain, blank, blank, light)[MARGIN:-MARGIN, MARGIN:-MARGIN].copy()
        stained = self._stained(patch, area)
        pixels = coloured(self.stain, stained.haematoxylin, stained.eosin, light)
        covered = stained.tissue | self._ink(pixels, patch, area)
        pixels = _blurred(pixels, self.layout.mpp)
        speckle = patch.cut(self._atlas.speckle, self.seed % 65_536) * covered
        noisy = np.clip(pixels.astype(np.int16) + speckle[..., None], 0, 255).astype(np.uint8)
        return noisy[MARGIN:-MARGIN, MARGIN:-MARGIN]

    def nuclei(self, row: int, column: int) -> NDArray[np.int32]:
        """Return which nucleus each pixel of a block shows, 0 for none; odd ones are clumped."""
        patch, area = self._patch(row, column)
        return self._stained(patch, area).nuclei[MARGIN:-MARGIN, MARGIN:-MARGIN]

    def _patch(self, row: int, column: int) -> tuple[Patch, shapely.Polygon]:
        around = np.arange(-MARGIN, BLOCK + MARGIN, dtype=np.int64)
        rows, columns = row * BLOCK + around, column * BLOCK + around
        area = shapely.box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        return Patch(rows, columns, self.layout.mpp, self._atlas), area

    def _light(self, patch: Patch) -> Field:
        """Return the glass's brightness: a little uneven, with grey smears."""
        light = 1 + np.float32(0.006) * patch.noise(4000, self.seed + 11)
        if self.dirt > 0:
            smear = patch.noise(900, self.seed + 12) + np.float32(0.25) * patch.noise(
                70, self.seed + 13
            )
            smear = np.clip((smear - np.float32(1 - 0.35 * self.dirt)) * 4, 0, 1)
            light = light * (1 - np.float32(0.12) * smear)
        return light

    def _stained(self, patch: Patch, area: shapely.Polygon) -> Stained:
        shape = (len(patch.rows), len(patch.columns))
        stained = Stained(
            np.zeros(shape, np.float32),
            np.zeros(shape, np.float32),
            np.zeros(shape, bool),
            np.zeros(shape, np.int32),
        )
        for number in self._pieces.query(area, predicate="intersects"):
            piece = self.layout.pieces[number]
            whole = shapely.contains(piece.outline, area)
            inside = np.ones(shape, bool) if whole else rasterise(piece.outline, _box(patch))
            h, e, nuclei = Ground(patch, piece).painted()
            np.copyto(stained.haematoxylin, h, where=inside)
            np.copyto(stained.eosin, e, where=inside)
            np.copyto(stained.nuclei, nuclei, where=inside)
            stained.tissue[inside] = True
        self._lay_clusters(stained, patch, area)
        self._lay_glands(stained, area)
        if stained.tissue.any():
            thickness = 1 + np.float32(0.1) * patch.noise(450, self.seed + 14)
            stained.haematoxylin[:] *= thickness
            stained.eosin[:] *= thickness
        return stained

    def _lay_clusters(self, stained: Stained, patch: Patch, area: shapely.Polygon) -> None:
        """Paint dense round nuclei; around true clusters a pale ring."""
        for number in self._halos.query(area, predicate="intersects"):
            cluster = self.layout.clusters[number]
            if cluster.true:
                ragged = np.float32(0.85) + np.float32(0.35) * patch.noise(60, self.seed + 17)
                pale = np.clip(self._halo(int(number), patch) * ragged, 0, 1) * stained.tissue
                stained.haematoxylin[:] *= 1 - np.float32(0.7) * pale
                stained.eosin[:] *= 1 - np.float32(0.72) * pale
                stained.nuclei[pale > 0.5] = 0
            inside = rasterise(cluster.outline, _box(patch))
            if not inside.any():
                continue
            h, nuclei = patch.shown(self._atlas.round_nuclei, 0.93, 3)
            base = np.float32(0.14) + np.float32(0.05) * patch.noise(40, self.seed + 15)
            np.copyto(stained.haematoxylin, np.maximum(h, base), where=inside)
            np.copyto(stained.eosin, np.where(nuclei > 0, np.float32(0.08), base), where=inside)
            np.copyto(stained.nuclei, nuclei, where=inside, casting="same_kind")

    def _lay_glands(self, stained: Stained, area: shapely.Polygon) -> None:
        left, top = (int(v) for v in area.bounds[:2])
        height, width = stained.tissue.shape
        for number in np.sort(self._gland_tree.query(area)):
            gland = self._gland(int(number))
            rows, columns = gland.inside.shape
            y, x = max(gland.y, top), max(gland.x, left)
            bottom = min(gland.y + rows, top + height)
            right = min(gland.x + columns, left + width)
            if bottom <= y or right <= x:
                continue
            there = np.s_[y - top : bottom - top, x - left : right - left]
            here = np.s_[y - gland.y : bottom - gland.y, x - gland.x : right - gland.x]
            inside = gland.inside[here]
            stays = 1 - gland.paleness[here].astype(np.float32) / 255
            for target, layer in (
                (stained.haematoxylin, gland.haematoxylin),
                (stained.eosin, gland.eosin),
            ):
                own = layer[here].astype(np.float32) / np.float32(UNIT)
                target[there] = np.where(inside, own, target[there] * stays)
            shown = gland.nuclei[here].astype(np.int32)
            shown += WALLS * (shown > 0)
            kept = np.where(stays < 0.5, 0, stained.nuclei[there])
            stained.nuclei[there] = np.where(inside, shown, kept)

    def _ink(self, pixels: Rgb, patch: Patch, area: shapely.Polygon) -> Mask:
        """Draw pen strokes over the pixels; return where."""
        drawn = np.zeros(pixels.shape[:2], bool)
        for number in self._pens.query(area, predicate="intersects"):
            pen = self.layout.pens[number]
            where = rasterise(pen.outline, _box(patch))
            amount = np.float32(0.85) + np.float32(0.3) * patch.noise(160, self.seed + 16)
            inked(pixels, where, pen.ink, amount)
            drawn |= where
        return drawn

    def _halo(self, number: int, patch: Patch) -> Field:
        """Return how pale the ring around a cluster is at each pixel, 0..1."""
        ring, x, y, step = self._ring(number)
        columns = ((patch.columns + 0.5 - x) / step - 0.5).astype(np.float32)
        rows = ((patch.rows + 0.5 - y) / step - 0.5).astype(np.float32)
        maps = np.meshgrid(columns, rows)
        pale = cv2.remap(
            ring, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
        )
        return np.asarray(pale, np.float32)

    @cached_property
    def _ring(self) -> Callable[[int], tuple[Field, float, float, float]]:
        step = HALO_STEP_UM / self.layout.mpp

        @lru_cache(maxsize=64)
        def ring(number: int) -> tuple[Field, float, float, float]:
            outline = self.layout.clusters[number].outline
            reach = 1.3 * HALO_UM / self.layout.mpp
            left, top, right, bottom = outline.bounds
            box = Box(left - reach, top - reach, right - left + 2 * reach, bottom - top + 2 * reach)
            inside = rasterise(outline, box, step)
            away = cv2.distanceTransform((~inside).view(np.uint8), cv2.DIST_L2, 5)
            pale = np.clip((HALO_UM - np.asarray(away) * HALO_STEP_UM) / 18, 0, 1)
            return pale.astype(np.float32), box.x, box.y, step

        return ring

    @cached_property
    def _gland(self) -> Callable[[int], GlandPatch]:
        @lru_cache(maxsize=CACHED_GLANDS)
        def gland(number: int) -> GlandPatch:
            rng = np.random.default_rng([self.seed, 2, number])
            return gland_patch(self.layout.glands[number], self._atlas, self.layout.mpp, rng)

        return gland

    @cached_property
    def _atlas(self) -> Atlas:
        return atlas_for(self.layout.mpp)

    @cached_property
    def _pieces(self) -> shapely.STRtree:
        outlines = [piece.outline for piece in self.layout.pieces]
        shapely.prepare(np.array([*outlines, None], object)[:-1])
        return shapely.STRtree(outlines)

    @cached_property
    def _halos(self) -> shapely.STRtree:
        reach = 1.3 * HALO_UM / self.layout.mpp
        return shapely.STRtree([each.outline.buffer(reach) for each in self.layout.clusters])

    @cached_property
    def _gland_tree(self) -> shapely.STRtree:
        reach = 12 / self.layout.mpp
        bounds = shapely.bounds(self.layout.glands).reshape(-1, 4)
        return shapely.STRtree(shapely.box(*(bounds + np.array([-reach, -reach, reach, reach])).T))

    @cached_property
    def _pens(self) -> shapely.STRtree:
        return shapely.STRtree([pen.outline for pen in self.layout.pens])


def _box(patch: Patch) -> Box:
    return Box(int(patch.columns[0]), int(patch.rows[0]), len(patch.columns), len(patch.rows))


def _blurred(pixels: Rgb, mpp: float) -> Rgb:
    """Blur as a lens and a sensor do: 0.3 µm, or half a pixel at least."""
    sigma = min(1.4, max(0.5, 0.3 / mpp))
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)
