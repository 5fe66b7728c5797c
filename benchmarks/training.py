"""What it saves in training on a processor that freed memory is kept (`base/memory.py`).

    python benchmarks/training.py [--recipe glands] [--steps 8] [--rounds 3] [--json FILE]

Steps as in `train`, on tiles of noise (synthetic): forward, loss, backward, optimiser, in the
numbers that the recipe takes on this processor. Each side, memory given back as the C library does
by default and memory kept, is a process of its own; they take turns. Printed are medians of seconds
a step after the first, peak memory, and the ratio.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from slidemask.base.memory import freed_kept
from slidemask.base.record import machine, peak_memory_mb
from slidemask.models.devices import number_type
from slidemask.models.losses import loss
from slidemask.models.segmenter import Segmenter
from slidemask.recipes.recipe import load_recipe

SIDES = {"given back": nullcontext, "kept": freed_kept}


def main() -> None:
    """Let the sides take turns; print what they took."""
    asked = _arguments()
    if asked.side:
        with SIDES[asked.side]():
            print(json.dumps(stepped(asked.recipe, asked.steps)))
        return
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(asked.rounds):
        for side, done in runs.items():
            done.append(_in_process(asked, side))
    result = {side: _medians(done) for side, done in runs.items()}
    before, now = result["given back"], result["kept"]
    for side, row in result.items():
        print(f"{side:10} {row['seconds']:6.2f} s a step, peak {row['peak_mb']:.0f} MB")
    print(f"{before['seconds'] / now['seconds']:.2f} times as fast ({machine()})")
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=2), encoding="utf-8")


def stepped(name: str, steps: int) -> dict[str, float]:
    """Train on noise; return the median of seconds a step, and peak memory in MB."""
    recipe = load_recipe(name, ["model.encoder_weights="])
    torch.manual_seed(0)
    tiling, classes = recipe.tiling, len(recipe.classes.classes)
    segmenter = Segmenter(recipe.model, classes, tiling.context, tiling.tile_px)
    segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    segmenter.train()
    optimiser = torch.optim.AdamW(segmenter.parameters())
    numbers = number_type(torch.device("cpu"), recipe.schedule.precision)
    shape = (recipe.schedule.batch, tiling.tile_px, tiling.tile_px)
    seconds = list[float]()
    for _ in range(steps + 1):
        tiles = torch.randint(0, 256, (*shape, segmenter.channels), dtype=torch.uint8)
        labels = torch.randint(0, classes + 1, shape, dtype=torch.uint8)
        began = time.perf_counter()
        with torch.autocast("cpu", numbers, enabled=numbers != torch.float32):
            logits = segmenter(tiles)
            truth = segmenter.targets(labels)
            value = loss(recipe.loss, logits, segmenter.probabilities(logits), truth)
        value.backward()
        optimiser.step()
        optimiser.zero_grad()
        seconds.append(time.perf_counter() - began)
    return {"seconds": statistics.median(seconds[1:]), "peak_mb": peak_memory_mb()}


def _in_process(asked: argparse.Namespace, side: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--side", side]
    command += ["--recipe", asked.recipe, "--steps", str(asked.steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recipe", default="glands")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)  # of its own processes
    return parser.parse_args()


if __name__ == "__main__":
    main()
