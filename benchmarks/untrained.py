"""The network that the design's numbers speak of, untrained: for timing alone.

    python benchmarks/untrained.py FOLDER [--tile 512]

writes U-Net++ over EfficientNet-B0 at 10x as a bundle that `--model` of the other scripts takes.
It says background everywhere: what an untrained network finds is noise, a million objects of a few
pixels, and would time that instead. What objects cost after the network, `tail.py` measures.
"""

import argparse
from pathlib import Path

import torch

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import BundleInfo, save_bundle
from slidemask.models.segmenter import Segmenter
from slidemask.tiles.grid import Tiling

NEVER = -100.0


def untrained(folder: Path, tile: int = 512) -> Path:
    """Write the bundle; return its folder."""
    torch.manual_seed(0)
    spec = ModelSpec(architecture="UnetPlusPlus", encoder="efficientnet-b0", depth=5)
    info = BundleInfo(
        name="U-Net++ over EfficientNet-B0, untrained",
        model=spec,
        classes=ClassMap(classes=(ClassInfo(name="gland"),)),
        tiling=Tiling(tile_px=tile, overlap=0.2, magnification=10),
    )
    segmenter = Segmenter(spec, 1)
    last = [part for part in segmenter.network.modules() if isinstance(part, torch.nn.Conv2d)][-1]
    assert last.bias is not None
    torch.nn.init.constant_(last.bias[1:], NEVER)
    save_bundle(folder, info, segmenter, card="# Untrained, for timing alone", scores={})
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tile", type=int, default=512, help="side of a tile, px")
    asked = parser.parse_args()
    print(untrained(asked.folder, asked.tile))
