"""Where a slide carries tissue, judged on one small picture of it.

A pixel is tissue where it is both dense and coloured: the score is the geometric mean of the mean
optical density and its spread over red, green and blue. Grey dirt, shadows and coverslip edges are
dense without colour; tinted glass is coloured without density. Otsu's threshold (IEEE Trans. SMC
9:62, 1979) on that score is held within a plausible range, so a field that is all tissue is not
split in two and an empty slide stays empty.
"""

import logging
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from slidemask.base.settings import Settings
from slidemask.base.types import Mask, Rgb
from slidemask.geometry.box import Box
from slidemask.io.slide import Slide
from slidemask.tiles.pens import Ink, inks, strokes

log = logging.getLogger(__name__)

BAND = 256
SMOOTH_UM = 8.0
PEN_FADE_UM = 200.0
PEN_EDGE_UM = 16.0
PEN_SLIVER_UM = 40.0
SCORE_STEPS = 400  # score units of the 8-bit picture that Otsu sees: 0.0025 each
LEAST_COLOUR = 0.2  # of the density; a stain has over 0.4, grey dirt hardly any
DARKEST_GLASS = 180  # a field without glass must not take its palest tissue for glass,
GLASS_TINT = 30  # nor its pink for a tint of the light


class TissueFilter(Settings):
    """How tissue is found.

    Where a slide's pixel size is unknown, a pixel of the small picture counts as `um_per_px`.

    Parameters
    ----------
    um_per_px : float
        Resolution of the small picture; finer where the slide is small.
    shortest_px, longest_px : int
        The picture's longer side has at least `shortest_px` pixels, if the slide has as many, and
        never more than `longest_px`.
    lowest_score, highest_score : float
        Range in which Otsu's threshold is believed.
    min_area_um2, fill_holes_um2 : float
        Smaller specks are removed, smaller holes (lumens) filled.
    margin_um : float
        Tissue is widened by this much.
    pens : bool
        Whether pen marks are removed. Switch it off for stains that are blue, green or brown.
    min_pen_um2 : float
        Smaller patches of ink colour are left alone: they are pigment or blood.
    """

    um_per_px: float = Field(default=8.0, gt=0)
    shortest_px: int = Field(default=2000, ge=1)
    longest_px: int = Field(default=4096, ge=16)
    lowest_score: float = Field(default=0.035, gt=0)
    highest_score: float = Field(default=0.05, gt=0)
    min_area_um2: float = Field(default=4_000, ge=0)
    fill_holes_um2: float = Field(default=50_000, ge=0)
    margin_um: float = Field(default=24.0, ge=0)
    pens: bool = True
    min_pen_um2: float = Field(default=5_000, ge=0)


@dataclass(frozen=True, eq=False)
class TissueMask:
    """A low-resolution mask over a whole slide.

    Parameters
    ----------
    mask : (H, W) bool
        True on tissue.
    downsample : float
        Level-0 pixels per mask pixel.
    ink : (H, W) bool, optional
        True on pen marks; None where none was found or looked for.

    Examples
    --------
    >>> tissue = TissueMask(np.array([[True, False], [True, True]]), downsample=10.0)
    >>> tissue.share(Box(0, 0, 20, 20)), tissue.share(Box(5, 0, 10, 10))
    (0.75, 0.5)
    >>> round(tissue.area_mm2(mpp=0.5), 9)
    7.5e-05
    """

    mask: Mask
    downsample: float
    ink: Mask | None = None

    def share(self, box: Box) -> float:
        """Return the share of `box` that is tissue, of the part of it inside the slide."""
        rows = np.array([box.y, box.y + box.height])
        columns = np.array([box.x, box.x + box.width])
        return float(self.shares(rows, columns)[0, 0])

    def shares(
        self, rows: NDArray[np.floating], columns: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return the tissue share of boxes that rows and columns of edges bound.

        Parameters
        ----------
        rows, columns : (2 * R,), (2 * C,) float64
            First all upper (left) edges, then all lower (right) ones, level-0 pixels.

        Returns
        -------
        (R, C) float64
            Tissue as a share of the box's part inside the slide; 0 where it has none.
        """
        y = np.clip(rows / self.downsample, 0, self.mask.shape[0])
        x = np.clip(columns / self.downsample, 0, self.mask.shape[1])
        sums = _between(_between(self._integral, y).T, x).T
        areas = _halves(y)[:, None] * _halves(x)[None, :]
        inside = _halves(_halves(sums).T).T
        shares = np.divide(inside, areas, out=np.zeros_like(inside), where=areas > 1e-9)
        return np.clip(shares, 0.0, 1.0)

    def area_mm2(self, mpp: float) -> float:
        """Return the tissue's area for `mpp` µm per level-0 pixel."""
        return float(np.count_nonzero(self.mask)) * (self.downsample * mpp / 1000) ** 2

    @cached_property
    def _integral(self) -> NDArray[np.int32]:
        """Return sums over all pixels above and left, one row and column larger than the mask."""
        return np.asarray(cv2.integral(self.mask.view(np.uint8)), np.int32)


def find_tissue(slide: Slide, settings: TissueFilter | None = None) -> TissueMask:
    """Find tissue on a small picture of `slide`; full resolution is never read.

    Returns
    -------
    TissueMask
        Empty for a slide of glass, dirt and pen only.
    """
    settings = settings or TissueFilter()
    downsample = picture_downsample(slide, settings)
    um_per_px = settings.um_per_px if slide.mpp is None else downsample * slide.mpp
    score, found = _features(*_seen(slide, downsample, um_per_px))
    tissue = score > _threshold(score, settings)
    ink = _ink(found, settings, um_per_px) if settings.pens else None
    del score, found  # of a large slide a hundred megabytes, and what follows takes as much
    if ink is not None:
        tissue = _without_pens(tissue, ink, um_per_px)
    mask = _tidy(tissue, settings, um_per_px)
    log.debug("%s: tissue on %.1f %% of the slide", slide.id, 100 * mask.mean())
    return TissueMask(mask, downsample, ink)


def picture_downsample(slide: Slide, settings: TissueFilter) -> float:
    """Return level-0 pixels per pixel of the picture on which tissue is judged."""
    longest = max(slide.size)
    finest = longest / settings.shortest_px
    wanted = finest if slide.mpp is None else min(settings.um_per_px / slide.mpp, finest)
    return max(1.0, wanted, longest / settings.longest_px)


def _seen(slide: Slide, downsample: float, um_per_px: float) -> tuple[Rgb, NDArray[np.float64]]:
    """Return the small picture as tissue is judged on it, and the colour of its glass."""
    picture = _picture(slide, downsample)
    return _smooth(picture, slide.mpp, um_per_px), _glass(picture)


def _picture(slide: Slide, downsample: float) -> Rgb:
    """Read the whole slide by bands, so that only the small picture is held."""
    width, height = slide.size.at(downsample)
    picture = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BAND):
        rows = min(BAND, height - top)
        box = Box(0, top * downsample, width * downsample, rows * downsample)
        picture[top : top + rows] = slide.read(box, downsample)
    return picture


def _smooth(picture: Rgb, mpp: float | None, um_per_px: float) -> Rgb:
    """Blur by a cell's width, so that tissue is judged and not the gaps between its cells."""
    sigma = max(picture.shape[:2]) / 250 if mpp is None else SMOOTH_UM / um_per_px
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), max(0.6, sigma)), np.uint8)


def _features(
    picture: Rgb, white: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], tuple[Ink, ...]]:
    """Return score (8 bit) and three inks of every pixel, band by band."""
    levels = np.log10((np.arange(256, dtype=np.float32)[:, None] + 1) / (white + 1))
    table = np.maximum(0, -levels).astype(np.float32)
    score = np.empty(picture.shape[:2], np.uint8)
    found = tuple(Ink(np.empty(score.shape, bool), np.empty(score.shape, bool)) for _ in range(3))
    for top in range(0, len(picture), BAND):
        band = slice(top, top + BAND)
        # Plane by plane: numpy takes ten times as long along an axis of three.
        red, green, blue = density = [table[picture[band, :, c], c] for c in range(3)]
        most = np.maximum(np.maximum(red, green), blue)
        spread = most - np.minimum(np.minimum(red, green), blue)
        mean = (red + green + blue) / np.float32(3)
        coloured = spread > LEAST_COLOUR * mean
        score[band] = np.minimum(255, SCORE_STEPS * np.sqrt(mean * spread)) * coloured
        for whole, part in zip(found, inks(np.stack(density)), strict=True):
            whole.sure[band], whole.maybe[band] = part
    return score, found


def _glass(picture: Rgb) -> NDArray[np.float64]:
    """Estimate the colour of empty glass: bright, and nearly neutral."""
    step = max(1, round((picture.size / 3e6) ** 0.5))
    bright = np.percentile(picture[::step, ::step].reshape(-1, 3), 99.5, axis=0)
    return np.clip(bright, max(bright.max() - GLASS_TINT, DARKEST_GLASS), 255)


def _threshold(score: NDArray[np.uint8], settings: TissueFilter) -> float:
    otsu, _ = cv2.threshold(score, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    low, high = settings.lowest_score * SCORE_STEPS, settings.highest_score * SCORE_STEPS
    return float(np.clip(otsu, low, high))


def _ink(found: tuple[Ink, ...], settings: TissueFilter, um_per_px: float) -> Mask | None:
    """Return all strokes with their blurred edge, or None where there is none."""
    least, reach = settings.min_pen_um2 / um_per_px**2, round(PEN_FADE_UM / um_per_px)
    ink = strokes(found[0], least, reach)
    for one in found[1:]:  # one after the other, for they are large
        ink |= strokes(one, least, reach)
    return widened(ink, PEN_EDGE_UM / um_per_px) if ink.any() else None


def _without_pens(tissue: Mask, ink: Mask, um_per_px: float) -> Mask:
    """Take ink, and slivers that lie wholly beside it, out of `tissue`."""
    left = tissue & ~ink
    far = left & ~widened(ink, (PEN_SLIVER_UM - PEN_EDGE_UM) / um_per_px)
    count, numbers = cv2.connectedComponents(left.view(np.uint8), connectivity=8)
    parts = np.asarray(numbers, np.int32)
    reaching = np.zeros(count, bool)
    reaching[parts[far]] = True
    return left & reaching[parts]


def _tidy(tissue: Mask, settings: TissueFilter, um_per_px: float) -> Mask:
    """Remove specks, fill holes, widen: in that order, so dust near tissue is not joined to it."""
    px2 = um_per_px**2
    tissue = without_small(tissue, settings.min_area_um2 / px2)
    tissue = ~without_small(~tissue, settings.fill_holes_um2 / px2)
    return widened(tissue, settings.margin_um / um_per_px)


def widened(mask: Mask, margin_px: float) -> Mask:
    """Return everything within `margin_px` of `mask`."""
    if margin_px < 0.5 or not mask.any():
        return mask
    away = np.asarray(cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 5))
    return away <= margin_px


def without_small(mask: Mask, min_area_px: float) -> Mask:
    """Remove 8-connected parts of fewer than `min_area_px` pixels, unless they are everything."""
    if min_area_px <= 1 or mask.all():
        return mask
    _, found, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    large = np.asarray(stats)[:, cv2.CC_STAT_AREA] >= min_area_px
    large[0] = False
    return large[np.asarray(found, np.int32)]


def _between(
    table: NDArray[np.int32] | NDArray[np.float64], at: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Interpolate a table's rows linearly; exact for sums over pixels of constant value."""
    low = np.minimum(at.astype(np.int64), len(table) - 2)
    part = (at - low)[:, None]
    return table[low] * (1 - part) + table[low + 1] * part


def _halves(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the second half of the rows minus the first."""
    half = len(values) // 2
    return values[half:] - values[:half]
