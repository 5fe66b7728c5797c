"""
Overlapping tiles without seams
===============================

A network sees less at a tile's edge than in its middle. Tiles overlap, and each counts less towards
its edge; the sums are divided by the weights. A toy predictor that errs at the edge shows why.
"""

import matplotlib.pyplot as plt
import numpy as np

from slidemask.geometry.box import Size
from slidemask.infer.blend import Ring, weights
from slidemask.tiles.grid import TileGrid

WIDTH, HEIGHT, TILE, STRIDE = 600, 360, 120, 80
grid = TileGrid(Size(WIDTH, HEIGHT), TILE, STRIDE)
y, x = np.mgrid[:HEIGHT, :WIDTH]
truth = 0.5 + 0.3 * np.sin(x / 90) * np.cos(y / 90)

# %%
# The predictor is right in the middle of a tile and off by up to 0.2 at its edge, differently in
# each tile.
rng = np.random.default_rng(0)
inside = np.minimum(np.arange(TILE), np.arange(TILE)[::-1])
edge = np.clip(1 - np.minimum.outer(inside, inside) / 15, 0, 1)
errors = rng.choice([-0.2, 0.2], grid.shape)


def blended(window: str) -> np.ndarray:
    """Predict all tiles and join them by row bands, as whole slides are."""
    ring = Ring(classes=1, tile=TILE, stride=STRIDE, width=WIDTH)
    weight = weights(TILE, STRIDE, window)
    padded = np.pad(truth, ((0, TILE), (0, TILE)), mode="edge")
    bands = []
    for row in range(grid.shape[0]):
        for column in range(grid.shape[1]):
            top, left = row * STRIDE, column * STRIDE
            tile = padded[top : top + TILE, left : left + TILE] + errors[row, column] * edge
            ring.add(np.clip(tile, 0, 1)[None].astype(np.float32), left, weight)
        last = row == grid.shape[0] - 1
        bands.append(ring.flush(HEIGHT - row * STRIDE if last else STRIDE)[0])
    return np.concatenate(bands) / 255


# %%
# Weights that are all alike leave steps where tiles begin; with a ramp they fade. Along the slide's
# own border there is no second tile to help.
figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
for axis, (title, values) in zip(
    axes,
    (("truth", truth), ("flat weights", blended("flat")), ("ramp weights", blended("ramp"))),
    strict=True,
):
    axis.imshow(values, cmap="magma", vmin=0, vmax=1)
    axis.set_title(f"{title}: mean error {np.abs(values - truth).mean():.3f}")
    axis.axis("off")
