"""How much longer `segment` takes than its network alone, and what overlap costs.

    python benchmarks/overhead.py --model glands [SLIDE …] [--side 12000] [--folder phantoms]

For each slide, the tiles that `segment` would read are read into memory and sent through the
network in the same batches, by the same backend and on as many threads (A: forward passes only,
from uint8 tiles to probabilities), then the whole of `segment` runs (B: opening, tissue, reading,
network, blending, cleaning, vectorising, all files). A and B take turns, and the median of the
ratios B / A is given with its range, so that a slow minute of the machine touches both. Below it:
seconds of each stage in the last B, and the pixels that cross the network as a multiple of those
of a grid without overlap on the same tissue. Without SLIDE, a phantom (synthetic) of
`--side` pixels is used.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phantoms import phantom

from slidemask.data.case import Case
from slidemask.infer.predict import Job
from slidemask.infer.reading import batches_in_order, probe_tiles
from slidemask.io.open import open_slide
from slidemask.models.backends import with_backend
from slidemask.models.bundle import Bundle
from slidemask.recipes.results import read_summary
from slidemask.recipes.segment import Options, Use, segment, use_of
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling, lay_grid
from slidemask.tiles.reading import read_tile
from slidemask.tiles.select import select


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    bundle = Bundle.load(asked.model, asked.device)
    options = Options(tuple(asked.set or ()), backend=asked.backend)
    use = use_of(bundle, options.changes)
    rows = []
    for path in asked.slides or [phantom(asked.folder, asked.side, 0.25)]:
        row = measured(path, bundle, use, options, rounds=asked.rounds)
        rows.append(row)
        show(row)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def measured(
    path: Path, bundle: Bundle, use: Use, options: Options, *, rounds: int
) -> dict[str, Any]:
    """Time network and `segment` in turns."""
    batches = batches_of(path, bundle, use)
    computing = as_computed(path, bundle, use, options)
    network_alone(computing, batches[:4], use)
    forward, whole, summary = [], [], {}
    for _ in range(rounds):
        forward.append(network_alone(computing, batches, use))
        with tempfile.TemporaryDirectory() as out:
            began = time.perf_counter()
            outcomes = list(segment([Case(path)], bundle, Path(out), options))
            whole.append(time.perf_counter() - began)
            if outcomes[0].state != "done":
                raise SystemExit(outcomes[0].message)
            summary = read_summary(outcomes[0].folder)
    ratios = [b / a for a, b in zip(forward, whole, strict=True)]
    return {
        "slide": path.name,
        "tiles": summary["tiles"],
        "batch": len(batches[0]),
        "forward_s": [round(value, 2) for value in forward],
        "segment_s": [round(value, 2) for value in whole],
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(value, 3) for value in ratios],
        "backend": summary["backend"],
        "stages_s": summary["seconds"],
        "overlap_cost": round(overlap_cost(path, use), 3),
        "peak_memory_mb": summary["peak_memory_mb"],
    }


def batches_of(path: Path, bundle: Bundle, use: Use) -> list[NDArray[np.uint8]]:
    """Read the kept tiles in the batches that `segment` sends through the network."""
    with open_slide(path) as slide:
        grid = lay_grid(slide, use.tiling)
        tiles = select(slide, grid, use.filters)
        batch = Job(slide, tiles, bundle, use.blend).batch
        return [
            np.stack([read_tile(slide, tile.box, grid.downsample) for tile in group])
            for group in batches_in_order(tiles, range(grid.shape[0]), batch)
        ]


def as_computed(path: Path, bundle: Bundle, use: Use, options: Options) -> Bundle:
    """Return the bundle with the backend that `segment` takes."""
    with open_slide(path) as slide:
        tiles = select(slide, lay_grid(slide, use.tiling), use.filters)
        return with_backend(
            bundle, options.backend, lambda: probe_tiles(slide, tiles),
            tiles=len(tiles), precision=use.blend.precision,
        )  # fmt: skip


def network_alone(bundle: Bundle, batches: Sequence[NDArray[np.uint8]], use: Use) -> float:
    """Return the seconds that all batches take, as many at once as `segment` has."""
    predict = partial(bundle.predict, precision=use.blend.precision)
    began = time.perf_counter()
    if not bundle.streams:
        for batch in batches:
            predict(batch)
        return time.perf_counter() - began
    with ThreadPoolExecutor(bundle.streams) as pool:
        for _ in pool.map(predict, batches):
            pass
    return time.perf_counter() - began


def overlap_cost(path: Path, use: Use) -> float:
    """Return kept tiles over those of the same settings without overlap."""
    with open_slide(path) as slide:
        with_overlap, without = (
            len(select(slide, lay_grid(slide, tiling), filters))
            for tiling, filters in _pair(use.tiling, use.filters)
        )
    return with_overlap / without


def _pair(tiling: Tiling, filters: Filters) -> list[tuple[Tiling, Filters]]:
    return [(tiling, filters), (tiling.model_copy(update={"overlap": 0.0}), filters)]


def show(row: dict[str, Any]) -> None:
    """Print one slide's table."""
    print(
        f"\n{row['slide']}: {row['tiles']['kept']} of {row['tiles']['grid']} tiles, "
        f"batch {row['batch']}, {row['backend']}"
    )
    for forward, whole, ratio in zip(
        row["forward_s"], row["segment_s"], row["ratios"], strict=True
    ):
        print(f"  forward {forward:8.2f} s   segment {whole:8.2f} s   ratio {ratio:.3f}")
    print(f"  median ratio {row['ratio']:.3f}; overlap costs {row['overlap_cost']:.2f}x the pixels")
    print(f"  peak memory, with the tiles kept for A: {row['peak_memory_mb']:.0f} MB")
    total = row["stages_s"]["total"]
    for stage, seconds in sorted(row["stages_s"].items(), key=lambda item: -item[1]):
        print(f"  {stage:<18}{seconds:8.2f} s  {100 * seconds / total:5.1f} %")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("slides", nargs="*", type=Path)
    parser.add_argument("--model", default="glands")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--side", type=int, default=12_000, help="of the phantom, px")
    parser.add_argument("--folder", type=Path, default=Path("phantoms"), help="of phantoms")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
