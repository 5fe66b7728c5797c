"""Labelled polygons in level-0 pixels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from slidemask.base.types import Labels
from slidemask.geometry.box import Box
from slidemask.geometry.raster import paint


@dataclass(frozen=True, eq=False)
class Annotations:
    """Polygons with one label each; where they overlap, the later one lies on top.

    Parameters
    ----------
    polygons : (N,) object array of shapely Polygon
        Level-0 pixels, y down. `Annotations.of` makes it from any sequence.
    labels : tuple of str
        One per polygon; the empty string means unclassified.

    Raises
    ------
    ValueError
        If the numbers of polygons and labels differ.

    Examples
    --------
    >>> regions = Annotations.of([shapely.box(0, 0, 2, 2), shapely.box(1, 0, 4, 1)], ["a", "b"])
    >>> regions.rasterise(Box(0, 0, 4, 2), 1.0, {"a": 1, "b": 2})
    array([[1, 2, 2, 2],
           [1, 1, 0, 0]], dtype=uint8)
    """

    polygons: NDArray[np.object_]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.polygons.shape != (len(self.labels),):
            raise ValueError(f"{self.polygons.shape} polygons, but {len(self.labels)} labels")

    @classmethod
    def of(cls, polygons: Iterable[Polygon | MultiPolygon], labels: Sequence[str]) -> "Annotations":
        """Gather polygons; a MultiPolygon becomes one polygon per part, with the same label."""
        whole = np.array([*polygons, None], dtype=object)[:-1]  # None keeps it one-dimensional
        if len(whole) != len(labels):
            raise ValueError(f"{len(whole)} polygons, but {len(labels)} labels")
        if np.all(shapely.get_type_id(whole) == shapely.GeometryType.POLYGON):
            return cls(whole, tuple(labels))  # parts would be copies
        parts, owner = shapely.get_parts(whole, return_index=True)
        if not np.all(shapely.get_type_id(parts) == shapely.GeometryType.POLYGON):
            raise ValueError("only Polygon and MultiPolygon have an area that can be annotated")
        names = list(labels)
        return cls(parts, tuple(names[index] for index in owner.tolist()))

    @classmethod
    def empty(cls) -> "Annotations":
        """Return no polygons at all."""
        return cls(np.empty(0, dtype=object), ())

    def __len__(self) -> int:
        return len(self.labels)

    def within(self, box: Box) -> "Annotations":
        """Return those that reach into `box`, or touch it, whole and in their order."""
        return self._select(self._reaching(box))

    def rasterise(
        self, box: Box, downsample: float, index: Mapping[str, int], fill: int = 0
    ) -> Labels:
        """Return the class of each pixel centre; later polygons win.

        Parameters
        ----------
        box, downsample
            What `slide.read` would take: level-0 pixels, level-0 pixels per output pixel.
        index : mapping of str to int
            Pixel value of each label, 0..255; polygons of other labels are passed over.
        fill : int
            Value where there is no polygon.

        Returns
        -------
        (H, W) uint8
            `box.shape_at(downsample)`.
        """
        labels = np.full(box.shape_at(downsample), fill, np.uint8)
        for number in self._reaching(_covered(box, downsample)).tolist():
            if (value := index.get(self.labels[number])) is not None:
                polygon: Polygon = self.polygons.item(number)
                paint(labels, polygon, value, box=box, downsample=downsample)
        return labels

    def _select(self, numbers: NDArray[np.intp]) -> "Annotations":
        return Annotations(self.polygons[numbers], tuple(self.labels[n] for n in numbers))

    def _reaching(self, box: Box) -> NDArray[np.intp]:
        area = shapely.box(box.x, box.y, box.x + box.width, box.y + box.height)
        return np.sort(self._tree.query(area, predicate="intersects"))

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.polygons)


def _covered(box: Box, downsample: float) -> Box:
    """Return what the output's pixels cover, which rounding may make larger than `box`."""
    height, width = box.shape_at(downsample)
    return Box(box.x, box.y, width * downsample, height * downsample)
