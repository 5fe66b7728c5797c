"""Two networks of two resolutions: the coarse one says where the fine one has to look."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from slidemask.base.errors import BundleError
from slidemask.base.settings import Settings
from slidemask.base.stages import Stages
from slidemask.infer.blend import Blend
from slidemask.infer.job import Job
from slidemask.infer.predict import predict
from slidemask.infer.prediction import Prediction
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle
from slidemask.tiles.grid import TileGrid, Tiling, lay_grid
from slidemask.tiles.select import select

log = logging.getLogger(__name__)


class Cascade(Settings):
    """Where the fine network looks.

    Parameters
    ----------
    threshold : float
        At tiles of which any pixel reaches it on the coarse map; foreground classes added up.
    """

    threshold: float = Field(ge=0, le=1)


class CascadeSpec(Settings):
    """The coarse network of a cascade; what is not said is as in the recipe.

    Parameters
    ----------
    factor : float
        How many times coarser its tiles are.
    recall : float
        Share of the object, on the validation slides, that it must leave to the fine network.
    tile_px : int, optional
        Side of its tiles.
    epochs : int, optional
        Length of its training.
    model : ModelSpec, optional
        Its network.
    """

    factor: float = Field(default=8.0, gt=1)
    recall: float = Field(default=0.99, gt=0, le=1)
    tile_px: int | None = Field(default=None, ge=8, le=8192)
    epochs: int | None = Field(default=None, ge=1)
    model: ModelSpec | None = None


def coarser(tiling: Tiling, spec: CascadeSpec) -> Tiling:
    """Return how the coarse network's tiles are cut.

    >>> coarser(Tiling(magnification=20, tile_px=512), CascadeSpec(factor=8, tile_px=256))
    Tiling(tile_px=256, overlap=0.2, mpp=None, magnification=2.5, downsample=None,
    longest_side_px=None, context=None)
    """
    factors = {
        "mpp": spec.factor,
        "magnification": 1 / spec.factor,
        "downsample": spec.factor,
        "longest_side_px": 1 / spec.factor,
    }
    name = next(name for name in factors if getattr(tiling, name) is not None)
    value = getattr(tiling, name) * factors[name]
    changed = {name: max(1, round(value)) if name == "longest_side_px" else value}
    return tiling.model_copy(
        update={**changed, "tile_px": spec.tile_px or tiling.tile_px, "context": None}
    )


def narrow(job: Job, cascade: Cascade | None, to: Path, stages: Stages, *, threads: int = 2) -> Job:
    """Return the job with the tiles alone where its bundle's coarse network finds anything.

    Parameters
    ----------
    job : Job
        As it would be without; one whose bundle has no coarse network stays.
    cascade : Cascade, optional
        Where to look; at a threshold of 0 everywhere.
    to : Path
        Folder of the coarse prediction, resumed like any other.
    stages : Stages
        Receives its seconds as "coarse".
    threads : int
        Reading threads.

    Raises
    ------
    BundleError
        If the bundle has a coarse network but not the threshold for it.
    """
    if job.bundle.coarse is None:
        return job
    if cascade is None:
        raise BundleError(
            f"Bundle {job.bundle.info.name} has a coarse network but no cascade.threshold in "
            "bundle.json; train it anew."
        )
    if cascade.threshold == 0:
        return job
    with stages.stage("coarse"):
        prediction = predict_coarse(job, to, threads=threads)
        found = tile_maxima(whole_map(prediction), prediction.downsample, job.tiles.grid)
    kept = job.tiles.kept & (found >= level_of(cascade.threshold))
    log.info(
        "%s: the coarse network leaves %d of %d tiles", job.slide.id, kept.sum(), len(job.tiles)
    )
    return replace(job, tiles=replace(job.tiles, kept=kept))


def predict_coarse(job: Job, to: Path, *, threads: int = 2) -> Prediction:
    """Predict a job's slide with its bundle's coarse network, on that network's own tiles."""
    coarse = job.bundle.coarse
    assert coarse is not None  # noqa: S101 - callers have looked
    grid = lay_grid(job.slide, coarse.info.tiling)
    tiles = select(job.slide, grid, coarse.info.filters)
    blend = Blend.model_validate(coarse.info.use.get("blend", {}))
    return predict(Job(job.slide, tiles, coarse, blend, job.source), to, Stages(), threads=threads)


def whole_map(prediction: Prediction) -> NDArray[np.uint8]:
    """Return (H, W) foreground probabilities times 255; a coarse map is small enough to hold."""
    bands = [
        np.minimum(band.sum(axis=0, dtype=np.uint16), 255).astype(np.uint8)
        for _, band in prediction.bands()
    ]
    return np.concatenate(bands)


def tile_maxima(found: NDArray[np.uint8], downsample: float, grid: TileGrid) -> NDArray[np.uint8]:
    """Return the largest value that each tile of `grid` has a part in, (rows, columns).

    Parameters
    ----------
    found : (H, W) uint8
        A map of the slide.
    downsample : float
        Level-0 pixels per pixel of the map.
    grid : TileGrid
        Of the same slide, at any resolution.

    Examples
    --------
    >>> from slidemask.geometry.box import Size
    >>> found = np.array([[0, 0, 0], [0, 7, 0], [0, 0, 9]], np.uint8)
    >>> tile_maxima(found, 4.0, TileGrid(Size(12, 12), tile=6, stride=6))
    array([[7, 7],
           [7, 9]], dtype=uint8)
    """
    tops, lefts = (_spans(count, length, grid, downsample) for count, length in _axes(grid, found))
    result = np.zeros(grid.shape, np.uint8)
    for row, (top, bottom) in enumerate(tops):
        columns = found[top:bottom].max(axis=0)
        result[row] = [columns[left:right].max() for left, right in lefts]
    return result


def best_seen(
    maxima: NDArray[np.uint8], grid: TileGrid, shape: tuple[int, int], downsample: float
) -> NDArray[np.uint8]:
    """Return, for each pixel of a map, the largest of `maxima` among the tiles over its centre.

    A threshold up to this value leaves the pixel to the fine network.
    """
    seen = np.zeros(shape, np.uint8)
    for tile in grid:
        top, left = (max(0, int(np.ceil(at / downsample - 0.5))) for at in (tile.box.y, tile.box.x))
        bottom = int(np.ceil((tile.box.y + tile.box.height) / downsample - 0.5))
        right = int(np.ceil((tile.box.x + tile.box.width) / downsample - 0.5))
        part = seen[top:bottom, left:right]
        np.maximum(part, maxima[tile.row, tile.column], out=part)
    return seen


def highest_threshold(counts: NDArray[np.int64], recall: float) -> float:
    """Return the highest threshold that leaves this share of the object to the fine network.

    Parameters
    ----------
    counts : (256,) int64
        Pixels of the object by what `best_seen` says of them.
    recall : float
        Share that must be left; all of it is where there is no object.

    Examples
    --------
    >>> counts = np.zeros(256, np.int64)
    >>> counts[[3, 100, 200]] = 2, 48, 50
    >>> [round(255 * highest_threshold(counts, recall)) for recall in (0.5, 0.6, 0.98, 1.0)]
    [200, 100, 100, 3]
    """
    total = int(counts.sum())
    reached = np.cumsum(counts[::-1])[::-1]
    enough = np.flatnonzero(reached >= recall * total - 1e-9)
    return float(enough[-1] if total else 0) / 255


def level_of(threshold: float) -> int:
    """Return the least uint8 value that reaches a threshold."""
    return int(np.ceil(threshold * 255 - 1e-9))


def without_coarse(bundle: Bundle) -> Bundle:
    """Return the bundle as it is alone."""
    return replace(bundle, coarse=None)


def _axes(grid: TileGrid, found: NDArray[np.uint8]) -> list[tuple[int, int]]:
    return list(zip(grid.shape, found.shape, strict=True))


def _spans(count: int, length: int, grid: TileGrid, downsample: float) -> list[tuple[int, int]]:
    """Return first and last map pixel (half open) that each row or column of tiles touches."""
    step, side = (
        grid.stride * grid.downsample / downsample,
        grid.tile * grid.downsample / downsample,
    )
    starts = [min(int(number * step + 1e-6), length - 1) for number in range(count)]
    ends = [min(int(np.ceil(number * step + side - 1e-6)), length) for number in range(count)]
    return [(start, max(start + 1, end)) for start, end in zip(starts, ends, strict=True)]
