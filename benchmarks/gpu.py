"""Wall time of `segment` on a huge phantom on a GPU, and the share of it that the GPU is busy.

    python benchmarks/gpu.py [--device cuda] [--width 100000 --height 80000] [--folder phantoms]

Makes a phantom (synthetic; kept in `--folder`: 100,000 x 80,000 px at 0.25 µm take minutes and
some GB of disk) and an untrained U-Net++ over EfficientNet-B0 at 10x, runs the command `segment`
on it in a fresh process, and asks the driver (`nvidia-smi`) every 0.1 s how busy the GPU was.
"Busy" is the driver's share of time in which a kernel ran; given are its mean over the whole
command, and over the time in which the network was at work. What is wanted: < 25 s and > 80 %.

Without a GPU it says so and ends with exit code 3; `--device cpu --width 6000 --height 4000` tries
the script itself, and measures nothing that is of use.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from untrained import untrained

from slidemask.base.record import machine, versions
from slidemask.data.phantom.settings import PhantomSettings
from slidemask.data.phantom.write import write_phantom
from slidemask.recipes.results import results

COMMAND = (sys.executable, "-c", "from slidemask.apps.cli import main; main()")
EVERY_S = 0.1
WANTED_S, WANTED_BUSY = 25.0, 80.0


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        print(
            "There is no CUDA device here, so nothing was measured. Run this on a machine with a "
            "GPU, or try the script itself with --device cpu --width 6000 --height 4000."
        )
        raise SystemExit(3)
    model = untrained(asked.folder / "unetplusplus-efficientnet-b0", asked.tile)
    slide = _phantom(asked)
    rows = [measured(slide, model, asked) for _ in range(asked.rounds)]
    for row in rows:
        show(row)
    median = statistics.median(row["wall_s"] for row in rows)
    on_gpu = asked.device.startswith("cuda")
    wanted = f"wanted: < {WANTED_S:g} s" if on_gpu else "no GPU, so of no use but to try the script"
    print(f"median of {len(rows)} rounds: {median:.1f} s ({wanted})")
    if asked.json:
        told = {"slide": slide.name, "machine": machine(), "gpu": _gpu_name(), "rounds": rows}
        asked.json.write_text(json.dumps(told | {"versions": versions()}, indent=2))


def measured(slide: Path, model: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Run the command once; return its seconds, stages and how busy the GPU was."""
    options = [part for change in asked.set or [] for part in ("--set", change)]
    if asked.workers:
        options += ["--workers", str(asked.workers)]
    with tempfile.TemporaryDirectory() as out:
        load = Load(asked.device)
        began = time.perf_counter()
        with load:
            subprocess.run(
                [*COMMAND, "segment", slide, "-m", model, "--device", asked.device, "-o", out,
                 *options],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        wall = time.perf_counter() - began
        ((_, summary),) = results(Path(out))
    return {
        "wall_s": round(wall, 2),
        "inside_s": summary["seconds"]["total"],
        "stages_s": summary["seconds"],
        "canvas": summary["canvas"],
        "tiles": summary["tiles"],
        "batch": summary.get("batch"),
        "notes": summary.get("notes", []),
        "device": summary["device"],
        "peak_memory_mb": summary["peak_memory_mb"],
        **load.figures(),
    }


@dataclass
class Load:
    """What the driver says of the GPU while the block runs."""

    device: str
    busy: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def figures(self) -> dict[str, float | None]:
        """Return means; None where nothing was heard."""
        at_work = [value for value in self.busy if value > 0]
        spans = [n for n, value in enumerate(self.busy) if value > 0]
        between = self.busy[spans[0] : spans[-1] + 1] if spans else []
        return {
            "busy_percent_of_command": _mean(self.busy),
            "busy_percent_first_to_last_kernel": _mean(between),
            "samples": len(self.busy),
            "samples_at_work": len(at_work),
            "gpu_memory_mb": max(self.memory_mb, default=None),
        }

    def _watch(self) -> None:
        program = shutil.which("nvidia-smi")
        if program is None or not self.device.startswith("cuda"):
            return
        number = self.device.partition(":")[2] or "0"
        command = [
            program, f"--id={number}", "--query-gpu=utilization.gpu,memory.used",
            "--format=csv,noheader,nounits", f"--loop-ms={int(1000 * EVERY_S)}",
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                busy, memory = (float(value) for value in line.split(","))
                self.busy.append(busy)
                self.memory_mb.append(memory)
                if self._over.is_set():
                    process.terminate()
                    return


def show(row: dict[str, Any]) -> None:
    """Print one round."""
    tiles, canvas = row["tiles"], row["canvas"]
    print(
        f"\n{row['device']}: {tiles['kept']} of {tiles['grid']} tiles, batch {row['batch']}, "
        f"canvas {canvas['width']} x {canvas['height']}"
    )
    print(f"  whole command {row['wall_s']:.1f} s, of them {row['inside_s']:.1f} s on the slide")
    for stage, seconds in sorted(row["stages_s"].items(), key=lambda item: -item[1]):
        print(f"  {stage:<18}{seconds:8.2f} s")
    busy = row["busy_percent_first_to_last_kernel"]
    if busy is None:
        print("  GPU busy: not known (no nvidia-smi, or no GPU)")
    else:
        print(
            f"  GPU busy: {busy:.0f} % from its first to its last kernel (wanted: > "
            f"{WANTED_BUSY:g} %), {row['busy_percent_of_command']:.0f} % of the whole command"
        )
    for note in row["notes"]:
        print(f"  {note}")


def _phantom(asked: argparse.Namespace) -> Path:
    home = asked.folder / f"{asked.width}x{asked.height}-{asked.tissue:g}"
    slide = home / "phantom-0.tif"
    if not slide.exists():
        print(f"making a phantom of {asked.width} x {asked.height} px in {home} …", flush=True)
        beside = home.with_name(f".{home.name}.part")
        shutil.rmtree(beside, ignore_errors=True)
        settings = PhantomSettings(
            width_px=asked.width, height_px=asked.height, mpp=0.25, tissue_share=asked.tissue
        )
        write_phantom(beside, settings, seed=0)
        beside.rename(home)
    return slide


def _gpu_name() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _mean(values: list[float]) -> float | None:
    return round(statistics.fmean(values), 1) if values else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=int, default=100_000, help="of the phantom, px")
    parser.add_argument("--height", type=int, default=80_000, help="of the phantom, px")
    parser.add_argument("--tissue", type=float, default=0.25, help="share of it that is tissue")
    parser.add_argument("--tile", type=int, default=512, help="side of a tile, px")
    parser.add_argument("--folder", type=Path, default=Path("phantoms"), help="of phantoms")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, help="reading threads; else the command's own")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
