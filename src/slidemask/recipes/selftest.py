"""Prove on this very machine that reading, network and writing work."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slidemask.base.errors import SlidemaskError
from slidemask.data.case import Case
from slidemask.geometry.box import Box, Size
from slidemask.io.geojson import read_geojson
from slidemask.io.maskfile import open_mask
from slidemask.io.open import open_slide
from slidemask.io.pyramid import write_rgb_pyramid
from slidemask.models.bundle import Bundle, shipped_names
from slidemask.recipes.segment import Options, segment

SIZE = Size(1500, 1100)
PINK = (225, 160, 200)


class Check(NamedTuple):
    """One thing that was tried."""

    what: str
    passed: bool
    note: str


def self_test(device: str = "auto") -> Iterator[Check]:
    """Write a slide, read it, load each shipped model, segment, read the results back."""
    with tempfile.TemporaryDirectory(prefix="slidemask-") as name:
        folder = Path(name)
        slide = folder / "self test.tif"
        yield _tried("write a slide", lambda: _write(slide))
        yield _tried("read it back", lambda: _read(slide))
        for model in shipped_names():
            yield _tried(f"model {model}", lambda model=model: _network(model, device))
            to = folder / model
            yield _tried(
                f"segment with {model}",
                lambda model=model, to=to: _segment(slide, model, to, device),
            )


def _tried(what: str, check: Callable[[], str]) -> Check:
    began = time.perf_counter()
    try:
        note = check()
    except (SlidemaskError, OSError, RuntimeError, ValueError, AssertionError) as error:
        return Check(what, passed=False, note=f"{type(error).__name__}: {error}")
    return Check(what, passed=True, note=f"{note}, {time.perf_counter() - began:.1f} s")


def _picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    pixels = np.full((SIZE.height, SIZE.width, 3), 244, np.uint8)
    tissue = rng.normal(PINK, 12, (600, 900, 3)).clip(0, 255)
    pixels[200:800, 300:1200] = tissue.astype(np.uint8)
    return pixels


def _write(path: Path) -> str:
    write_rgb_pyramid(path, iter([(0, _picture())]), SIZE, mpp=0.5)
    return f"{path.stat().st_size / 1e3:.0f} kB"


def _read(path: Path) -> str:
    with open_slide(path) as slide:
        pixels = slide.read(Box(300, 200, 900, 600), 4.0)
        _must(slide.size == SIZE, f"size {slide.size}")
        _must(slide.mpp is not None and abs(slide.mpp - 0.5) < 0.001, f"mpp {slide.mpp}")
        off = np.abs(pixels.mean(axis=(0, 1)) - PINK).max()
        _must(off < 3, f"colours are off by {off:.1f}")
        return f"{slide.reader}, mpp {slide.mpp:g}"


def _network(name: str, device: str) -> str:
    bundle = Bundle.load(name, device)
    side = bundle.info.tiling.tile_px
    probs = bundle.predict(np.full((1, side, side, bundle.segmenter.channels), 240, np.uint8))
    _must(probs.shape == (1, len(bundle.info.classes.names), side, side), f"shape {probs.shape}")
    _must(bool(np.allclose(probs.sum(axis=1), 1, atol=1e-3)), "probabilities do not add up to 1")
    return f"on {bundle.device}"


def _segment(slide: Path, model: str, out: Path, device: str) -> str:
    (outcome,) = segment([Case(slide)], Bundle.load(model, device), out, Options())
    _must(outcome.state == "done", outcome.message)
    with open_mask(outcome.folder / "mask.ome.tif") as mask:
        size = mask.size
    regions = read_geojson(outcome.folder / "polygons.geojson")
    return f"mask {size.width} × {size.height}, {len(regions)} polygons"


def _must(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - it is the point
    if not holds:
        raise ValueError(otherwise)
