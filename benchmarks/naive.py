"""`segment` against the loop of a typical script: same weights, same slide, masks compared.

    python benchmarks/naive.py --model glands [SLIDE] [--side 8000] [--folder phantoms]

The naive loop, as published scripts and notebooks have it: for each tile OpenSlide reads level 0,
OpenCV shrinks it to the network's resolution, PyTorch computes it alone in single precision, and
its probabilities go into a float32 canvas of the whole slide; at the end argmax,
`cv2.findContours` and one GeoJSON file. Every run is a process of its own, loading included.

Two comparisons:

- the same work: tissue tiles of `segment`, no overlap, no cleaning, pen marks left, for both;
  `segment` once with PyTorch in single precision (masks must be equal to within rounding) and once
  with the backend that it chooses; the loop also on pixels as `segment` reads them, which shows
  what of a difference is reading;
- their own settings: the loop takes every tile of the slide, `segment` its tissue filter,
  overlap and cleaning.

Without SLIDE, a phantom (synthetic) of `--side` pixels is used.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openslide
from memory import segmented
from phantoms import phantom

from slidemask.base.record import peak_memory_mb
from slidemask.geometry.box import Box
from slidemask.io.maskfile import open_mask
from slidemask.io.open import open_slide
from slidemask.tiles.reading import read_tile

PLAIN = (
    "tiling.overlap=0", "post.min_area_um2=0", "post.fill_holes_um2=0", "post.smooth_um=0",
    "post.smooth_px=0", "post.shrink=0", "post.threshold=0.5", "filters.tissue.pens=false",
)  # fmt: skip
"""Settings of `segment` under which it does what the loop does."""


def main() -> None:
    """Measure and print, or be one run of the loop."""
    asked = _arguments()
    if asked.loop:
        told = loop(asked.slide, asked.model, asked.loop, every=asked.every, finer=asked.finer)
        print(json.dumps(told))
        return
    row = compared(asked.slide or phantom(asked.folder, asked.side, 0.25), asked.model)
    show(row)
    if asked.json:
        asked.json.write_text(json.dumps(row, indent=2), encoding="utf-8")


def compared(slide: Path, model: str) -> dict[str, Any]:
    """Run all ways on one slide; return seconds, memory and agreement of each."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        runs = {
            "loop, same tiles": _loop_apart(slide, model, home / "same"),
            "segment, same tiles, PyTorch fp32": _segment(
                slide, model, home / "torch", (*PLAIN, "blend.precision=fp32"), backend="torch"
            ),
            "loop, pixels as segment reads": _loop_apart(slide, model, home / "finer", "--finer"),
            "segment, same tiles": _segment(slide, model, home / "plain", PLAIN),
            "loop, own settings": _loop_apart(slide, model, home / "every", "--every"),
            "segment, own settings": _segment(slide, model, home / "own", ()),
        }
        masks = {name: run.pop("mask")() for name, run in runs.items()}
    for name, run in runs.items():
        kind = "own settings" if "own" in name else "same tiles"
        base = f"loop, {kind}"
        run["faster"] = round(runs[base]["seconds"] / run["seconds"], 2)
        run["memory_share"] = round(run["peak_mb"] / runs[base]["peak_mb"], 3)
        run.update(agreement(masks[base], masks[name]))
    exact = ("segment, same tiles, PyTorch fp32", "loop, pixels as segment reads")
    only_reading = agreement(*(masks[name] for name in exact))
    return {"slide": slide.name, "model": model, "runs": runs, "same_pixels": only_reading}


def agreement(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Return the share of equal pixels and the Dice of what is foreground, of two label maps."""
    equal = float((one == other).mean())
    both = int(np.count_nonzero((one > 0) & (one == other)))
    either = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return {"equal": round(equal, 6), "dice": round(2 * both / either if either else 1.0, 6)}


def loop(
    path: Path, model: str, out: Path, *, every: bool = False, finer: bool = False
) -> dict[str, Any]:
    """Segment a slide as a typical script does; write mask and polygons.

    With `finer` pixels are read as `segment` reads them: what is left is all that follows.
    """
    import torch

    from slidemask.models.bundle import Bundle

    network = Bundle.load(model, "cpu").segmenter
    tiles = chosen_tiles(path, model, every=every)
    began = time.perf_counter()
    slide = openslide.OpenSlide(str(path))
    height, width = tiles["canvas"]
    scale, side = tiles["downsample"], tiles["tile"]
    canvas = np.zeros((height, width, network.classes + 1), np.float32)
    canvas[..., 0] = 1
    for top, left in tiles["places"]:
        corner = (left * scale, top * scale)
        if finer:
            with open_slide(path) as opened:
                pixels = read_tile(opened, Box(*corner, side * scale, side * scale), scale)
        else:
            pixels = read_level_0(slide, corner, scale, side)
        with torch.no_grad():
            found = network.probabilities(network(torch.from_numpy(pixels[None])))[0]
        part = found.permute(1, 2, 0).numpy()[: height - top, : width - left]
        canvas[top : top + side, left : left + side] = part
    mask = canvas.argmax(axis=2).astype(np.uint8)
    out.mkdir(parents=True)
    write_contours(out / "polygons.geojson", mask, scale)
    work = time.perf_counter() - began
    np.save(out / "mask.npy", mask)
    return {"tiles": len(tiles["places"]), "work_s": round(work, 2), "peak_mb": peak_memory_mb()}


def read_level_0(
    slide: openslide.OpenSlide, corner: tuple[float, float], scale: float, side: int
) -> np.ndarray:
    """Read a tile from level 0 and shrink it; what lies beyond the slide mirrors it."""
    x, y = (round(place) for place in corner)
    width, height = (
        min(side, int((length - place) / scale))
        for length, place in zip(slide.dimensions, (x, y), strict=True)
    )
    region = slide.read_region((x, y), 0, (round(width * scale), round(height * scale)))
    pixels = np.asarray(region.convert("RGB"))
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    below, right = side - height, side - width
    return np.asarray(cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_REFLECT))


def chosen_tiles(path: Path, model: str, *, every: bool) -> dict[str, Any]:
    """Return where tiles begin on the canvas: those of `segment` without overlap, or all."""
    from slidemask.models.bundle import Bundle
    from slidemask.recipes.use import use_of
    from slidemask.tiles.grid import lay_grid
    from slidemask.tiles.select import select

    use = use_of(Bundle.load(model, "cpu"), PLAIN)
    with open_slide(path) as slide:
        grid = lay_grid(slide, use.tiling)
        kept = grid if every else select(slide, grid, use.filters)
        places = [(tile.row * grid.stride, tile.column * grid.stride) for tile in kept]
    canvas = (grid.canvas.height, grid.canvas.width)
    return {
        "places": places, "canvas": canvas, "downsample": grid.downsample, "tile": grid.tile,
    }  # fmt: skip


def write_contours(path: Path, mask: np.ndarray, scale: float) -> None:
    """Write the outer outlines of every class, through pixel centres as OpenCV gives them."""
    features = []
    for value in range(1, int(mask.max()) + 1):
        found, _ = cv2.findContours(
            (mask == value).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        for contour in found:
            ring = (contour[:, 0] * scale).tolist()
            features.append(
                {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
                    "properties": {"objectType": "annotation", "class": value},
                }
            )
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def _loop_apart(slide: Path, model: str, out: Path, *more: str) -> dict[str, Any]:
    command = [sys.executable, __file__, str(slide), "--model", model, "--loop", str(out), *more]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    told = json.loads(done.stdout.splitlines()[-1])
    return told | {"seconds": round(seconds, 2), "mask": lambda: np.load(out / "mask.npy")}


def _segment(
    slide: Path, model: str, out: Path, changes: tuple[str, ...], *, backend: str = "auto"
) -> dict[str, Any]:
    row = segmented(slide, model, list(changes), out=out, more=("--backend", backend))
    return {
        "tiles": row["tiles"],
        "work_s": row["stages_s"]["total"],
        "peak_mb": row["peak_mb"],
        "seconds": row["seconds"],
        "mask": lambda: _mask(out),
    }


def _mask(out: Path) -> np.ndarray:
    (path,) = out.glob("*/mask.ome.tif")
    with open_mask(path) as mask:
        return mask.rows(0, mask.size.height)


def show(row: dict[str, Any]) -> None:
    """Print the table; last, how equal masks are where the loop is given the same pixels."""
    print(f"{row['slide']}, model {row['model']}; seconds of whole processes, and of work alone")
    print(
        f"{'':<36}{'tiles':>7}{'s':>9}{'work':>9}{'x':>7}{'MB':>8}{'of':>7}"
        f"{'equal px':>10}{'Dice':>9}"
    )
    for name, run in row["runs"].items():
        print(
            f"{name:<36}{run['tiles']:>7}{run['seconds']:>9.1f}{run['work_s']:>9.1f}"
            f"{run['faster']:>7.2f}{run['peak_mb']:>8.0f}{run['memory_share']:>7.2f}"
            f"{run['equal']:>10.5f}{run['dice']:>9.5f}"
        )
    same = row["same_pixels"]
    print(
        f"segment, PyTorch fp32, and the loop on its pixels: {100 * same['equal']:.4f} % equal, "
        f"Dice {same['dice']:.6f}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("slide", nargs="?", type=Path)
    parser.add_argument("--model", default="glands")
    parser.add_argument("--side", type=int, default=8_000, help="of the phantom, px")
    parser.add_argument("--folder", type=Path, default=Path("phantoms"), help="of phantoms")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--loop", type=Path, help=argparse.SUPPRESS)  # of the process it starts
    for name in ("--every", "--finer"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
