"""The ground truth of a phantom, nuclei of small windows included."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from shapely import affinity
from shapely.geometry import Polygon
from skimage.measure import label

from slidemask.data.phantom.render import BLOCK
from slidemask.data.phantom.settings import NUCLEI, Window
from slidemask.data.phantom.slide import PhantomSlide
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.trace import trace

MIN_PIXELS = 4


def truth_of(slide: PhantomSlide) -> Annotations:
    """Return what the slide's settings ask to annotate, and the nuclei of their windows."""
    whole = slide.layout.annotations
    kept = [n for n, name in enumerate(whole.labels) if name in slide.settings.annotate]
    polygons, labels = list(whole.polygons[kept]), [whole.labels[n] for n in kept]
    for window in slide.settings.nuclei_in:
        for polygon, name in nuclei_of(slide, window):
            polygons.append(polygon)
            labels.append(name)
    return Annotations.of(polygons, labels)


def nuclei_of(slide: PhantomSlide, window: Window) -> Iterator[tuple[Polygon, str]]:
    """Yield the outline and kind of every nucleus, along the edges of the pixels that show it.

    Nuclei that the window's edge cuts end there.
    """
    numbers = _numbers(slide, window)
    parts = np.asarray(label(numbers, background=0, connectivity=1), np.int32)
    for index, place in enumerate(ndimage.find_objects(parts), start=1):
        mask = parts[place] == index
        if np.count_nonzero(mask) < MIN_PIXELS:
            continue
        rows, columns = place
        kind = NUCLEI[int(numbers[place][mask][0]) % 2]
        for polygon in trace(mask):
            yield (
                affinity.translate(polygon, window.x + columns.start, window.y + rows.start),
                kind,
            )


def _numbers(slide: PhantomSlide, window: Window) -> NDArray[np.int32]:
    rows = range(window.y // BLOCK, (window.y + window.height - 1) // BLOCK + 1)
    columns = range(window.x // BLOCK, (window.x + window.width - 1) // BLOCK + 1)
    blocks = [[slide.painter.nuclei(row, column) for column in columns] for row in rows]
    whole = np.concatenate([np.concatenate(line, axis=1) for line in blocks])
    top, left = window.y - rows[0] * BLOCK, window.x - columns[0] * BLOCK
    return whole[top : top + window.height, left : left + window.width]
