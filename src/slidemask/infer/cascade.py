"""Two networks of two resolutions: the coarse one says where the fine one has to look."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from slidemask.base.errors import BundleError
from slidemask.base.files import output_folder
from slidemask.base.settings import Settings
from slidemask.base.stages import Stages
from slidemask.base.types import Quantised
from slidemask.geometry.box import Size
from slidemask.infer.blend import Blend
from slidemask.infer.equip import equip
from slidemask.infer.job import Job
from slidemask.infer.predict import predict
from slidemask.infer.prediction import Prediction
from slidemask.infer.store import BandStore
from slidemask.infer.unread import TolerantSlide, read_notes
from slidemask.models.backends import Name
from slidemask.models.spec import ModelSpec
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import TileGrid, Tiling, lay_grid
from slidemask.tiles.select import TileSet

UNREAD = "unread.jsonl"
COARSE_NUMBERS = "fp32"
"""What a coarse network is computed in, unless its bundle says otherwise."""
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
        Share of every class that it must leave to the fine network: of its pixels on the
        validation slides, and, with `confidence`, of all objects like those that they show.
    confidence : float
        How sure that must be; 0: what the validation slides show is taken as it is.
    tile_px : int, optional
        Side of its tiles.
    epochs : int, optional
        Length of its training.
    model : ModelSpec, optional
        Its network.
    """

    factor: float = Field(default=8.0, gt=1)
    recall: float = Field(default=0.99, gt=0, le=1)
    confidence: float = Field(default=0.95, ge=0, lt=1)
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


def narrow(
    job: Job,
    cascade: Cascade | None,
    to: Path,
    stages: Stages,
    *,
    backend: Name = "torch",
    threads: int = 2,
) -> Job:
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
    backend : str
        What computes the coarse network, too, as `equip` takes it.
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
        found = find_coarsely(job, to, backend=backend, threads=threads)
    kept = job.tiles.kept & (found >= level_of(cascade.threshold))
    log.info(
        "%s: the coarse network leaves %d of %d tiles", job.slide.id, kept.sum(), len(job.tiles)
    )
    return replace(job, tiles=replace(job.tiles, kept=kept))


def find_coarsely(
    job: Job, to: Path, *, backend: Name = "torch", threads: int = 2
) -> NDArray[np.uint8]:
    """Return the most that the coarse network finds in each tile of the job, (rows, columns).

    Probabilities times 255, all foreground classes together. Tiles over a place that it could not
    read (`TolerantSlide`) have 255: there only the fine network can say.
    """
    prediction = predict_coarse(job, to, backend=backend, threads=threads)
    grid = job.tiles.grid
    found = tile_maxima(prediction.bands(), prediction.canvas, prediction.downsample, grid)
    unread = read_notes(to / UNREAD)
    if unread:
        coarse = coarse_tiles(job)
        lost = np.zeros(coarse.grid.shape, bool)
        lost.flat[list(unread)] = True
        found[touching(grid, coarse.grid, lost)] = 255
    return found


def predict_coarse(job: Job, to: Path, *, backend: Name = "torch", threads: int = 2) -> Prediction:
    """Predict a job's slide with its bundle's coarse network, on `coarse_tiles`."""
    return predict(_equipped(job, to, backend), to, Stages(), threads=threads)


def is_found(job: Job, to: Path) -> bool:
    """Whether a job has a coarse prediction and all of it is in a folder."""
    if job.bundle.coarse is None or not (to / "job.json").exists():
        return False
    coarse = _equipped(job, to, "auto")  # as it was begun
    canvas = coarse.tiles.grid.canvas
    shape = (len(coarse.bundle.info.classes.names) - 1, canvas.height, canvas.width)
    return BandStore(to, coarse.identity, shape).complete


def _equipped(job: Job, to: Path, backend: Name) -> Job:
    """Return what the coarse network is to do, and computed by what.

    The same rules hold as for the fine network: "auto" asks whether a backend agrees on tiles of
    this slide, and what was begun goes on as it was. A graph in 8 bits is of the fine network
    alone; where it is asked for, "auto" chooses for this one.
    """
    return equip(_coarse_job(job, to), "auto" if backend == "int8" else backend, [to])


def _coarse_job(job: Job, to: Path) -> Job:
    coarse, slide = job.bundle.coarse, job.slide
    assert coarse is not None  # noqa: S101 - callers have looked
    # A threshold may lie a few steps of 255 above nothing, where bfloat16 makes another mask.
    blend = Blend.model_validate(coarse.info.use.get("blend", {}))
    if blend.precision == "auto":
        blend = blend.model_copy(update={"precision": COARSE_NUMBERS})
    all_of_them = coarse.info.model_copy(update={"filters": Filters(tissue=None)})
    if isinstance(slide, TolerantSlide):
        slide = slide.noting(output_folder(to) / UNREAD)
    return Job(slide, coarse_tiles(job), replace(coarse, info=all_of_them), blend, job.source)


def coarse_tiles(job: Job) -> TileSet:
    """Return the coarse network's tiles: all that touch a tile of the job.

    Rules on tissue and pixels are not asked again. A coarse tile is large, and a small piece of
    tissue that fills a fine tile may be next to nothing of it.
    """
    assert job.bundle.coarse is not None  # noqa: S101 - callers have looked
    grid = lay_grid(job.slide, job.bundle.coarse.info.tiling)
    kept = touching(grid, job.tiles.grid, job.tiles.kept)
    return TileSet(grid, kept, tissue=job.tiles.tissue)


def touching(grid: TileGrid, other: TileGrid, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which tiles of `grid` have area in common with `kept` tiles of another grid.

    Examples
    --------
    >>> coarse, fine = TileGrid(Size(8, 4), 4, 4), TileGrid(Size(8, 4), 2, 2)
    >>> touching(coarse, fine, np.array([[0, 0, 0, 0], [0, 0, 0, 1]], bool))
    array([[False,  True]])
    """
    across = [_neighbours(count, grid, other) for count in grid.shape]
    rows = np.array([kept[first:last].any(axis=0) for first, last in across[0]])
    return np.array([rows[:, first:last].any(axis=1) for first, last in across[1]]).T


def tile_maxima(
    bands: Iterable[tuple[int, Quantised]], canvas: Size, downsample: float, grid: TileGrid
) -> NDArray[np.uint8]:
    """Return the largest value that each tile of `grid` has a part in, (rows, columns).

    Parameters
    ----------
    bands : iterable of (top row, (K, rows, width) uint8)
        A map of the slide; its classes are added up.
    canvas : Size
        Of the map.
    downsample : float
        Level-0 pixels per pixel of the map.
    grid : TileGrid
        Of the same slide, at any resolution.

    Examples
    --------
    >>> found = np.array([[[0, 0, 0], [0, 7, 0], [0, 0, 9]]], np.uint8)
    >>> grid = TileGrid(Size(12, 12), tile=6, stride=6)
    >>> tile_maxima([(0, found)], Size(3, 3), 4.0, grid)
    array([[7, 7],
           [7, 9]], dtype=uint8)
    """
    rows, columns = grid.shape
    tops = _spans(rows, canvas.height, grid, downsample)
    lefts = _spans(columns, canvas.width, grid, downsample)
    result = np.zeros(grid.shape, np.uint8)
    for start, band in bands:
        found = np.minimum(band.sum(axis=0, dtype=np.uint16), 255).astype(np.uint8)
        for row, (top, bottom) in enumerate(tops):
            part = found[max(0, top - start) : max(0, bottom - start)]
            if len(part):
                most = part.max(axis=0)
                in_tiles = [most[left:right].max() for left, right in lefts]
                np.maximum(result[row], in_tiles, out=result[row])
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


def _neighbours(count: int, grid: TileGrid, other: TileGrid) -> list[tuple[int, int]]:
    """Return first and last (half open) row or column of `other` that touches each of `grid`'s."""
    step, side = grid.stride * grid.downsample, grid.tile * grid.downsample
    their_step, their_side = other.stride * other.downsample, other.tile * other.downsample
    starts = np.arange(count) * step
    first = np.floor((starts - their_side) / their_step + 1e-9).astype(int) + 1
    last = np.ceil((starts + side) / their_step - 1e-9).astype(int)
    return list(zip(np.maximum(first, 0).tolist(), last.tolist(), strict=True))


def _spans(count: int, length: int, grid: TileGrid, downsample: float) -> list[tuple[int, int]]:
    """Return first and last map pixel (half open) that each row or column of tiles touches."""
    step, side = (
        grid.stride * grid.downsample / downsample,
        grid.tile * grid.downsample / downsample,
    )
    starts = [min(int(number * step + 1e-6), length - 1) for number in range(count)]
    ends = [min(int(np.ceil(number * step + side - 1e-6)), length) for number in range(count)]
    return [(start, max(start + 1, end)) for start, end in zip(starts, ends, strict=True)]
