"""What overlapping tiles cost when their common work is done once, and when it is not.

    python benchmarks/rails.py [SLIDE …] [--tile 400] [--side 4000] [--overlap 0.5 …] [--threads 1]

The tile classifier as published runs over a whole canvas at several overlaps:

- shared: `infer.shared.vote_map`, all tiles, from pixels to probabilities;
- batches: `TileNet.forward` and `.probabilities` on batches of 16 tiles, as a plain program would;
- alone: the code of `vote_map` with no stage shared, so that what is left is sharing itself.

Pixels are in memory beforehand; cutting and stacking tiles is part of all three. The latter two
run on a sample of tiles, spread over the canvas, and are scaled to all: at 90 % they would take
100 times the canvas. Below each: the largest difference of probabilities on the sample (fp32).
Then the same for entropies: `judge_tiles` against `judge_pixels` of each tile, and peak memory, of
the whole process, once a process has only run `vote_map` (`--memory SIDE`: on a canvas of that
side).

Seconds are those of the processor, all threads together, so that other work on the machine
does not count; the three take turns, `--rounds` times, and the median is given. Without SLIDE, a
phantom (synthetic) of `--side` pixels is used. Weights are random (time does not depend on them),
batch statistics the canvas's, and the last layer is widened until votes spread over 0..1, so that
differences are those of numbers in use; how far the votes spread is printed beside them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from phantoms import phantom

from slidemask.base.types import Rgb
from slidemask.geometry.box import Box
from slidemask.infer import shared
from slidemask.infer.shared import how, vote_map
from slidemask.io.open import open_slide
from slidemask.models.tilecnn import TileNet, TileNetSpec
from slidemask.tiles.canvas import Canvas, canvas_of
from slidemask.tiles.filters import Filters, judge_pixels, judge_tiles

BATCH = 16
RAILS = Filters(tissue=None, rails="learn")
"""Rules for which entropies are measured."""


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    cv2.setNumThreads(asked.threads)
    if asked.only_memory:
        print(peak_memory(asked.only_memory, asked.tile))
        return
    rows = []
    for path in asked.slides or [phantom(asked.folder, asked.side, 0.25)]:
        pixels = whole(path)
        net = network(asked.tile, canvas_of(pixels, asked.tile, asked.tile))
        print(f"\n{path.name}: {pixels.shape[1]} x {pixels.shape[0]} px, tiles of {asked.tile} px")
        for overlap in asked.overlap:
            canvas = canvas_of(pixels, asked.tile, max(1, round(asked.tile * (1 - overlap))))
            row = {"slide": path.name, "overlap": overlap} | measured(net, canvas, asked)
            rows.append(row)
            show(row)
    for side in asked.memory or ():
        peak = in_fresh_process(side, asked.tile)
        rows.append({"side": side, "peak_memory_mb": peak})
        print(f"peak memory of vote_map on {side} x {side} px, 80 % overlap: {peak} MB")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def measured(net: TileNet, canvas: Canvas, asked: argparse.Namespace) -> dict[str, Any]:
    """Time the ways of one overlap in turns."""
    grid = canvas.grid
    count = min(len(grid), asked.sample)
    chosen = np.linspace(0, len(grid) - 1, count).round().astype(int)
    whole_grid, part = len(grid), np.zeros(grid.shape, bool)
    part.flat[chosen] = True
    plan = how(net.spec, grid.stride)
    alone = replace(plan, stages=0, lattice=plan.lattice[:1])
    seconds: dict[str, list[float]] = {}
    votes: dict[str, NDArray[np.floating]] = {}

    def take(name: str, share: float, work: Callable[[], NDArray[np.floating]]) -> None:
        began = time.process_time()
        votes[name] = work()
        seconds.setdefault(name, []).append((time.process_time() - began) / share)

    for _ in range(asked.rounds):
        take("shared", 1, lambda: vote_map(net, canvas).reshape(whole_grid, -1)[chosen])
        take("batches", count / whole_grid, lambda: in_batches(net, canvas, chosen))
        with mock.patch.object(shared, "how", return_value=alone):
            take("alone", count / whole_grid, lambda: cut_alone(net, canvas, chosen))
        take("entropies shared", 1, lambda: judge_tiles(canvas, RAILS)[1].flat[chosen])
        take("entropies alone", count / whole_grid, lambda: entropies_alone(canvas, chosen))
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "tiles": whole_grid,
        "sample": count,
        "threads": asked.threads,
        "seconds": {name: round(value, 4) for name, value in middle.items()},
        "products_ratio": round(plan.saving, 2),
        "ratio_batches": round(middle["batches"] / middle["shared"], 2),
        "ratio_alone": round(middle["alone"] / middle["shared"], 2),
        "ratio_entropies": round(middle["entropies alone"] / middle["entropies shared"], 2),
        "spread": float(votes["batches"][:, 0].std()),
        "difference": float(np.abs(votes["shared"] - votes["batches"]).max()),
        "difference_entropies": float(
            np.abs(votes["entropies shared"] - votes["entropies alone"]).max()
        ),
    }


@torch.inference_mode()
def in_batches(net: TileNet, canvas: Canvas, chosen: NDArray[np.int_]) -> NDArray[np.floating]:
    """Classify tiles as a plain program would."""
    found = []
    for first in range(0, len(chosen), BATCH):
        tiles = np.stack([cut(canvas, number) for number in chosen[first : first + BATCH]])
        found.append(net.probabilities(net(torch.from_numpy(tiles))))
    return torch.cat(found).numpy()


def cut_alone(net: TileNet, canvas: Canvas, chosen: NDArray[np.int_]) -> NDArray[np.floating]:
    """Classify tiles one by one with the code of `vote_map`."""
    tile = canvas.grid.tile
    found = [vote_map(net, canvas_of(cut(canvas, n), tile, tile))[0, 0] for n in chosen]
    return np.stack(found)


def entropies_alone(canvas: Canvas, chosen: NDArray[np.int_]) -> NDArray[np.floating]:
    """Measure tiles one by one."""
    return np.array([judge_pixels(cut(canvas, number), RAILS)[1] for number in chosen])


def cut(canvas: Canvas, number: int) -> Rgb:
    """Cut one tile from a canvas in memory."""
    row, column = divmod(int(number), canvas.grid.shape[1])
    (top, left), side = (row * canvas.grid.stride, column * canvas.grid.stride), canvas.grid.tile
    return canvas[top : top + side, left : left + side]


def network(tile: int, canvas: Canvas | None = None) -> TileNet:
    """Return the published network, untrained, with votes that differ on this canvas."""
    torch.manual_seed(0)
    net = TileNet(TileNetSpec(tile_px=tile))
    if canvas is None:
        return net.eval()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    numbers = np.linspace(0, len(canvas.grid) - 1, 8).astype(int)
    tiles = torch.from_numpy(np.stack([cut(canvas, number) for number in numbers]))
    last = net.head[-1]
    with torch.no_grad():
        net(tiles)
        logits = net.eval()(tiles)
        for values in last.parameters():
            values.mul_(2 / logits.std())
        last.get_parameter("bias").sub_(2 * logits.mean() / logits.std())
    return net


def whole(path: Path) -> Rgb:
    """Read level 0 into memory."""
    with open_slide(path) as slide:
        return slide.read(Box(0, 0, *slide.size), 1.0)


def peak_memory(side: int, tile: int) -> int:
    """Run `vote_map` on random pixels; return the process's peak memory in MB."""
    line = np.random.default_rng(0).integers(0, 256, (1, side, 3), np.uint8)
    # One row, repeated without a copy: the canvas itself takes no memory that would hide the rest.
    pixels = np.broadcast_to(line, (side, side, 3))
    stride = tile // 5
    canvas = canvas_of(pixels, tile, stride)
    rows = np.zeros(canvas.grid.shape, bool)
    rows[:12] = True  # Memory is that of a band: a dozen rows of tiles are as good as all.
    vote_map(network(tile), canvas, kept=rows)
    info = psutil.Process().memory_info()
    return round(getattr(info, "peak_wset", _vmhwm() or info.rss) / 2**20)


def _vmhwm() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def in_fresh_process(side: int, tile: int) -> int:
    """Measure peak memory where nothing else has run."""
    command = [sys.executable, __file__, "--only-memory", str(side), "--tile", str(tile)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


def show(row: dict[str, Any]) -> None:
    """Print one overlap's lines."""
    seconds = row["seconds"]
    print(
        f"overlap {row['overlap']:.0%}: {row['tiles']} tiles ({row['sample']} sampled), "
        f"{row['threads']} threads; multiplications {row['products_ratio']:.1f} times fewer"
    )
    for name, ratio in (("batches", "ratio_batches"), ("alone", "ratio_alone")):
        print(
            f"  votes shared {seconds['shared']:8.2f} s   {name:<8}{seconds[name]:9.2f} s   "
            f"ratio {row[ratio]:6.1f}"
        )
    print(
        f"  entropies    {seconds['entropies shared']:8.3f} s   alone   "
        f"{seconds['entropies alone']:9.2f} s   ratio {row['ratio_entropies']:6.1f}"
    )
    print(
        f"  largest difference: votes {row['difference']:.1e} (they spread by "
        f"{row['spread']:.2f}), "
        f"entropies {row['difference_entropies']:.1e} bits",
        flush=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("slides", nargs="*", type=Path)
    parser.add_argument("--tile", type=int, default=400)
    parser.add_argument("--side", type=int, default=4000, help="of the phantom, px")
    parser.add_argument("--folder", type=Path, default=Path("phantoms"), help="of phantoms")
    parser.add_argument("--overlap", type=float, nargs="+", default=[0.5, 0.75, 0.8, 0.9])
    parser.add_argument("--sample", type=int, default=64, help="tiles that run tile by tile")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", type=int, nargs="*", metavar="SIDE")
    parser.add_argument("--only-memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
