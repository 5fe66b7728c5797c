"""Phantom slides (synthetic) for benchmarks, made once and kept in a folder."""

import shutil
from pathlib import Path

from slidemask.data.phantom.settings import PhantomSettings
from slidemask.data.phantom.write import write_phantom


def phantom(folder: Path, side: int, tissue_share: float) -> Path:
    """Return a phantom of `side` x `side` pixels at 0.5 µm; make it if it is not in `folder`."""
    home = folder / f"{side}-{tissue_share:g}"
    slide = home / "phantom-0.tif"
    if not slide.exists():
        print(f"making a phantom of {side} x {side} pixels in {home} …", flush=True)
        beside = home.with_suffix(".part")
        shutil.rmtree(beside, ignore_errors=True)
        settings = PhantomSettings(width_px=side, height_px=side, tissue_share=tissue_share)
        write_phantom(beside, settings, seed=0)
        beside.rename(home)
    return slide
