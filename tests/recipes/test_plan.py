"""Plans: counted without a network, against grids, hand counts and what the slide really holds."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from slidemask.base.types import Probs
from slidemask.io.array import ArraySlide
from slidemask.io.open import open_slide
from slidemask.io.pyramid import write_rgb_pyramid
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, BundleInfo
from slidemask.models.devices import Precision
from slidemask.models.segmenter import Segmenter
from slidemask.recipes import plan as module
from slidemask.recipes.plan import Plan, plan
from slidemask.recipes.segment import Use, use_of
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling, lay_grid
from slidemask.tiles.select import select

from fakes import GLAND  # isort: skip

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Untouchable(Bundle):
    """A bundle whose network must not run."""

    def predict(self, tiles: np.ndarray, precision: Precision = "auto") -> Probs:
        raise AssertionError(f"a plan sent {tiles.shape} in {precision} through the network")


def bundle_of(tiling: Tiling, *, width: int = 2, depth: int = 1) -> Untouchable:
    spec = ModelSpec(width=width, depth=depth)
    info = BundleInfo(name="plan", model=spec, classes=GLAND, tiling=tiling)
    return Untouchable(info, Segmenter(spec, 1).eval(), "plan", CPU)


def some_tissue(height: int = 900, width: int = 1300) -> np.ndarray:
    """Return glass with a piece of pink, cell-speckled tissue in its upper left part."""
    rng = np.random.default_rng(0)
    picture = np.full((height, width, 3), 245, np.uint8)
    piece = rng.normal((200, 120, 170), 12, (height // 2, width // 3, 3))
    picture[50 : 50 + height // 2, 50 : 50 + width // 3] = piece.clip(0, 255)
    return picture


@pytest.mark.parametrize("downsample", [1.0, 2.3, 4.0])
def test_grid_and_kept_tiles_are_those_of_the_run(downsample: float) -> None:
    slide = ArraySlide("tissue", some_tissue(), mpp=2.0)
    bundle = bundle_of(Tiling(tile_px=64, overlap=0.25, downsample=downsample))
    use = use_of(bundle)
    grid = lay_grid(slide, use.tiling)
    kept = select(slide, grid, use.filters).kept

    found = plan(slide, bundle, use)

    assert (found.tiles.grid, len(found.tiles)) == (grid, int(kept.sum()))
    assert 0 < len(found.tiles) < len(grid)
    told = found.as_dict()
    assert told["tiles_kept"] == kept.sum()
    assert told["grid"] == {"rows": grid.shape[0], "columns": grid.shape[1], "tiles": len(grid)}


@pytest.mark.parametrize(
    ("wanted", "level"), [(0.5, 0), (1.0, 0), (1.9, 0), (2.0, 1), (3.9, 1), (4.0, 2), (9.0, 3)]
)
def test_the_level_is_the_coarsest_that_is_fine_enough(
    tmp_path: Path, wanted: float, level: int
) -> None:
    picture = some_tissue()
    path = tmp_path / "slide.tif"
    height, width = picture.shape[:2]
    write_rgb_pyramid(path, iter([(0, picture)]), ArraySlide("", picture).size, mpp=1.0)
    bundle = bundle_of(Tiling(tile_px=64, downsample=wanted))
    use = Use(tiling=bundle.info.tiling, filters=Filters(tissue=None))
    with open_slide(path) as slide:
        assert slide.downsamples == (1, 2, 4, 8)
        found = plan(slide, bundle, use)
    assert (found.level, found.level_downsample) == (level, 2.0**level)
    assert (width, height) == found.tiles.grid.slide


def test_operations_are_those_counted_by_hand() -> None:
    """A U-Net of width 2 and depth 1, two output channels, on tiles of 32 pixels."""
    slide = ArraySlide("tissue", some_tissue(), mpp=2.0)
    bundle = bundle_of(Tiling(tile_px=32, downsample=4.0))
    fine, coarse = 32**2, 16**2  # pixels
    products = (
        fine * 9 * (3 * 2 + 2 * 2)  # first
        + coarse * 9 * (2 * 4 + 4 * 4)  # down
        + coarse * 4 * (4 * 2)  # up: each coarse pixel gives 2 x 2 of 2 channels
        + fine * 9 * (4 * 2 + 2 * 2)  # the skip beside it
        + fine * (2 * 2)  # last, 1 x 1
    )
    found = plan(slide, bundle, use_of(bundle))
    assert found.gigaflop_per_tile == pytest.approx(2 * products / 1e9, rel=1e-9)


def rest(found: Plan) -> float:
    canvas = found.tiles.grid.canvas
    return module.REST_S + module.REST_S_PER_MEGAPIXEL * canvas.width * canvas.height / 1e6


def test_cost_grows_with_tiles_views_and_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "_timed", lambda layer, _: 2e-3 if hasattr(layer, "stride") else 1e-3
    )
    slide = ArraySlide("tissue", some_tissue(), mpp=2.0)
    bundle = bundle_of(Tiling(tile_px=64, overlap=0.0, downsample=1.0))
    wide = bundle_of(Tiling(tile_px=64, overlap=0.0, downsample=1.0), width=16, depth=3)
    large_batch = use_of(bundle, ["blend.batch=64"])
    everywhere = use_of(bundle, ["filters.tissue=false"])
    some = plan(slide, bundle, use_of(bundle))
    assert plan(slide, wide, use_of(wide)).seconds > some.seconds > 0
    assert len(plan(slide, bundle, everywhere).tiles) == len(some.tiles.grid)
    assert plan(slide, bundle, large_batch).memory_mb > some.memory_mb
    views = plan(slide, bundle, use_of(bundle, ["blend.augmentation=all"]))
    network = some.seconds - rest(some)
    assert views.seconds - rest(some) == pytest.approx(8 * network)


@pytest.mark.parametrize("overlap", [0.0, 0.75, 0.875])
def test_tiles_that_vote_cost_what_sharing_leaves(overlap: float) -> None:
    slide = ArraySlide("tissue", some_tissue(), mpp=2.0)
    spec = ModelSpec(architecture="tile", filters=(4, 8, 8), head="pool", activation="sigmoid")
    tiling = Tiling(tile_px=64, overlap=overlap, downsample=1.0)
    info = BundleInfo(name="plan", model=spec, classes=GLAND, tiling=tiling)
    bundle = Untouchable(info, Segmenter(spec, 1, None, 64).eval(), "plan", CPU)
    stride = round(64 * (1 - overlap))
    products = [9 * 3 * 4, 9 * 4 * 8, 9 * 8 * 8]
    head = 8 * (8 + 1)
    alone = sum(n * side**2 for n, side in zip(products, (62, 29, 12), strict=True)) + head
    # Each pixel of the canvas is convolved once, then each second, each fourth.
    shared = (
        sum(n * (stride / step) ** 2 for n, step in zip(products, (1, 2, 4), strict=True)) + head
    )
    found = plan(slide, bundle, use_of(bundle))
    assert found.gigaflop_per_tile == pytest.approx(2 * min(alone, shared) / 1e9, rel=1e-9)
    views = plan(slide, bundle, use_of(bundle, ["blend.augmentation=all"]))
    assert views.gigaflop_per_tile == pytest.approx(2 * alone / 1e9, rel=1e-6)
    other = plan(slide, bundle, use_of(bundle, ["tiling.tile_px=96"]))
    assert other.tiles.grid.tile == 96
    assert bundle.segmenter.tile_net().spec.tile_px == 64, "the plan leaves the network alone"


def test_a_cascade_is_expected_to_leave_what_it_left_on_validation_slides() -> None:
    slide = ArraySlide("tissue", some_tissue(), mpp=2.0)
    alone = bundle_of(Tiling(tile_px=64, overlap=0, downsample=1.0), width=16, depth=3)
    coarse = bundle_of(Tiling(tile_px=64, overlap=0, downsample=8.0))
    told = {"threshold": 0.25, "recall": 0.99, "tiles": 400, "left": 100}
    settled = {"use": {"cascade": {"threshold": 0.25}}, "provenance": {"cascade": told}}
    info = alone.info.model_copy(update=settled)
    cascade = replace(alone, info=info, coarse=coarse)
    everywhere = plan(slide, alone, use_of(alone))
    narrowed = plan(slide, cascade, use_of(cascade))
    assert "tiles_looked_at" not in everywhere.as_dict()
    assert narrowed.as_dict()["tiles_looked_at"] == round(len(everywhere.tiles) / 4)
    assert len(narrowed.tiles) == len(everywhere.tiles)
    for threshold in ("0", "0.3"):  # of other thresholds nothing is known
        other = use_of(cascade, [f"cascade.threshold={threshold}"])
        assert plan(slide, cascade, other).looked_at is None
