"""What is known of a slide's pixels, from polygons or from a label image."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slidemask.base.classes import ClassMap
from slidemask.base.errors import AnnotationError, CohortError, UnknownClassError
from slidemask.base.types import IGNORE, Labels
from slidemask.data.case import Case
from slidemask.data.pairs import PICTURES
from slidemask.data.table import listed
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.box import Box, Size
from slidemask.io.geojson import read_geojson
from slidemask.io.labelimage import read_label_image
from slidemask.io.slide import Slide

log = logging.getLogger(__name__)

_POLYGONS = (".geojson", ".json", ".gz", ".zip")
_VALUES, _STRANGE = 1 << 16, -1


class Truth(Protocol):
    """What is known of a slide's pixels."""

    @property
    def native_downsample(self) -> float | None:
        """Level-0 pixels per pixel of the label image; None where the truth is polygons."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory held, roughly."""
        ...

    def labels(self, box: Box, downsample: float) -> Labels:
        """Return (H, W) uint8 class indices at the pixels' centres, 255 where nothing is known.

        The shape is `box.shape_at(downsample)`; outside the slide nothing is known.
        """
        ...


@dataclass(frozen=True, eq=False)
class PolygonTruth:
    """Polygons; where they overlap the later one wins.

    Parameters
    ----------
    slide : Size
        Level-0 pixels.
    annotations : Annotations
        Polygons of the classes, and of background where it was annotated.
    index : mapping of str to int
        Class index of each label.
    region : Annotations, optional
        Areas that were annotated completely; outside them nothing is known.
    fill : int
        What a pixel is that no polygon holds: 0, or 255 where annotation is incomplete.
    """

    slide: Size
    annotations: Annotations
    index: Mapping[str, int]
    region: Annotations | None = None
    fill: int = 0

    @property
    def native_downsample(self) -> None:
        """Polygons have no pixels of their own."""

    @property
    def nbytes(self) -> int:
        """Memory held, at a guess of 2 kB a polygon."""
        return 2000 * len(self.annotations)

    def labels(self, box: Box, downsample: float) -> Labels:
        """Return (H, W) class indices, 255 where nothing is known."""
        labels = self.annotations.rasterise(box, downsample, self.index, fill=self.fill)
        if self.region is not None:
            known = self.region.rasterise(box, downsample, dict.fromkeys(self.region.labels, 1))
            labels[known == 0] = IGNORE
        rows, columns = _centres(box, downsample)
        labels[(rows < 0) | (rows >= self.slide.height)] = IGNORE
        labels[:, (columns < 0) | (columns >= self.slide.width)] = IGNORE
        return labels


@dataclass(frozen=True, eq=False)
class LabelImageTruth:
    """A picture of class indices, one per level-0 pixel, read at the nearest pixel.

    Parameters
    ----------
    pixels : (H, W) uint8
        Class indices, 255 where nothing is known.
    """

    pixels: Labels

    @property
    def native_downsample(self) -> float:
        """One label per level-0 pixel."""
        return 1.0

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.pixels.nbytes

    def labels(self, box: Box, downsample: float) -> Labels:
        """Return (H, W) class indices, 255 where nothing is known."""
        rows, columns = (np.floor(centres).astype(np.intp) for centres in _centres(box, downsample))
        height, width = self.pixels.shape
        row_in = (rows >= 0) & (rows < height)
        column_in = (columns >= 0) & (columns < width)
        labels = np.full(box.shape_at(downsample), IGNORE, np.uint8)
        labels[np.ix_(row_in, column_in)] = self.pixels[np.ix_(rows[row_in], columns[column_in])]
        return labels


def open_truth(case: Case, slide: Slide, classes: ClassMap) -> PolygonTruth | LabelImageTruth:
    """Read a case's annotations in the terms of `classes`.

    Inside region polygons, where the class map names them and the file has some, everything is
    known and outside nothing. Without them, what is not annotated is background if the case
    (or, where it does not say, the class map) is complete, otherwise unknown. Polygons called
    'background' are background. A case without annotations must say that it is complete: it is
    background altogether.

    Raises
    ------
    CohortError
        If there are no annotations, or a label image has another size than its slide.
    UnknownClassError
        If a polygon's name, or a label image's value, belongs to no class.
    AnnotationError
        If the file cannot be read.
    """
    complete = classes.complete if case.complete is None else case.complete
    if case.annotations is None:
        if not case.complete:
            raise CohortError(
                f"{case.slide} has no annotations. Name their file in the cohort's `annotations` "
                "column, or, if the slide holds none of the classes, write yes under `complete`."
            )
        return PolygonTruth(slide.size, Annotations.empty(), {})
    suffix = case.annotations.suffix.lower()
    if suffix in PICTURES:
        truth = _from_label_image(case.annotations, classes, complete=complete)
        _check_size(case.annotations, truth.pixels.shape, case, slide)
        return truth
    if suffix in _POLYGONS:
        annotations = read_geojson(case.annotations)
        return _from_polygons(case.annotations, annotations, classes, (slide.size, complete))
    raise AnnotationError(
        f"{case.annotations}: annotations are read from polygons ({', '.join(_POLYGONS)}) or "
        f"label images ({', '.join(sorted(PICTURES))}), not from {suffix or 'such a file'}."
    )


def _from_polygons(
    path: Path, annotations: Annotations, classes: ClassMap, known: tuple[Size, bool]
) -> PolygonTruth:
    size, complete = known
    if "" in annotations.labels and len(classes.classes) == 1:
        only = classes.classes[0].name
        log.info(
            "%s: %d unclassified polygons are taken as %r, the only class",
            path,
            annotations.labels.count(""),
            only,
        )
        annotations = replace(
            annotations, labels=tuple(label or only for label in annotations.labels)
        )
    ignored = {name.casefold() for name in classes.ignored}
    region_name = classes.region.casefold() if classes.region else None
    is_region = [label.casefold() == region_name for label in annotations.labels]
    index = {
        label: _index(label, classes)
        for label, region in zip(annotations.labels, is_region, strict=True)
        if not region and label.casefold() not in ignored
    }
    _refuse_unknown(path, sorted(name for name, value in index.items() if value is None), classes)
    fill = 0 if complete or any(is_region) else IGNORE
    return PolygonTruth(
        size,
        _only(annotations, [label in index for label in annotations.labels]),
        {name: value for name, value in index.items() if value is not None},
        _only(annotations, is_region) if any(is_region) else None,
        fill,
    )


def _index(label: str, classes: ClassMap) -> int | None:
    found = classes.index_of(label)
    return 0 if found is None and label.casefold() == classes.names[0] else found


def _only(annotations: Annotations, wanted: Sequence[bool]) -> Annotations:
    labels = tuple(label for label, kept in zip(annotations.labels, wanted, strict=True) if kept)
    return Annotations(annotations.polygons[np.asarray(wanted, bool)], labels)


def _refuse_unknown(path: Path, names: list[str], classes: ClassMap) -> None:
    if not names:
        return
    known = [name for info in classes.classes for name in (info.name, *info.annotations)]
    shown = [repr(name) if name else "'' (unclassified)" for name in names]
    raise UnknownClassError(
        f"{path} holds polygons called {listed(shown)}; the class map knows "
        f"{listed([repr(name) for name in known])}. Add each name to `annotations` of the class "
        "that it means, or to `ignored`."
    )


def _from_label_image(path: Path, classes: ClassMap, *, complete: bool) -> LabelImageTruth:
    values = read_label_image(path)
    table = label_table(classes)
    if not complete:
        table[0] = IGNORE
    found = np.flatnonzero(np.bincount(values.ravel(), minlength=1))
    strange = found[table[found] == _STRANGE]
    if strange.size:
        known = np.flatnonzero(table != _STRANGE)
        raise UnknownClassError(
            f"{path} holds the values {listed([str(value) for value in found])}; the class map "
            f"knows {listed([str(value) for value in known])}. Add "
            f"{listed([str(value) for value in strange])} to `values` of the class that it means."
        )
    return LabelImageTruth(np.ascontiguousarray(table.astype(np.uint8)[values]))


def label_table(classes: ClassMap) -> NDArray[np.int16]:
    """Return the class index of each of the 65,536 values of a label image, -1 where unknown.

    A single class without `values` is any value but 0, so that masks of 0 and 1, of 0 and 255 and
    numbered objects all do. Otherwise a class is its `values`, or its index where it has none; 0
    is background and 255 unknown, unless a class claims them.

    >>> from slidemask.base.classes import ClassInfo
    >>> nucleus, cytoplasm = ClassInfo(name="n", values=(255,)), ClassInfo(name="c", values=(128,))
    >>> label_table(ClassMap(classes=(nucleus, cytoplasm)))[[0, 1, 128, 255]].tolist()
    [0, -1, 2, 1]
    """
    if len(classes.classes) == 1 and not classes.classes[0].values:
        table = np.ones(_VALUES, np.int16)
        table[0] = 0
        return table
    table = np.full(_VALUES, _STRANGE, np.int16)
    table[0], table[IGNORE] = 0, IGNORE
    for index, info in enumerate(classes.classes, start=1):
        table[list(info.values or (index,))] = index
    return table


def _check_size(path: Path, shape: tuple[int, ...], case: Case, slide: Slide) -> None:
    size = Size(shape[1], shape[0])
    if size != slide.size:
        raise CohortError(
            f"{path} has {size.width} x {size.height} px, its slide {case.slide} "
            f"{slide.size.width} x {slide.size.height}; a label image needs a pixel for each of "
            "its slide's."
        )


def _centres(box: Box, downsample: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the level-0 y of each row's and x of each column's pixel centre."""
    height, width = box.shape_at(downsample)
    rows, columns = (np.arange(count, dtype=np.float64) + 0.5 for count in (height, width))
    return box.y + rows * downsample, box.x + columns * downsample
