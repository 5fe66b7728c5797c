"""The slide that `slidemask demo` makes when it is given none."""

from pathlib import Path

from slidemask.data.phantom.settings import PhantomSettings
from slidemask.data.phantom.write import write_phantom

SETTINGS = PhantomSettings(
    width_px=9_000, height_px=6_500, mpp=0.5, tissue_share=0.35, piece_mm=2.2, pens=1
)


def demo_phantom(folder: Path) -> Path:
    """Write the demo's synthetic slide, unless it is there already; return its path."""
    slide = folder / "phantom-7.tif"
    if not slide.exists():
        slide = write_phantom(folder, SETTINGS, seed=7).slide
    return slide
