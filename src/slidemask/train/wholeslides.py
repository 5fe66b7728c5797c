"""Validation slides, segmented whole by a network as it stands: what `segment` would give."""

import logging
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from slidemask.base.errors import SettingsError
from slidemask.base.stages import Stages
from slidemask.data.case import Case
from slidemask.data.shelf import OpenCase, Shelf
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.histogram import Histogram, histogram_slide
from slidemask.evaluate.score import score_slide
from slidemask.geometry.box import Size
from slidemask.infer.blend import Blend
from slidemask.infer.predict import Job, predict
from slidemask.infer.prediction import Prediction
from slidemask.io.slide import Slide
from slidemask.models.bundle import Bundle, BundleInfo
from slidemask.models.segmenter import Segmenter
from slidemask.post.clean import LabelBands, Post, clean, labels_of
from slidemask.post.ink import without_ink
from slidemask.tiles.canvas import Canvas
from slidemask.tiles.filters import Filters, keep_tiles
from slidemask.tiles.grid import lay_grid
from slidemask.tiles.select import TileSet, select

T = TypeVar("T")
log = logging.getLogger(__name__)


class WholeSlides:
    """Slides with truth, and how they are segmented.

    One slide's prediction is on disk at a time; truth and tissue are looked up once, and for a
    network that votes which tiles its filters keep.

    Parameters
    ----------
    cases : sequence of Case
        Usually a cohort's validation part.
    info : BundleInfo
        Classes, tiling and filters.
    blend : Blend
        How tiles are joined.
    folder : Path
        For predictions; emptied before and removed after each pass.
    threads : int
        Reading threads.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        info: BundleInfo,
        blend: Blend,
        *,
        folder: Path,
        threads: int = 2,
    ) -> None:
        self._info, self._blend, self._folder = info, blend, folder
        self._threads = max(1, threads)
        self._cases = tuple(cases)
        self._shelf = Shelf(self._cases, info.classes)
        self._tiles: dict[int, TileSet] = {}

    def __len__(self) -> int:
        return len(self._cases)

    def histograms(self, segmenter: Segmenter, device: torch.device) -> list[Histogram]:
        """Segment every slide; count truth against probability, unknown pixels left out.

        The network is left in evaluation mode.
        """
        segmenter.eval()
        bundle = Bundle(self._info, segmenter, "in training", device)
        return list(self._on_each(bundle, self._histogram))

    def cleaned(self, bundle: Bundle, posts: Sequence[Post]) -> list[list[Confusion]]:
        """Segment every slide once, clean it in each way, and count.

        Returns
        -------
        list of list of Confusion
            For each of `posts`, each slide's counts: those of the mask that `segment` would write.

        Raises
        ------
        SettingsError
            If an area is asked for and a slide has no pixel size.
        """

        def count(opened: OpenCase, tiles: TileSet, prediction: Prediction) -> list[Confusion]:
            return [self._confusion(opened, tiles, prediction, post) for post in posts]

        each = list(self._on_each(bundle, count))
        return [list(counts) for counts in zip(*each, strict=True)]

    def require_pixel_sizes(self, posts: Sequence[Post]) -> None:
        """Make sure that lengths in µm can be told in pixels, before days are spent on training.

        Raises
        ------
        SettingsError
            If one is asked for, or an area, and a slide has no pixel size.
        """
        asking = any(post.micrometres for post in posts)
        for number in range(len(self)) if asking else ():
            if self._shelf.get(number).slide.mpp is None:
                raise SettingsError(
                    f"{self._cases[number].slide} has no pixel size, but parts or holes below an "
                    "area in µm² are to be cleaned away on whole slides, or edges smoothed by a "
                    "length in µm. Fill the cohort's `mpp` column, or set post.min_area_um2, "
                    "post.fill_holes_um2, their candidates under `selection` and post.smooth_um "
                    "to 0."
                )

    def close(self) -> None:
        """Close all slides; they are opened again when they are asked for."""
        self._shelf.close()

    def _on_each(
        self, bundle: Bundle, look: Callable[[OpenCase, TileSet, Prediction], T]
    ) -> Generator[T]:
        shutil.rmtree(self._folder, ignore_errors=True)  # of other weights, from a killed run
        try:
            for number in range(len(self)):
                opened = self._shelf.get(number)
                tiles = self._tiles_of(number, opened.slide)
                job = Job(opened.slide, tiles, self._judged(bundle), self._blend)
                place = self._folder / str(number)
                yield look(opened, tiles, predict(job, place, Stages(), threads=self._threads))
                shutil.rmtree(place)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _tiles_of(self, number: int, slide: Slide) -> TileSet:
        if number not in self._tiles:
            grid = lay_grid(slide, self._info.tiling)
            self._tiles[number] = select(slide, grid, self._info.filters)
            if not len(self._tiles[number]):
                log.warning("%s: no tissue was found, so nothing is found on it", slide.id)
            if self._info.model.votes:
                tiles, canvas = self._tiles[number], Canvas(slide, grid)
                kept = tiles.kept & keep_tiles(canvas, self._info.filters)
                self._tiles[number] = replace(tiles, kept=kept)
        return self._tiles[number]

    def _judged(self, bundle: Bundle) -> Bundle:
        """Return the bundle without the rules on pixels, where tiles have been judged by them."""
        if not self._info.model.votes:
            return bundle
        rules = self._info.filters
        on_tissue = Filters(tissue=rules.tissue, min_tissue_share=rules.min_tissue_share)
        return replace(bundle, info=bundle.info.model_copy(update={"filters": on_tissue}))

    def _histogram(self, opened: OpenCase, tiles: TileSet, prediction: Prediction) -> Histogram:
        downsample = prediction.downsample
        bands = without_ink(prediction.bands(), tiles.tissue, downsample)
        return histogram_slide(
            opened.truth, BandRows(bands, prediction.canvas), opened.slide.size,
            downsample=downsample, classes=len(prediction.names),
        )  # fmt: skip

    def _confusion(
        self, opened: OpenCase, tiles: TileSet, prediction: Prediction, post: Post
    ) -> Confusion:
        downsample, mpp = prediction.downsample, opened.slide.mpp

        def labels() -> LabelBands:
            bands = labels_of(prediction.bands(), post.threshold)
            return without_ink(bands, tiles.tissue, downsample)

        bands = clean(labels, prediction.canvas.width, post, mpp and mpp * downsample)
        return score_slide(
            opened.truth, BandRows(bands, prediction.canvas), opened.slide.size,
            downsample=downsample, names=prediction.names,
        )  # fmt: skip


class BandRows:
    """Bands that come from the top down, read by rows from the top down.

    Parameters
    ----------
    bands : iterator of (top row, (..., h, W) uint8)
        Over the whole width, without gaps.
    size : Size
        Of the whole map.

    Examples
    --------
    >>> bands = iter([(0, np.array([[1], [2]], np.uint8)), (2, np.array([[3]], np.uint8))])
    >>> rows = BandRows(bands, Size(1, 3))
    >>> rows.rows(1, 1).ravel().tolist(), rows.rows(1, 2).ravel().tolist()
    ([2], [2, 3])
    """

    names: tuple[str, ...] = ()

    def __init__(self, bands: Iterator[tuple[int, NDArray[np.uint8]]], size: Size) -> None:
        self._bands, self.size = bands, size
        self._held: list[tuple[int, NDArray[np.uint8]]] = []
        self._bottom = 0

    def rows(self, top: int, height: int) -> NDArray[np.uint8]:
        """Return (..., height, W) from row `top` on; no call may ask for rows above the last's.

        Raises
        ------
        ValueError
            If the rows are gone already, or not there.
        """
        self._held = [held for held in self._held if held[0] + held[1].shape[-2] > top]
        while self._bottom < top + height:
            start, band = next(self._bands, (-1, np.empty((0, 0), np.uint8)))
            if start != self._bottom:
                raise ValueError(f"rows {top} to {top + height} of {self.size} are not all there")
            self._bottom += band.shape[-2]
            if self._bottom > top:
                self._held.append((start, band))
        first = self._held[0][0]
        if first > top:
            raise ValueError(f"row {top} has passed, the first that is held is {first}")
        whole = np.concatenate([band for _, band in self._held], axis=-2)
        return whole[..., top - first : top - first + height, :]
