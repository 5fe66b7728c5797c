"""What a segmentation would do and cost, before any network runs."""

import copy
import math
import statistics
import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from slidemask.base.record import peak_memory_mb
from slidemask.infer.blend import Blend
from slidemask.infer.cascade import coarse_tiles
from slidemask.infer.job import Job
from slidemask.infer.shared import BAND_ROWS, MOST_NUMBERS, how
from slidemask.io.cache import HELD_BYTES
from slidemask.io.slide import Slide
from slidemask.models.bundle import Bundle, without_weights
from slidemask.models.devices import Device
from slidemask.models.segmenter import Segmenter
from slidemask.recipes.segment import Use, use_of
from slidemask.tiles.grid import TileGrid, lay_grid
from slidemask.tiles.select import TileSet, select

LIVE_OUTPUTS = 5
"""Tensors as large as the network's largest that are alive together: inputs, outputs, skips
(measured: 4.4 for U-Net over MobileNetV2)."""
LIVE_BANDS = 3
"""Bands of features as wide as the canvas that are alive together, where tiles share their work."""
AFTERWARDS_MB = 130
"""What libraries for outlines and pictures and the readers' threads take (measured on Linux)."""
REST_S, REST_S_PER_MEGAPIXEL = 3.0, 0.1
"""Tissue, preview; and what goes over the whole canvas: cleaning, writing, vectorising."""


class Cost(NamedTuple):
    """What one tile asks of the machine."""

    operations: float
    moved: float
    """Bytes that layers read and write."""
    largest: float
    """Bytes of the largest output."""


@dataclass(frozen=True)
class Plan:
    """A segmentation, as it would be run.

    Parameters
    ----------
    tiles : TileSet
        Grid and the tiles with tissue; rules on pixels, which nobody has read, may drop some yet.
    level : int
        Stored level that is read.
    level_downsample : float
        Level-0 pixels per pixel of that level.
    seconds : float
        Expected time. The network's is that of its multiplications, at this machine's speed in a
        3 x 3 convolution, and of the bytes between its layers, at the speed of a layer that
        does hardly anything else; both speeds are measured in half a second.
    memory_mb : float
        Expected peak memory: what this process has now, and what a run will add.
    gigaflop_per_tile : float
        Floating point operations of one tile, times 10**-9; of networks that vote what is left of
        them when tiles that overlap share their work.
    looked_at : int, optional
        Of a cascade: how many of the tiles its coarse network is expected to leave, by the share
        that it left on the validation slides. None where there is no telling: all are counted.
    """

    tiles: TileSet
    level: int
    level_downsample: float
    seconds: float
    memory_mb: float
    gigaflop_per_tile: float
    looked_at: int | None = None

    def as_dict(self) -> dict[str, object]:
        """Return plain values for printing."""
        grid = self.tiles.grid
        return {
            "grid": {"rows": grid.shape[0], "columns": grid.shape[1], "tiles": len(grid)},
            "tile_px": grid.tile,
            "stride_px": grid.stride,
            "downsample": grid.downsample,
            "context": grid.context,
            "canvas": grid.canvas._asdict(),
            "level_read": self.level,
            "level_downsample": self.level_downsample,
            "tiles_kept": len(self.tiles),
            "share_kept": len(self.tiles) / len(grid),
            **({} if self.looked_at is None else {"tiles_looked_at": self.looked_at}),
            "gigaflop_per_tile": round(self.gigaflop_per_tile, 2),
            "expected_seconds": round(self.seconds, 1),
            "expected_memory_mb": round(self.memory_mb),
        }


def plan(slide: Slide, bundle: Bundle, use: Use) -> Plan:
    """Lay the grid, find the tissue, and estimate; reads one small picture and no tile."""
    before = peak_memory_mb()
    grid = lay_grid(slide, use.tiling)
    tiles = select(slide, grid, use.filters)
    level = max(
        i for i, d in enumerate(slide.downsamples) if i == 0 or d <= grid.downsample * 1.001
    )
    views = {"none": 1, "flips": 4, "all": 8}[use.blend.augmentation]
    cost = cost_on(grid, bundle, use)
    tile_seconds = _seconds(cost, bundle.device)
    canvas_mp = grid.canvas.width * grid.canvas.height / 1e6
    share = _share_left(bundle, use)
    looked_at = None if share is None else round(share * len(tiles))
    count = len(tiles) if looked_at is None else looked_at
    seconds = count * views * tile_seconds + REST_S + REST_S_PER_MEGAPIXEL * canvas_mp
    if bundle.coarse is not None and use.cascade is not None and use.cascade.threshold:
        seconds += _coarse_seconds(slide, tiles, bundle)
    return Plan(
        tiles,
        level,
        slide.downsamples[level],
        seconds,
        before + _added_mb(slide, bundle, use, largest=cost.largest),
        cost.operations / 1e9,
        looked_at,
    )


def _share_left(bundle: Bundle, use: Use) -> float | None:
    """Return what share of tiles a cascade left on the validation slides, at this threshold."""
    told = bundle.info.provenance.get("cascade")
    if bundle.coarse is None or use.cascade is None or not told:
        return None
    same = math.isclose(told["threshold"], use.cascade.threshold)
    return told["left"] / max(1, told["tiles"]) if same else None


def _coarse_seconds(slide: Slide, tiles: TileSet, bundle: Bundle) -> float:
    coarse = bundle.coarse
    assert coarse is not None  # noqa: S101 - callers have looked
    job = Job(slide, tiles, bundle, Blend())
    grid = lay_grid(slide, coarse.info.tiling)
    return len(coarse_tiles(job)) * _seconds(cost_on(grid, coarse, use_of(coarse)), bundle.device)


def _added_mb(slide: Slide, bundle: Bundle, use: Use, *, largest: float) -> float:
    """Return what reading, network and blending hold together, in MB."""
    grid = lay_grid(slide, use.tiling)
    names, overlap = len(bundle.info.classes.names), grid.tile - grid.stride
    ring = grid.canvas.width * (4 * names * overlap + (names - 1) * grid.stride)
    on_host = 0.0
    if _shares(bundle, use):
        widest = max(bundle.info.model.filters)
        on_host = 4.0 * min(MOST_NUMBERS, LIVE_BANDS * BAND_ROWS * widest * grid.canvas.width)
    elif bundle.device.type == "cpu":
        on_host = LIVE_OUTPUTS * largest * use.blend.batch_on("cpu")
    pixels = 3 * slide.size.width * slide.size.height / grid.downsample**2
    return AFTERWARDS_MB + (min(HELD_BYTES, pixels) + 1.3 * ring + on_host) / 1e6


def _shares(bundle: Bundle, use: Use) -> bool:
    """Whether tiles that overlap share their work (`infer.shared`)."""
    return bundle.segmenter.votes and use.blend.augmentation == "none"


def cost_on(grid: TileGrid, bundle: Bundle, use: Use) -> Cost:
    """Return what one tile of a grid costs."""
    segmenter, info = bundle.segmenter, bundle.info
    if segmenter.votes:  # made for tiles of one size, and these may have another
        spec, classes = without_weights(info.model), len(info.classes.classes)
        with torch.device("meta"):
            segmenter = Segmenter(spec, classes, tile_px=grid.tile)
    cost = _cost(segmenter, grid.tile)
    if not _shares(bundle, use):
        return cost
    sharing = how(segmenter.tile_net().spec, grid.stride)
    return cost._replace(operations=2 * sharing.products, moved=cost.moved / sharing.saving)


def _cost(segmenter: Segmenter, tile: int) -> Cost:
    """Count what one tile costs; only shapes are computed, no pixel."""
    largest = moved = 0.0

    def note(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal largest, moved
        sizes = [4.0 * t.numel() for t in (*inputs, output) if isinstance(t, torch.Tensor)]
        largest = max(largest, *sizes)
        if not any(True for _ in module.children()):
            moved += sum(sizes)

    shapes = copy.deepcopy(segmenter).to("meta").eval()
    for module in shapes.modules():
        module.register_forward_hook(note)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        shapes(torch.empty(1, tile, tile, segmenter.channels, dtype=torch.uint8, device="meta"))
    return Cost(float(counter.get_total_flops()), moved, largest)


def _seconds(cost: Cost, device: Device, side: int = 256, channels: int = 32) -> float:
    """Return the seconds of one tile, from two layers that are timed on this machine."""
    image = torch.rand(1, channels, side, side, device=device).to(memory_format=torch.channels_last)
    convolution = nn.Conv2d(channels, channels, 3, padding=1).to(device)
    convolve = _timed(convolution, image)
    move = _timed(nn.BatchNorm2d(channels).to(device).eval(), image)
    moved = 2 * 4 * image.numel()
    multiplied = 2 * 9 * channels**2 * side**2
    at_once = max(1e-9, convolve - move)  # the convolution moves its bytes too
    return cost.operations / multiplied * at_once + cost.moved / moved * move


def _timed(layer: nn.Module, image: torch.Tensor) -> float:
    """Return the median seconds of a layer in a fifth of a second."""
    times: list[float] = []
    with torch.inference_mode():
        layer(image)
        while sum(times) < 0.2:
            began = time.perf_counter()
            float(layer(image)[0, 0, 0, 0])  # waits for a device
            times.append(time.perf_counter() - began)
    return statistics.median(times)
