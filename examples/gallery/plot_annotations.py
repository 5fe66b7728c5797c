"""
Polygons to a mask, and back
============================

A pixel belongs to a polygon where its centre lies inside, and outlines run along pixel edges. So a
mask that became polygons becomes the same mask again, holes included.
"""

import matplotlib.pyplot as plt
import numpy as np
import shapely

from slidemask.geometry.annotations import Annotations
from slidemask.geometry.box import Box, Size
from slidemask.geometry.trace import trace

# %%
# Two annotations in level-0 pixels: a ring, and a blob that lies on top of it.
ring = shapely.Point(70, 60).buffer(48).difference(shapely.Point(70, 60).buffer(24))
blob = shapely.Point(128, 84).buffer(30)
drawn = Annotations.of([ring, blob], ["ring", "blob"])

# %%
# The mask at five level-0 pixels per pixel, as a network might see it.
downsample = 5.0
box = Box(0, 0, *Size(180, 120))
mask = drawn.rasterise(box, downsample, {"ring": 1, "blob": 2})

# %%
# Each class back to polygons, and those to a mask once more.
found, labels = [], []
for value, name in ((1, "ring"), (2, "blob")):
    for polygon in trace(mask == value):
        found.append(shapely.transform(polygon, lambda places: places * downsample))
        labels.append(name)
traced = Annotations.of(found, labels)
again = traced.rasterise(box, downsample, {"ring": 1, "blob": 2})
print("identical:", np.array_equal(mask, again))

# %%
# Dashed: what was drawn. Solid: what comes back, along the edges of the pixels.
figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
axes.imshow(mask, extent=(0, 180, 120, 0), cmap="Blues", vmax=3)
for regions, style in ((drawn, "--"), (traced, "-")):
    for polygon in regions.polygons:
        for outline in (polygon.exterior, *polygon.interiors):
            axes.plot(*outline.xy, style, color="tab:red" if style == "-" else "black", lw=1.5)
axes.set_title(f"{len(drawn)} polygons, a mask of {mask.shape[1]} × {mask.shape[0]} px, and back")
