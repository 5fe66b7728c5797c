"""
From a slide to its tiles
=========================

Open a slide, lay a grid over it, and keep the tiles that hold tissue. The slide is synthetic.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

from slidemask.data.phantom.settings import PhantomSettings
from slidemask.data.phantom.write import write_phantom
from slidemask.io.open import open_slide
from slidemask.post.preview import thumbnail
from slidemask.tiles.grid import Tiling, lay_grid
from slidemask.tiles.select import select

# %%
# A phantom is written like a real slide: a tiled pyramid with its pixel size, and its ground truth
# beside it.
settings = PhantomSettings(width_px=5000, height_px=3500, mpp=1.0, tissue_share=0.3, piece_mm=2)
phantom = write_phantom(Path(tempfile.mkdtemp()), settings, seed=3)

# %%
# The grid is laid at a resolution, 4 µm per pixel here, whatever the slide's own may be.
slide = open_slide(phantom.slide)
grid = lay_grid(slide, Tiling(tile_px=128, overlap=0.25, mpp=4.0))
print(f"{slide.size}, {slide.mpp:g} µm per pixel, levels {slide.downsamples}")
print(f"{len(grid)} tiles, {grid.downsample:g} level-0 pixels per pixel, canvas {grid.canvas}")

# %%
# Tissue is judged on one small picture; no tile has been read yet.
tiles = select(slide, grid)
print(f"{len(tiles)} of {len(grid)} tiles are kept")

picture, scale = thumbnail(slide, 1000)
figure, axes = plt.subplots(figsize=(9, 6.5), layout="constrained")
axes.imshow(picture)
for tile in tiles:
    corner, side = (tile.box.x / scale, tile.box.y / scale), tile.box.width / scale
    axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="tab:blue", linewidth=0.8))
axes.set_title(f"Synthetic slide: {len(tiles)} of {len(grid)} tiles, a quarter of each shared")
axes.axis("off")
slide.close()
