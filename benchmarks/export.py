"""Size, agreement and time of a bundle in every format that it can be exported to.

    python benchmarks/export.py [BUNDLE] --tiles SLIDE… --out DIR [--litert-python PYTHON]
                                [--only onnx:fp32 …] [--rounds 7]

Exports the bundle ("glands" unless said otherwise) to each format in each precision, into a folder
each of DIR; those that are there are taken as they are. Then all that run here take turns with
PyTorch on the same tile, `--rounds` times, in one process on one core; of two calls in a row the
second is timed. Times are those of the processor, so that other work on the machine does not count,
and medians of the rounds.

Sizes and agreement (share of pixels of PyTorch's class, largest difference of a probability) are
those of the exports' own descriptions. Core ML does not run here: its agreement is that of its
program, evaluated operation by operation.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slidemask.export.formats import FORMATS, find_format
from slidemask.export.tiles import read_tiles
from slidemask.models.bundle import Bundle

ALL = [f"{target}:{precision}" for target in FORMATS for precision in ("fp32", "fp16", "int8")]
Call = Callable[[], Any]


def main() -> None:
    """Export what is missing, time all, print."""
    asked = _arguments()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    bundle = Bundle.load(asked.bundle, "cpu")
    done = {}
    for one in asked.only:
        folder = asked.out / one.replace(":", "-")
        if not folder.exists():
            _export(asked, one, folder)
        if folder.exists():
            done[one] = json.loads((folder / "export.json").read_text(encoding="utf-8"))
            if done[one]["metadata"]["digest"] != bundle.digest:
                raise SystemExit(f"{folder} holds another model; give another --out.")
    side = bundle.info.tiling.tile_px
    tile = read_tiles(asked.tiles, bundle.info, (side, side), 1)
    calls: dict[str, Call] = {"PyTorch fp32": lambda: bundle.predict(tile, "fp32")}
    for one, about in done.items():
        form = find_format(about["format"])
        if form.runs_here:
            calls[one] = _call(form.start(asked.out / one.replace(":", "-") / about["file"]), tile)
    _print(done, _turns(calls, asked.rounds), bundle)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", nargs="?", default="glands")
    parser.add_argument("--tiles", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--litert-python", type=Path)
    parser.add_argument("--only", nargs="+", default=ALL, choices=ALL)
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


def _export(asked: argparse.Namespace, one: str, folder: Path) -> None:
    """Export in a process of its own, since converters keep much memory."""
    target, precision = one.split(":")
    command = [sys.executable, "-c", "from slidemask.apps.cli import main; main()", "export"]
    command += [asked.bundle, "--to", target, "--precision", precision, "--out", str(folder)]
    for path in asked.tiles:
        command += ["--tiles", str(path)]
    if target == "litert" and asked.litert_python:
        command += ["--litert-python", str(asked.litert_python)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        print(f"{one} is left out: {last}", file=sys.stderr)


def _call(predict: Callable[[np.ndarray], np.ndarray], tile: np.ndarray) -> Call:
    return lambda: predict(tile)


def _turns(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Return median ms of the processor for each call."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()  # threads of the one before may still wait busily for work
            began = time.process_time()
            call()
            times[name].append(1000 * (time.process_time() - began))
    return {name: statistics.median(some) for name, some in times.items()}


def _print(done: dict[str, dict[str, Any]], ms: dict[str, float], bundle: Bundle) -> None:
    side, torch_ms = bundle.info.tiling.tile_px, ms["PyTorch fp32"]
    print(f"{bundle.info.name}, one tile of {side} x {side} px on one core\n")
    print("| format | numbers | MB | same class | largest difference | ms | against PyTorch |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print(f"| PyTorch | fp32 | – | 1 | 0 | {torch_ms:.0f} | 1 |")
    for one, about in done.items():
        parity = about["parity"]
        took = f"{ms[one]:.0f} | {ms[one] / torch_ms:.2f}" if one in ms else "not run here | –"
        print(
            f"| {FORMATS[about['format']]} | {about['precision']} | {about['megabytes']:.1f} | "
            f"{parity['agreement']:.5f} | {parity['largest']:.1g} | {took} |"
        )


if __name__ == "__main__":
    main()
