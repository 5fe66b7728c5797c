"""From probabilities to clean labels, in bands: threshold, holes, edges, what is too small."""

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import TypeAlias

import numpy as np
from pydantic import Field, model_validator

from slidemask.base.ahead import ahead
from slidemask.base.errors import SettingsError
from slidemask.base.settings import Settings
from slidemask.base.types import Labels, Quantised
from slidemask.geometry.components import slabs
from slidemask.geometry.squeezed import blank, runs, squeezed_bands, zeros
from slidemask.post.components import Ledger, Runs, Slab, Spots, numbered, present, repainted
from slidemask.post.holes import small_holes
from slidemask.post.shrink import shrinking
from slidemask.post.smooth import smoothed

_BAND_PX = 1 << 23
"""Bands of labels hold no more pixels, as several are held at once."""

LabelBands: TypeAlias = Iterator[tuple[int, Labels]]
"""(top row, (h, W) uint8) over the whole width, top to bottom, without gaps."""


class Post(Settings):
    """What happens to a probability map before it becomes a mask and polygons.

    Holes are filled first, then edges smoothed, then parts shrunk, then small ones dropped.

    Parameters
    ----------
    threshold : float
        A pixel is foreground where its foreground probabilities add up to at least this.
    min_area_um2 : float
        Smaller 4-connected parts of one class become background; 0 keeps all.
    fill_holes_um2 : float
        Smaller holes (8-connected background that does not reach the canvas border) take the
        class around them; 0 keeps all.
    smooth_um, smooth_px : float
        One of them: radius of a disc by which each class is eroded and then dilated, in µm or in
        pixels of the network's input; rounder edges, and what is narrower than the disc goes;
        0 leaves edges as they are.
    shrink : float
        Each 4-connected part of one class is scaled about its centroid by 1 less this.
    simplify_px : float
        How far outlines may leave the pixel edges, in pixels of the network's input; 0 is exact.
    """

    threshold: float = Field(default=0.5, gt=0, le=1)
    min_area_um2: float = Field(default=0.0, ge=0)
    fill_holes_um2: float = Field(default=0.0, ge=0)
    smooth_um: float = Field(default=0.0, ge=0)
    smooth_px: float = Field(default=0.0, ge=0)
    shrink: float = Field(default=0.0, ge=0, lt=1)
    simplify_px: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _one_radius(self) -> "Post":
        if self.smooth_um and self.smooth_px:
            raise ValueError(
                f"give smooth_um or smooth_px, not both; got {self.smooth_um:g} µm "
                f"and {self.smooth_px:g} px"
            )
        return self

    @property
    def micrometres(self) -> dict[str, float]:
        """What is asked for in µm or µm², by name: none of it can be done without a pixel size."""
        names = ("min_area_um2", "fill_holes_um2", "smooth_um")
        return {name: value for name in names if (value := getattr(self, name))}

    def smooth_radius_px(self, um_per_px: float | None) -> float:
        """Radius of the smoothing disc in canvas pixels; 0 for none.

        >>> Post(smooth_um=10).smooth_radius_px(0.5), Post(smooth_px=7).smooth_radius_px(None)
        (20.0, 7.0)
        """
        if self.smooth_um and um_per_px:
            return self.smooth_um / um_per_px
        return self.smooth_px


def labels_of(bands: Iterator[tuple[int, Quantised]], threshold: float) -> LabelBands:
    """Turn foreground probabilities into classes, band by band.

    Parameters
    ----------
    bands : iterator of (top row, (K, h, W) uint8)
        Foreground probabilities times 255.
    threshold : float
        0..1; foreground is where the probabilities add up to at least `threshold` * 255.

    Yields
    ------
    (top row, (h, W) uint8)
        1 + index of the most probable foreground class (the first of equals), 0 elsewhere.

    Examples
    --------
    >>> band = np.array([[[127, 128, 60]], [[0, 0, 70]]], np.uint8)
    >>> [labels.tolist() for _, labels in labels_of(iter([(0, band)]), 0.5)]
    [[[0, 1, 2]]]
    """
    least = math.ceil(threshold * 255 - 1e-9)
    for top, band in bands:
        rows = max(1, _BAND_PX // band.shape[2])
        for first in range(0, band.shape[1], rows):
            yield top + first, _sparse_labels(band[:, first : first + rows], least)


def _sparse_labels(band: Quantised, least: int) -> Labels:
    """Look only at the columns that hold something."""
    held = runs(band)
    if not held:
        return blank(band.shape[1:])
    if held == [slice(0, band.shape[2])]:
        return _labels(band, least)
    labels = zeros(band.shape[1:])
    for columns in held:
        labels[:, columns] = _labels(band[:, :, columns], least)
    return labels


def _labels(band: Quantised, least: int) -> Labels:
    if len(band) == 1:
        return (band[0] >= least).view(np.uint8)
    best, total = band[0].copy(), band[0].astype(np.uint16)
    labels = np.ones(band.shape[1:], np.uint8)
    for index, probability in enumerate(band[1:], start=2):
        better = probability > best
        labels[better] = index
        np.maximum(best, probability, out=best)
        total += probability
    labels[total < least] = 0
    return labels


def clean(
    make_bands: Callable[[], LabelBands], width: int, post: Post, um_per_px: float | None
) -> LabelBands:
    """Fill small holes, smooth, shrink, drop small parts, without ever holding the whole map.

    Memory grows with the number of components (and with the outlines of those that are dropped or
    shrunk), not with the area. The bands are made once if there is nothing to do or only edges are
    smoothed; filling makes them once more, dropping again, and shrinking again; however they are
    cut, the result is the same. Steps run beside each other, a thread each, one band ahead.

    Parameters
    ----------
    make_bands : callable
        Starts the bands of labels from the top again, cut in the same way each time.
    width : int
        Columns of the canvas.
    post : Post
        Which areas and lengths.
    um_per_px : float or None
        Micrometres per canvas pixel; None is allowed if nothing is asked for in µm.

    Returns
    -------
    iterator of (top row, (h, W) uint8)

    Raises
    ------
    SettingsError
        If something is asked for in µm and the pixel size is unknown.
    """
    require_pixel_size(post, um_per_px)
    square_um = um_per_px**2 if um_per_px else 1.0  # not used where it is unknown
    steps = make_bands
    if post.fill_holes_um2:
        hole_px = post.fill_holes_um2 / square_um
        steps = _repainting(_beside(steps), partial(small_holes, width=width, area_px=hole_px))
    if radius := post.smooth_radius_px(um_per_px):
        steps = _smoothing(steps, radius)
    if post.shrink:
        steps = shrinking(steps, width, post.shrink)
    if post.min_area_um2:
        part_px = post.min_area_um2 / square_um
        steps = _repainting(_beside(steps), partial(_small_parts, width=width, area_px=part_px))
    return _beside(steps)() if post.fill_holes_um2 or post.min_area_um2 else steps()


def require_pixel_size(post: Post, um_per_px: float | None) -> None:
    """Make sure that lengths in µm and areas in µm² can be told in pixels.

    Raises
    ------
    SettingsError
        If one is asked for and the pixel size is unknown.
    """
    asked = post.micrometres
    if um_per_px is None and asked:
        told = ", ".join(f"post.{name} = {value:g}" for name, value in asked.items())
        raise SettingsError(
            f"{told}: that is in µm, but the slide has no pixel size. Pass --mpp with its µm per "
            "level-0 pixel, or set to 0 what is in µm."
        )


def _beside(make_bands: Callable[[], LabelBands]) -> Callable[[], LabelBands]:
    """Return what makes the same bands in a thread of their own."""
    return lambda: ahead(make_bands())


def _smoothing(make_bands: Callable[[], LabelBands], radius_px: float) -> Callable[[], LabelBands]:
    """Return what makes bands whose edges are smoothed."""
    return lambda: smoothed(make_bands(), radius_px)


def _repainting(
    make_bands: Callable[[], LabelBands], find: Callable[[LabelBands], Spots]
) -> Callable[[], LabelBands]:
    """Return what makes bands where all is painted over that was found in a pass before."""

    @cache
    def spots() -> Spots:
        return find(make_bands())

    def painted() -> LabelBands:
        yield from repainted(make_bands(), spots())

    return painted


def _small_parts(bands: LabelBands, width: int, area_px: float) -> Spots:
    """Return where the parts of one class below `area_px` are."""
    ledgers: dict[int, Ledger] = {}
    for value, slab in ahead(_parts(bands)):
        if value not in ledgers:
            ledgers[value] = Ledger(width, connectivity=4, below_px=area_px)
        ledgers[value].enter(slab)
    spots: dict[int, list[Runs]] = {}
    for ledger in ledgers.values():
        gone = np.zeros(ledger.count + 1, np.uint8)
        for top, found in ledger.spots(ledger.areas() < area_px, gone).items():
            spots.setdefault(top, []).extend(found)
    return spots


def _parts(bands: LabelBands) -> Iterator[tuple[int, Slab]]:
    """Yield every class, from where it occurs first, with the slabs of its mask."""
    values: set[int] = set()
    for top, _, thin in squeezed_bands(bands):
        for rows in slabs(thin.values.shape):
            labels = thin.values[rows]
            values.update(present(labels))
            for value in values:
                yield value, numbered(labels == value, 4, thin.edges, top=top, row=rows.start)
