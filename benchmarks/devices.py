"""Milliseconds from a photo's pixels to the corners of its slides, by the device examples.

    python benchmarks/devices.py PHOTO… --model MODEL.onnx [MODEL.xml …]
                                 [--longest 1280] [--rounds 5]

MODEL are exports of a bundle for photos; photos are shrunk first. `examples/raspberry-pi` looks at
each photo by each model; beside its network it shrinks the photo once more and draws outlines.
Where Node is installed, `examples/browser` draws outlines from the same probabilities. Times are
those of the processor, so that other work on the machine does not count, on one core where the
system binds a process to one: medians over photos of medians over rounds.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NODE = """
import { readFileSync } from "node:fs";
const [, , outlines, folder] = process.argv;
const { findOutlines } = await import(outlines);
const { seen, names, photo, rounds } = JSON.parse(readFileSync(`${folder}/told.json`));
const ms = seen.map(({ file, size }) => {
  const planes = new Float32Array(new Uint8Array(readFileSync(`${folder}/${file}`)).buffer);
  return Array.from({ length: rounds + 1 }, () => {
    const before = process.cpuUsage();
    findOutlines(planes, size, names, photo);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  }).slice(1);
});
console.log(JSON.stringify(ms));
"""


def main() -> None:
    """Time what is here, print."""
    asked = _arguments()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    example = _example()
    photos = [_shrunk(path, asked.longest) for path in asked.photos]
    print(f"{len(photos)} photos, {asked.longest} px long at most, on one core\n")
    print("| example | slides found | MB | ms of the network | ms of the rest |")
    print("| --- | --- | --- | --- | --- |")
    boards = {path: _Board(example, path, asked.rounds) for path in asked.model}
    for path, board in boards.items():
        weights = path.with_suffix(".bin" if path.suffix == ".xml" else path.suffix)
        megabytes = sum(file.stat().st_size for file in {path, weights}) / 1e6
        network, outlines = zip(*(board.look(photo) for photo in photos), strict=True)
        print(
            f"| raspberry-pi, {path.name} | {board.slides} | {megabytes:.1f} | "
            f"{statistics.median(network):.0f} | {statistics.median(outlines):.0f} |"
        )
    if node := shutil.which("node"):
        board = boards[asked.model[-1]]
        print(f"| browser | – | – | – | {_browser(node, board, asked.rounds):.0f} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, nargs="+", required=True)
    parser.add_argument("--longest", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _example() -> ModuleType:
    """Return the board's program as a module."""
    path = EXAMPLES / "raspberry-pi" / "slides.py"
    spec = importlib.util.spec_from_file_location("slides_example", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be loaded.")
    module = sys.modules["slides_example"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _shrunk(path: Path, longest: int) -> NDArray[np.uint8]:
    photo = cv2.imread(str(path))
    if photo is None:
        raise SystemExit(f"{path} cannot be read.")
    ratio = min(1.0, longest / max(photo.shape))
    small = cv2.resize(photo, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


class _Board:
    """The board's program with one model; remembers what the network said, and counts slides."""

    def __init__(self, example: ModuleType, path: Path, rounds: int) -> None:
        self.example, self.model, self.rounds = example, example.open_model(path), rounds
        self.said: list[NDArray[np.float32]] = []
        self.slides = 0

    def look(self, photo: NDArray[np.uint8]) -> tuple[float, float]:
        """Return ms of the network, and of all the rest where the network says at once."""
        network: list[float] = []

        def predict(image: NDArray[np.uint8]) -> NDArray[np.float32]:
            self.said.append(self.model.predict(image))
            network.extend(_ms(lambda: self.model.predict(image), self.rounds))
            return self.said[-1]

        found = self.example.find_slides(photo, replace(self.model, predict=predict))
        self.slides += len(found)
        ready = replace(self.model, predict=lambda _: self.said[-1])
        time.sleep(0.2)  # threads of a network may still wait busily for work
        rest = _ms(lambda: self.example.find_slides(photo, ready), self.rounds)
        return statistics.median(network), statistics.median(rest)


def _ms(act: Callable[[], object], rounds: int) -> list[float]:
    times = []
    for _ in range(rounds):
        began = time.process_time()
        act()
        times.append(1000 * (time.process_time() - began))
    return times


def _browser(node: str, board: _Board, rounds: int) -> float:
    """Return the ms of the browser's outlines from these probabilities."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told: dict[str, Any] = {
            "names": board.model.names,
            "photo": board.model.photo,
            "rounds": rounds,
        }
        told["seen"] = []
        for number, planes in enumerate(board.said):
            (folder / f"{number}.bin").write_bytes(np.ascontiguousarray(planes).tobytes())
            size = {"width": planes.shape[2], "height": planes.shape[1]}
            told["seen"].append({"file": f"{number}.bin", "size": size})
        (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")
        script = folder / "time.mjs"
        script.write_text(NODE, encoding="utf-8")
        outlines = (EXAMPLES / "browser" / "outlines.js").as_uri()
        command = [node, str(script), outlines, str(folder)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return statistics.median(statistics.median(times) for times in json.loads(said))


if __name__ == "__main__":
    main()
