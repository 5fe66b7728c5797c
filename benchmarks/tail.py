"""What comes after the network: seconds of each step on a mask with many objects.

    python benchmarks/tail.py [--side 30000] [--objects 50000] [--model glands] [--profile]

Lays wobbly objects, every third with a hole, over a canvas of `--side` pixels (synthetic), stores
their probabilities in bands as prediction does, and runs what `segment` does from there on, all
files included: cleaning by the model's own settings, the mask's pyramid, outlines, GeoJSON, preview
and summary. The network's seconds, for the share, are those of one tile of the same model and
backend on this machine (the median of `--tiles`, in turns on as many threads as `segment` has)
times the tiles that hold objects. `--profile` prints where the time goes, by function.
"""

import argparse
import cProfile
import json
import pstats
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from slidemask.base.stages import Stages
from slidemask.base.types import Quantised, Rgb
from slidemask.geometry.box import Box, Size
from slidemask.infer.prediction import Prediction
from slidemask.infer.store import BandStore
from slidemask.models.backends import with_backend
from slidemask.models.bundle import Bundle
from slidemask.recipes.results import Segmented, read_summary, write_results
from slidemask.recipes.use import use_of
from slidemask.tiles.grid import lay_grid
from slidemask.tiles.select import TileSet

MPP = 1.17
"""µm per pixel of the canvas: that of the model `glands`."""


@dataclass(frozen=True)
class Glass:
    """A slide of that size without a picture: what is measured needs none."""

    size: Size
    id: str = "objects"
    mpp: float | None = MPP
    downsamples: tuple[float, ...] = (1.0,)

    def read(self, box: Box, downsample: float = 1.0) -> Rgb:
        """Read white."""
        return np.full((*box.shape_at(downsample), 3), 255, np.uint8)


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    row = measured(asked.side, asked.objects, asked.model, tiles=asked.tiles, profile=asked.profile)
    show(row)
    if asked.json:
        asked.json.write_text(json.dumps(row, indent=2), encoding="utf-8")


def measured(
    side: int, objects: int, model: str, *, tiles: int = 16, profile: bool = False
) -> dict[str, Any]:
    """Write the results of a synthetic prediction; return seconds by stage, and shares."""
    bundle = Bundle.load(model, "cpu")
    use = use_of(bundle, [f"tiling.mpp={MPP}"])
    slide = Glass(Size(side, side))
    grid = lay_grid(slide, use.tiling)
    with tempfile.TemporaryDirectory() as folder:
        home, kept = Path(folder), np.zeros(grid.shape, bool)
        store = BandStore(home / "work", {}, (1, side, side))
        for top, band in bands(side, objects, grid.stride):
            lefts = np.flatnonzero(band.any(axis=(0, 1))) // grid.stride
            last_row, last_column = grid.shape[0] - 1, grid.shape[1] - 1
            kept[min(top // grid.stride, last_row), np.minimum(lefts, last_column)] = True
            store.append(band)
        prediction = Prediction(store, bundle.info.classes.names, slide.size, 1.0)
        chosen = TileSet(grid, kept)
        (home / "slide").write_bytes(b"")
        whole = Segmented(
            slide, home / "slide", (bundle,), chosen, prediction, use.post, Stages()
        )  # fmt: skip
        profiler = cProfile.Profile(time.thread_time)
        if profile:
            profiler.enable()
        began, spent = time.perf_counter(), time.process_time()
        write_results(whole, home, {"job": "", "settings": {}}, probability=False)
        wall, processor = time.perf_counter() - began, time.process_time() - spent
        if profile:
            profiler.disable()
            pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
        summary = read_summary(home)
    network = len(chosen) * seconds_a_tile(bundle, tiles)
    return {
        "side": side,
        "objects": sum(found["objects"] for found in summary["classes"].values()),
        "seconds": summary["seconds"],
        "wall_s": round(wall, 2),
        "processor_s": round(processor, 2),
        "tiles": len(chosen),
        "network_s": round(network, 1),
        "share": round(wall / (wall + network), 4),
        "peak_memory_mb": summary["peak_memory_mb"],
    }


def bands(side: int, objects: int, rows: int) -> Iterator[tuple[int, Quantised]]:
    """Yield (top row, (1, rows, side) uint8): objects one in each field of a square lattice."""
    rng = np.random.default_rng(0)
    fields = round(objects**0.5)
    edges = np.linspace(0, side, fields + 1).astype(int)
    held, top = np.zeros((0, side), np.uint8), 0
    for first, last in pairwise(edges.tolist()):
        line = np.zeros((last - first, side), np.uint8)
        for left, right in pairwise(edges.tolist()):
            draw(line[:, left:right], rng)
        held = np.concatenate([held, np.asarray(cv2.GaussianBlur(line, (0, 0), 1.5), np.uint8)])
        while len(held) >= rows:
            yield top, held[None, :rows]
            held, top = held[rows:], top + rows
    if len(held):
        yield top, held[None]


def draw(field: np.ndarray, rng: np.random.Generator) -> None:
    """Draw one wobbly object into its field, now and then with a hole."""
    height, width = field.shape
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    wobble = 1 + 0.12 * np.sin(angles * rng.integers(3, 7) + rng.uniform(0, 6))
    wobble += rng.normal(0, 0.03, angles.size)
    radius = rng.uniform(0.15, 0.38) * min(height, width)
    for share, value in ((1.0, 255), (0.4, 0)) if rng.random() < 1 / 3 else ((1.0, 255),):
        reach = radius * share * wobble
        places = [width / 2 + reach * np.cos(angles), height / 2 + reach * np.sin(angles)]
        filled = np.ascontiguousarray(field)
        cv2.fillPoly(filled, [np.stack(places, axis=1).astype(np.int32)], value)
        field[:] = filled


def seconds_a_tile(bundle: Bundle, tiles: int) -> float:
    """Time the network on random tiles, as many at once as `segment` predicts."""
    side = bundle.info.tiling.tile_px
    noise = np.random.default_rng(0).integers(0, 256, (tiles, side, side, 3), np.uint8)
    computing = with_backend(bundle, "auto", lambda: noise[:2], tiles=10_000, precision="auto")
    with ThreadPoolExecutor(max(1, computing.streams)) as pool:
        times = []
        for _ in range(4):
            began = time.perf_counter()
            list(pool.map(computing.predict, np.split(noise, tiles)))
            times.append(time.perf_counter() - began)
    return statistics.median(times[1:]) / tiles


def show(row: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{row['objects']} objects on {row['side']} x {row['side']} px")
    for stage, seconds in sorted(row["seconds"].items(), key=lambda item: -item[1]):
        print(f"  {stage:<18}{seconds:8.2f} s")
    print(
        f"  wall {row['wall_s']} s, processor {row['processor_s']} s; the network's {row['tiles']} "
        f"tiles take {row['network_s']} s: {100 * row['share']:.1f} % of the whole; "
        f"peak memory {row['peak_memory_mb']:.0f} MB"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", type=int, default=30_000, help="of the canvas, px")
    parser.add_argument("--objects", type=int, default=50_000)
    parser.add_argument("--model", default="glands")
    parser.add_argument("--tiles", type=int, default=16, help="that the network is timed on")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
