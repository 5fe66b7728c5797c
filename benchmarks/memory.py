"""Peak memory of `segment` on small and huge slides, each in a process of its own.

    python benchmarks/memory.py --model glands [--folder phantoms] [--side 20000 --side 100000]

Makes phantoms (synthetic; kept in `--folder` and used again: 100,000 px take minutes and about
0.5 GB), segments each in a fresh process with the same model and settings, and prints the
process's peak resident memory (VmHWM), its ratio to that of the first, seconds and tiles. The
first phantom is tissue to a quarter, larger ones to a twentieth: what is measured is how memory
grows with the slide, and time should follow the tissue, not the area. `--side 150000` is the
largest that phantoms come in.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phantoms import phantom

from slidemask.recipes.results import results

PROGRAM = (sys.executable, "-c", "from slidemask.apps.cli import main; main()")


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    sides = asked.side or [20_000, 100_000]
    slides = [phantom(asked.folder, side, 0.05 if side > 20_000 else 0.25) for side in sides]
    rows = grown(sides, slides, asked.model, asked.set or [])
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def grown(
    sides: Sequence[int], slides: Sequence[Path], model: str, changes: Sequence[str]
) -> list[dict[str, Any]]:
    """Segment slides of growing sides; print and return a row for each."""
    rows: list[dict[str, Any]] = []
    print(f"{'side, px':>9}{'tiles':>8}{'seconds':>10}{'s / tile':>10}{'peak, MB':>10}{'ratio':>8}")
    for side, slide in zip(sides, slides, strict=True):
        with tempfile.TemporaryDirectory() as out:
            row = {"side": side} | segmented(slide, model, changes, out=Path(out))
        row["ratio"] = round(row["peak_mb"] / rows[0]["peak_mb"], 3) if rows else 1.0
        rows.append(row)
        print(
            f"{side:>9}{row['tiles']:>8}{row['seconds']:>10.1f}"
            f"{row['seconds'] / row['tiles']:>10.3f}{row['peak_mb']:>10.0f}{row['ratio']:>8.2f}",
            flush=True,
        )
    return rows


def segmented(
    slide: Path, model: str, changes: Sequence[str], *, out: Path, more: Sequence[str] = ()
) -> dict[str, Any]:
    """Run the command line's `segment` in a fresh process; return what its summary says."""
    options = [part for change in changes for part in ("--set", change)]
    command = [*PROGRAM, "segment", str(slide), "--model", model, "--device", "cpu"]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--out", str(out), *options, *more], check=False, capture_output=True, text=True
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    ((_, summary),) = results(out)
    return {
        "tiles": summary["tiles"]["kept"],
        "seconds": round(seconds, 1),
        "peak_mb": summary["peak_memory_mb"],
        "stages_s": summary["seconds"],
        "backend": summary["backend"],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="glands")
    parser.add_argument("--folder", type=Path, default=Path("phantoms"), help="of phantoms")
    parser.add_argument("--side", type=int, action="append", help="again for each phantom, px")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
