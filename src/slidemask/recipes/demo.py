"""The slide that `slidemask demo` makes when it is given none."""

from pathlib import Path

from slidemask.data.phantom.settings import PhantomSettings
from slidemask.data.phantom.write import write_phantom

SEED = 5
SETTINGS = PhantomSettings(
    width_px=9_000,
    height_px=6_500,
    mpp=0.5,
    tissue_share=0.4,
    piece_mm=1.7,
    pens=1,
    clusters_per_cm2=60,
)


def demo_phantom(folder: Path) -> Path:
    """Write the demo's synthetic slide, unless it is there already; return its path."""
    slide = folder / f"phantom-{SEED}.tif"
    if not slide.exists():
        slide = write_phantom(folder, SETTINGS, seed=SEED).slide
    return slide
