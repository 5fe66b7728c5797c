"""Periodic textures that a phantom is painted with, made once per resolution.

Each is a torus of `PERIOD_UM`, so any part of a slide can be cut out of it without seams. Amounts
of stain are bytes, `UNIT` of them to one unit of optical density in green.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from slidemask.data.phantom.nuclei import UNIT, NucleusLayer, NucleusStyle, nucleus_layer

Bytes = NDArray[np.uint8]

PERIOD_UM = 512.0
WALL_UM = 30.0  # height of the epithelium in its strip; glands stretch it

ROUND = NucleusStyle(pitch_um=7.2, length_um=(5.2, 7.2), aspect=(1.0, 1.25), turn=np.pi, jitter=0.3)
SPINDLE = NucleusStyle(pitch_um=15.0, length_um=(11, 18), aspect=(3.0, 4.5), turn=0.25, jitter=0.45)


@dataclass(frozen=True, eq=False)
class Atlas:
    """All textures of one resolution, (P, P) bytes unless said otherwise.

    Parameters
    ----------
    round_nuclei, spindle_nuclei : NucleusLayer
    fibres, strands : bytes
        Eosin of loose collagen and of muscle, both along x.
    fat : bytes
        Eosin of the walls between fat cells; 0 inside them.
    mesh : bytes
        Eosin of loose stroma with gaps, the same in all directions.
    wall : Wall
        Epithelium, (depth, along).
    speckle : (P, P) int8
        Noise of the camera.
    """

    period: int
    round_nuclei: NucleusLayer
    spindle_nuclei: NucleusLayer
    fibres: Bytes
    strands: Bytes
    fat: Bytes
    mesh: Bytes
    wall: "Wall"
    speckle: NDArray[np.int8]


class Wall(NamedTuple):
    """Epithelium unrolled: row = depth from the basement membrane, column = way along it."""

    haematoxylin: Bytes
    eosin: Bytes
    nuclei: NDArray[np.uint16]


@lru_cache(maxsize=2)
def atlas_for(mpp: float) -> Atlas:
    """Make, or recall, the textures for `mpp` micrometres per pixel."""
    period, rng = round(PERIOD_UM / mpp), np.random.default_rng(20240229)
    fibres = np.clip(0.62 * np.abs(_grain(period, mpp, (26, 2.2), rng)) + 0.1, 0, 1.2)
    strands = np.clip(0.5 + 0.13 * _grain(period, mpp, (60, 2.0), rng), 0, 1.2)
    return Atlas(
        period=period,
        round_nuclei=nucleus_layer(ROUND, (period, period), mpp, rng),
        spindle_nuclei=nucleus_layer(SPINDLE, (period, period), mpp, rng),
        fibres=_bytes(fibres * (0.75 + 0.35 * np.tanh(_grain(period, mpp, (18, 18), rng)))),
        strands=_bytes(strands),
        fat=_fat(period, rng),
        mesh=_bytes(_mesh(period, mpp, rng)),
        wall=_wall(period, mpp, rng),
        speckle=np.clip(np.rint(rng.normal(0, 1.6, (period, period))), -6, 6).astype(np.int8),
    )


def _grain(
    period: int, mpp: float, length_um: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return periodic Gaussian noise of unit variance, correlated over (x, y) lengths."""
    spectrum = np.fft.rfft2(rng.normal(size=(period, period)))
    fy, fx = np.fft.fftfreq(period, mpp)[:, None], np.fft.rfftfreq(period, mpp)[None, :]
    spectrum *= np.exp(-2 * ((fx * length_um[0]) ** 2 + (fy * length_um[1]) ** 2))
    grain = np.fft.irfft2(spectrum, (period, period))
    return (grain - grain.mean()) / grain.std()


def _mesh(period: int, mpp: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return strands between gaps a few micrometres wide, and a fine grain on them."""
    ridges = 1.15 - np.abs(_grain(period, mpp, (5.5, 5.5), rng))
    fine = 1 + 0.16 * _grain(period, mpp, (0.8, 0.8), rng)
    return np.clip(0.31 * ridges * fine + 0.06 * _grain(period, mpp, (14, 14), rng), 0, 1.2)


def _fat(period: int, rng: np.random.Generator) -> Bytes:
    """Return thin walls between round cells, where the two nearest centres are equally far."""
    side = round(PERIOD_UM / 52)
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    centres = ((cells + rng.uniform(0.12, 0.88, cells.shape)) * PERIOD_UM / side) % PERIOD_UM
    small = min(period, 1024)
    at = (np.arange(small) + 0.5) * PERIOD_UM / small
    points = np.stack(np.meshgrid(at, at), axis=-1)
    near, _ = KDTree(centres, boxsize=PERIOD_UM).query(points, k=2)
    walls = 0.45 * np.exp(-(((near[..., 1] - near[..., 0]) / 2.4) ** 2))
    return _bytes(cv2.resize(walls, (period, period), interpolation=cv2.INTER_LINEAR))


def _wall(period: int, mpp: float, rng: np.random.Generator) -> Wall:
    """Draw columnar cells: dark basal nuclei, goblets above them, a denser rim at the lumen."""
    rows = round(WALL_UM / mpp)
    depth = ((np.arange(rows) + 0.5) * mpp)[:, None]
    grain = _grain(period, mpp, (1.5, 4.0), rng)[:rows]
    style = NucleusStyle(
        pitch_um=4.7, length_um=(7.5, 10.5), aspect=(1.5, 2.2), turn=0.15, jitter=0.2, upright=True
    )
    band = nucleus_layer(style, (rows, period), mpp, rng, row_um=7.5)
    haematoxylin = 0.20 + 0.035 * grain + 0.08 * np.exp(-depth / 6)
    eosin = 0.27 + 0.03 * grain + 0.16 * np.exp(-(((depth - WALL_UM) / 1.6) ** 2))
    goblets = _goblets(rows, period, mpp, rng)
    haematoxylin = haematoxylin * (1 - 0.72 * goblets)
    eosin = eosin * (1 - 0.85 * goblets)
    nuclei = band.amount.astype(np.float64) / UNIT
    edge = band.numbers > 0
    return Wall(
        _bytes(np.where(edge, np.maximum(haematoxylin, nuclei), haematoxylin)),
        _bytes(np.where(edge, 0.12, eosin)),
        band.numbers,
    )


def _goblets(rows: int, period: int, mpp: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return how much each pixel is mucus vacuole, 0..1, periodic along the wall."""
    y, x = (np.arange(rows) + 0.5) * mpp, (np.arange(period) + 0.5) * mpp
    mucus = np.zeros((rows, period))
    slots = round(PERIOD_UM / 9.5)
    for slot in np.flatnonzero(rng.uniform(size=slots) < 0.72):
        at = (slot + rng.uniform(0.3, 0.7)) * PERIOD_UM / slots
        high, half = rng.uniform(17.5, 21), (rng.uniform(3.6, 5.2), rng.uniform(6, 8.5))
        dx = (x - at + PERIOD_UM / 2) % PERIOD_UM - PERIOD_UM / 2
        near = np.flatnonzero(np.abs(dx) < 8)
        reach = np.hypot(dx[near][None] / half[0], (y[:, None] - high) / half[1])
        mucus[:, near] = np.maximum(mucus[:, near], np.clip((1.0 - reach) * 6 + 0.5, 0, 1))
    return mucus


def _bytes(amount: NDArray[np.floating]) -> Bytes:
    return np.clip(np.rint(amount * UNIT), 0, 255).astype(np.uint8)
