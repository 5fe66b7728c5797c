"""All ratios of the design that this machine can give, in one run.

    python benchmarks/design6.py [SLIDE] [--model glands] [--folder phantoms] [--only NAME …]
        [--cohort COHORT.csv] [--photos PHOTO …] [--published RUN] [--json FILE]

Each row is measured by the script of that name, whose description says how. Phantoms (synthetic)
are made once and kept in `--folder`; that of 150,000 px takes a quarter of an hour and 1.0 GB.
`--quick` takes small phantoms and few rounds: to see that all runs, not for figures. What lacks an
input or a package is listed as not measured. Run it on an otherwise idle machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import backend
import memory
import naive
import overhead
import rails
import tail
import torch
from phantoms import phantom

from slidemask.base.record import machine, versions
from slidemask.models.bundle import Bundle
from slidemask.recipes.segment import Options, use_of
from slidemask.tiles.canvas import canvas_of


class Row(NamedTuple):
    """One number: what was wanted, what was found."""

    what: str
    wanted: str
    found: str
    reached: bool | None
    """None: nothing is wanted of it, or it could not be measured."""


Measure = Callable[[argparse.Namespace], list[Row]]


def main() -> None:
    """Measure what is asked for and print a table."""
    asked = _arguments()
    rows: list[Row] = []
    for name in asked.only or MEASURES:
        began = time.perf_counter()
        try:
            found = MEASURES[name](asked)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the others go on
            traceback.print_exc()
            found = [Row(name, "", f"failed: {error}", None)]
        rows += found
        print(f"--- {name}: {time.perf_counter() - began:.0f} s", flush=True)
    print(f"\n{datetime.now(UTC):%d %B %Y}, {machine()}, torch {versions()['torch']}\n")
    print(table(rows))
    if asked.json:
        asked.json.write_text(json.dumps([row._asdict() for row in rows], indent=2))


def table(rows: list[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| number | wanted | found | |", "| --- | --- | --- | --- |"]
    words = {True: "reached", False: "**missed**", None: ""}
    return "\n".join(
        lines + [f"| {r.what} | {r.wanted} | {r.found} | {words[r.reached]} |" for r in rows]
    )


def measure_overhead(asked: argparse.Namespace) -> list[Row]:
    """Wall of `segment` over its network, and the pixels that overlap adds."""
    bundle = Bundle.load(asked.model, "cpu")
    use = use_of(bundle)
    row = overhead.measured(_slide(asked), bundle, use, Options(), rounds=1 if asked.quick else 5)
    overhead.show(row)
    spread = f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}"
    told = f"{row['ratio']:.2f} ({spread}; {row['tiles']['kept']} tiles, {row['backend']})"
    cost = row["overlap_cost"]
    return [
        Row("wall of `segment` over network", "≤ 1.10", told, row["ratio"] <= 1.10),
        Row("pixels that overlap adds", "≤ 1.6", f"{cost:.2f}", cost <= 1.6),
    ]


def measure_memory(asked: argparse.Namespace) -> list[Row]:
    """Peak memory on a huge slide over that on a small one."""
    sides = (2000, 4000) if asked.quick else (20_000, 150_000)
    slides = [phantom(asked.folder, side, 0.05 if side > 20_000 else 0.25) for side in sides]
    small, large = memory.grown(sides, slides, asked.model, [])
    told = f"{large['ratio']:.2f} ({large['peak_mb']:.0f} over {small['peak_mb']:.0f} MB)"
    what = f"peak memory, {sides[1]:,}² over {sides[0]:,}²"
    return [
        Row(what, "≤ 1.2", told, large["ratio"] <= 1.2),
        Row("peak memory", "< 2 GB", f"{large['peak_mb'] / 1000:.2f} GB", large["peak_mb"] < 2000),
    ]


def measure_backend(asked: argparse.Namespace) -> list[Row]:
    """Default backend over PyTorch, eager, in single precision."""
    bundle = Bundle.load(asked.model, "cpu")
    rounds, tiles = (1, 4) if asked.quick else (5, 48)
    rows = backend.measured(_slide(asked), bundle, rounds=rounds, tiles=tiles)
    if asked.cohort:
        for name, dice in backend.dice_of(asked.cohort, bundle, list(rows)).items():
            rows[name]["dice"] = dice
    backend.show(rows, bundle)
    found = []
    for name, least in (("openvino bf16", 3.0), ("openvino fp32", 1.5)):
        if name not in rows:
            found.append(Row(f"{name} against eager fp32", f"≥ {least}", "not here", None))
            continue
        row, eager = rows[name], rows[backend.EAGER]
        told = f"{row['ratio']:.2f} (same class: {row['same_class']:.5f} of pixels)"
        found.append(Row(f"{name} against eager fp32", f"≥ {least}", told, row["ratio"] >= least))
        if "dice" in row:
            gap = row["dice"] - eager["dice"]
            told = f"{gap:+.5f} ({row['dice']:.4f} and {eager['dice']:.4f})"
            found.append(Row(f"Dice, {name} less eager", "within 0.002", told, abs(gap) <= 0.002))
    return found


def measure_rails(asked: argparse.Namespace) -> list[Row]:
    """Votes and entropies of overlapping tiles, shared over tile by tile."""
    side, tile = (1200, 200) if asked.quick else (4000, 400)
    pixels = rails.whole(phantom(asked.folder, side, 0.25))
    net = rails.network(tile, canvas_of(pixels, tile, tile))
    canvas = canvas_of(pixels, tile, tile // 5)
    sample, rounds = (8, 1) if asked.quick else (64, 3)
    told = argparse.Namespace(sample=sample, rounds=rounds, threads=torch.get_num_threads())
    row = rails.measured(net, canvas, told) | {"overlap": 0.8}
    rails.show(row)
    fewer, ratio, gap = row["products_ratio"], row["ratio_batches"], row["difference"]
    votes = f"{ratio:.1f} (multiplications {fewer:.1f} × fewer; largest difference {gap:.0e})"
    bits = row["ratio_entropies"]
    return [
        Row("rails, 80 % overlap, over tile by tile", "≥ 20, equal", votes, ratio >= 20),
        Row("entropies over tile by tile", "≥ 20", f"{bits:.1f}", bits >= 20),
    ]


def measure_photo(asked: argparse.Namespace) -> list[Row]:
    """Photo to crops over the thesis's own steps."""
    what = "photo, loading included, over the published steps"
    if not asked.photos:
        return [Row(what, "≥ 10", "not measured: give --photos", None)]
    result = _photos(asked)
    ratio = result["ratio"]["all photos with loading"]
    single = result["ratio"]["one photo, whole program"]
    told = f"{ratio:.1f} (one photo and the program's start: {single:.1f})"
    return [Row(what, "≥ 10", told, ratio >= 10)]


def _photos(asked: argparse.Namespace) -> dict[str, Any]:
    """Run `photo.py`, whose two sides are processes of their own."""
    script = Path(__file__).with_name("photo.py")
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "photo.json"
        command = [sys.executable, str(script), *map(str, asked.photos), "--json", str(told)]
        command += ["--megapixels", "12"]
        command += ["--published", asked.published] if asked.published else []
        subprocess.run([*command, "--rounds", "1" if asked.quick else "3"], check=True)
        return json.loads(told.read_text(encoding="utf-8"))


def measure_tail(asked: argparse.Namespace) -> list[Row]:
    """Seconds after the network as a share of all."""
    side, objects = (3000, 400) if asked.quick else (30_000, 50_000)
    row = tail.measured(side, objects, asked.model)
    tail.show(row)
    told = f"{100 * row['share']:.1f} % ({row['wall_s']} s; network {row['network_s']} s)"
    what = f"cleaning to files, {row['objects']} objects on {side:,}²"
    return [Row(what, "< 10 %", told, row["share"] < 0.10)]


def measure_naive(asked: argparse.Namespace) -> list[Row]:
    """Loop of a typical script against `segment`."""
    row = naive.compared(_slide(asked), asked.model)
    naive.show(row)
    runs = row["runs"]
    exact, same = runs["segment, same tiles, PyTorch fp32"], row["same_pixels"]
    rows = [
        Row(
            "masks of loop and `segment`, same tiles, fp32", "equal to rounding",
            f"{100 * exact['equal']:.3f} % of pixels, Dice {exact['dice']:.5f}; on the same pixels "
            f"{100 * same['equal']:.4f} %, {same['dice']:.6f}", None,
        )
    ]  # fmt: skip
    for name in ("segment, same tiles", "segment, own settings"):
        run = runs[name]
        told = f"{run['faster']:.2f} × faster, {run['memory_share']:.2f} of its memory"
        rows.append(Row(f"{name}, over the loop", "", told, None))
    return rows


MEASURES: dict[str, Measure] = {
    "overhead": measure_overhead,
    "memory": measure_memory,
    "backend": measure_backend,
    "rails": measure_rails,
    "photo": measure_photo,
    "tail": measure_tail,
    "naive": measure_naive,
}


def _slide(asked: argparse.Namespace) -> Path:
    side = 2000 if asked.quick else 12_000
    return asked.slide or phantom(asked.folder, side, 0.25)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("slide", nargs="?", type=Path)
    parser.add_argument("--model", default="glands")
    parser.add_argument("--only", nargs="+", choices=MEASURES, help="instead of all")
    parser.add_argument("--quick", action="store_true", help="small: does everything run?")
    parser.add_argument("--cohort", type=Path, help="annotated pictures, for Dice of backends")
    parser.add_argument("--photos", type=Path, nargs="+", help="of slides")
    parser.add_argument("--published", help="a model of photo/published (default: untrained)")
    parser.add_argument("--folder", type=Path, default=Path("phantoms"), help="of phantoms")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
