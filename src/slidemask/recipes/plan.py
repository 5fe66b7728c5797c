"""What a segmentation would do and cost, before any network runs."""

import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from slidemask.io.slide import Slide
from slidemask.models.bundle import Bundle
from slidemask.models.segmenter import Segmenter
from slidemask.recipes.segment import Use
from slidemask.tiles.grid import lay_grid
from slidemask.tiles.select import TileSet, select

PROGRAM_MB = 650
"""What Python, torch and the readers take before the first tile (measured on Linux)."""
LIVE_OUTPUTS = 4
"""Tensors as large as the network's largest that are alive together: input, output, two skips."""


@dataclass(frozen=True)
class Plan:
    """A segmentation, as it would be run.

    Parameters
    ----------
    tiles : TileSet
        Grid and kept tiles.
    level : int
        Stored level that is read.
    level_downsample : float
        Level-0 pixels per pixel of that level.
    seconds : float
        Expected time of the network, from its operations and this machine's speed at convolutions.
    memory_mb : float
        Expected peak memory.
    gigaflop_per_tile : float
        Floating point operations of one tile, times 10**-9.
    """

    tiles: TileSet
    level: int
    level_downsample: float
    seconds: float
    memory_mb: float
    gigaflop_per_tile: float

    def as_dict(self) -> dict[str, object]:
        """Return plain values for printing."""
        grid = self.tiles.grid
        return {
            "grid": {"rows": grid.shape[0], "columns": grid.shape[1], "tiles": len(grid)},
            "tile_px": grid.tile,
            "stride_px": grid.stride,
            "downsample": grid.downsample,
            "canvas": grid.canvas._asdict(),
            "level_read": self.level,
            "level_downsample": self.level_downsample,
            "tiles_kept": len(self.tiles),
            "share_kept": len(self.tiles) / len(grid),
            "gigaflop_per_tile": round(self.gigaflop_per_tile, 2),
            "expected_seconds": round(self.seconds, 1),
            "expected_memory_mb": round(self.memory_mb),
        }


def plan(slide: Slide, bundle: Bundle, use: Use) -> Plan:
    """Lay the grid, find the tissue, and estimate; reads one small picture and no tile."""
    grid = lay_grid(slide, use.tiling)
    tiles = select(slide, grid, use.filters)
    level = max(
        i for i, d in enumerate(slide.downsamples) if i == 0 or d <= grid.downsample * 1.001
    )
    views = {"none": 1, "flips": 4, "all": 8}[use.blend.augmentation]
    operations, largest = _cost(bundle.segmenter, grid.tile)
    seconds = len(tiles) * views * operations / _operations_per_second(bundle.device)
    classes = len(bundle.info.classes.names)
    ring = classes * grid.tile * grid.canvas.width * 4
    on_host = 0 if bundle.device.type == "cuda" else LIVE_OUTPUTS * largest * use.blend.batch
    memory = PROGRAM_MB + (2 * ring + on_host) / 1e6
    return Plan(tiles, level, slide.downsamples[level], seconds, memory, operations / 1e9)


def _cost(segmenter: Segmenter, tile: int) -> tuple[float, float]:
    """Return operations of one tile, and bytes of its largest layer; only shapes are computed."""
    largest = 0.0

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, torch.Tensor):
            largest = max(largest, 4.0 * output.numel())

    shapes = _on_meta(segmenter)
    hooks = [module.register_forward_hook(note) for module in shapes.modules()]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        shapes(torch.empty(1, tile, tile, 3, dtype=torch.uint8, device="meta"))
    for hook in hooks:
        hook.remove()
    return float(counter.get_total_flops()), largest


def _on_meta(segmenter: Segmenter) -> Segmenter:
    import copy

    return copy.deepcopy(segmenter).to("meta").eval()


def _operations_per_second(device: torch.device, side: int = 256, channels: int = 32) -> float:
    """Time a 3 x 3 convolution, the work that networks consist of."""
    layer = nn.Conv2d(channels, channels, 3, padding=1).to(device)
    image = torch.rand(1, channels, side, side, device=device).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        layer(image)
        began, rounds = time.perf_counter(), 0
        while time.perf_counter() - began < 0.2:
            float(layer(image)[0, 0, 0, 0])
            rounds += 1
    return 2 * 9 * channels**2 * side**2 * rounds / (time.perf_counter() - began)
