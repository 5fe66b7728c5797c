"""What lies between the glands: lamina propria, muscle, submucosa, fat."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.data.phantom.atlas import Atlas
from slidemask.data.phantom.layout import MUCOSA_END, WAVE_UM, Piece
from slidemask.data.phantom.noise import Field, noise
from slidemask.data.phantom.nuclei import UNIT, NucleusLayer

COARSE = 8  # pixels; the margin and the size of a block are multiples of it
SPINDLES = 100_000  # added to numbers, so that no two layers share one
SUBMUCOSA_BEGIN, MUSCLE_BEGIN = 0.67, 0.86
SOFT = 0.012  # of a piece's extent: how gradually one layer turns into the next


@dataclass(frozen=True, eq=False)
class Patch:
    """The positions of a block's pixels, and the textures to fill it with."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    mpp: float
    atlas: Atlas

    def noise(self, scale_um: float, seed: int) -> Field:
        """Return smooth noise, (H, W).

        Where it is smooth enough it is worked out on a grid of `COARSE` pixels and interpolated;
        the rim where that has no neighbours lies in the block's margin.
        """
        scale = scale_um / self.mpp
        if scale < 6 * COARSE:
            return noise(self.rows + 0.5, self.columns + 0.5, scale, seed)
        middle = COARSE / 2
        few = noise(self.rows[::COARSE] + middle, self.columns[::COARSE] + middle, scale, seed)
        return np.asarray(cv2.resize(few, (len(self.columns), len(self.rows))), np.float32)

    def cut(self, texture: NDArray, seed: int) -> NDArray:
        """Return the part of a periodic texture that lies here, shifted by the seed."""
        period = self.atlas.period
        rows = (self.rows + seed * 7919) % period
        columns = (self.columns + seed * 104_729) % period
        return texture.take(rows, axis=0).take(columns, axis=1)

    def shown(
        self, layer: NucleusLayer, density: NDArray[np.floating] | float, seed: int
    ) -> tuple[Field, NDArray]:
        """Return haematoxylin and numbers of the nuclei that a density lets through."""
        on = self.cut(layer.rank, seed) < np.asarray(density, np.float32) * 255
        amount = self.cut(layer.amount, seed) * on
        return amount.astype(np.float32) / np.float32(UNIT), self.cut(layer.numbers, seed) * on


@dataclass(frozen=True, eq=False)
class Ground:
    """One piece's stroma on one patch."""

    patch: Patch
    piece: Piece

    @cached_property
    def depth(self) -> Field:
        """0 at the mucosal surface, 1 at the muscle, as the layout has it."""
        patch, piece = self.patch, self.piece
        x = (patch.columns + 0.5 - piece.x) * (piece.across[0] / piece.extent / 2)
        y = (patch.rows + 0.5 - piece.y) * (piece.across[1] / piece.extent / 2)
        straight = (0.5 + x[None, :] + y[:, None]).astype(np.float32)
        return np.asarray(straight + 0.16 * patch.noise(WAVE_UM, piece.seed), np.float32)

    @cached_property
    def flow(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Texture coordinates that run along the layers and wave a little."""
        patch, (cx, cy) = self.patch, self.piece.across
        sway = patch.noise(110, self.piece.seed + 5) * np.float32(22 / patch.mpp)
        sway += patch.noise(38, self.piece.seed + 6) * np.float32(5 / patch.mpp)
        x, y = patch.columns[None, :].astype(np.float64), patch.rows[:, None].astype(np.float64)
        along, across = cy * x - cx * y, cx * x + cy * y
        period = patch.atlas.period
        return (
            np.mod(along + sway * 0.5, period).astype(np.float32),
            np.mod(across + sway, period).astype(np.float32),
        )

    def painted(self) -> tuple[Field, Field, NDArray[np.int32]]:
        """Return haematoxylin, eosin and the numbers of nuclei."""
        shape = self.depth.shape
        haematoxylin, eosin = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        numbers = np.zeros(shape, np.int32)
        for weight, layer in self._layers():
            if not weight.any():
                continue
            h, e, nuclei = layer()
            haematoxylin += weight * h
            eosin += weight * e
            numbers = np.where(weight >= 0.5, nuclei, numbers)
        return haematoxylin, eosin, numbers

    def _layers(self):  # noqa: ANN202 - weight and painter of each layer, told by `painted`
        mucosa = 1 - _step(self.depth, MUCOSA_END)
        deep = _step(self.depth, SUBMUCOSA_BEGIN)
        muscle = _step(self.depth, MUSCLE_BEGIN)
        fat = (deep - muscle) * np.clip(
            8 * (self.patch.noise(700, self.piece.seed + 9) - 0.25), 0, 1
        )
        return (
            (mucosa, self._lamina),
            (1 - mucosa - deep + muscle, self._muscle),
            (deep - muscle - fat, self._submucosa),
            (fat, self._fat),
        )

    def _lamina(self) -> tuple[Field, Field, NDArray]:
        patch, seed = self.patch, self.piece.seed
        loose = patch.noise(60, seed + 2)
        density = 0.54 + 0.2 * loose + 0.14 * patch.noise(320, seed + 3)
        h, numbers = patch.shown(patch.atlas.round_nuclei, density, 1)
        mesh = np.float32(0.05) + self._along(patch.atlas.mesh) * np.float32(0.66)
        eosin = mesh + self._along(patch.atlas.fibres) * np.float32(0.1)
        eosin = np.maximum(0, eosin + np.float32(0.06) * loose)
        ground = np.float32(0.2) * mesh
        return np.maximum(h, ground), np.where(numbers > 0, np.float32(0.1), eosin), numbers

    def _submucosa(self) -> tuple[Field, Field, NDArray]:
        h, numbers = self._spindles(0.5)
        eosin = self._along(self.patch.atlas.fibres) * np.float32(0.62)
        return np.maximum(h, np.float32(0.02)), eosin, numbers

    def _muscle(self) -> tuple[Field, Field, NDArray]:
        h, numbers = self._spindles(0.85)
        eosin = self._along(self.patch.atlas.strands) * np.float32(0.85)
        return np.maximum(h, np.float32(0.05)), eosin, numbers

    def _fat(self) -> tuple[Field, Field, NDArray]:
        eosin = self._along(self.patch.atlas.fat)
        return np.zeros_like(eosin), eosin, np.zeros(eosin.shape, np.int32)

    def _spindles(self, density: float) -> tuple[Field, NDArray[np.int32]]:
        layer = self.patch.atlas.spindle_nuclei
        on = self._nearest(layer.rank) < density * 255
        numbers = self._nearest(layer.numbers).astype(np.int32)
        amount = self._nearest(layer.amount).astype(np.float32) / np.float32(UNIT)
        return amount * on, (numbers + SPINDLES) * (on & (numbers > 0))

    def _along(self, texture: NDArray[np.uint8]) -> Field:
        sampled = cv2.remap(texture, *self.flow, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return np.asarray(sampled).astype(np.float32) / np.float32(UNIT)

    def _nearest(self, texture: NDArray) -> NDArray:
        flow = self.flow
        return np.asarray(cv2.remap(texture, *flow, cv2.INTER_NEAREST, borderMode=cv2.BORDER_WRAP))


def _step(depth: Field, at: float) -> Field:
    return np.clip((depth - np.float32(at)) / np.float32(SOFT) + np.float32(0.5), 0, 1)
