"""Small bundles of every kind, with weights that give answers of all strengths."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from exportkinds import KINDS
from journey import discs, write_png
from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, BundleInfo, save_bundle
from slidemask.models.segmenter import Segmenter
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling

MakeBundle = Callable[..., Bundle]


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """Return a function that makes a bundle of a kind."""

    def make(kind: str) -> Bundle:
        about = KINDS[kind]
        classes = ClassMap(
            classes=(ClassInfo(name="gland"), ClassInfo(name="vessel", colour=(200, 0, 10)))
        )
        tile, context = about["tile"], about.get("context")
        tiling = Tiling(tile_px=tile, overlap=0.0, downsample=1.0, context=context)
        info = BundleInfo(
            name=f"{kind}",
            model=about["spec"],
            classes=classes,
            tiling=tiling,
            filters=Filters(tissue=None),
            use={"post": {"threshold": 0.4}},
            provenance={"licence": "CC BY 4.0"},
        )
        folder = tmp_path_factory.mktemp("bundles") / kind
        save_bundle(folder, info, _lively(about["spec"], tile, context), card="", scores={})
        return Bundle.load(folder, "cpu")

    return make


def _lively(spec: ModelSpec, tile: int, context: float | None) -> Segmenter:
    """Random weights, with statistics of real pictures, so that normalisation does something."""
    torch.manual_seed(3)
    segmenter = Segmenter(spec, 2, context, tile).train()
    pixels, _ = discs(4 * tile, tile, seed=5)
    batch = torch.from_numpy(pixels.reshape(4, tile, tile, 3))
    if context is not None:
        batch = torch.cat([batch, batch.flip(0)], dim=3)
    with torch.no_grad():
        for _ in range(30):
            segmenter(batch)
    return segmenter.eval()


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of dark discs, large enough for many tiles."""
    pixels, _ = discs(200, 240, seed=1)
    return write_png(
        tmp_path_factory.mktemp("pictures") / "discs.png", np.ascontiguousarray(pixels)
    )
