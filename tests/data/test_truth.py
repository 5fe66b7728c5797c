"""What is known of a slide's pixels, against point by point look-up."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import AnnotationError, CohortError, UnknownClassError
from slidemask.base.types import IGNORE
from slidemask.data.case import Case
from slidemask.data.truth import LabelImageTruth, Truth, open_truth
from slidemask.geometry.box import Box
from slidemask.io.array import ArraySlide

SLIDE = ArraySlide("s", np.zeros((40, 60, 3), np.uint8))
TWO = ClassMap(classes=(ClassInfo(name="gland"), ClassInfo(name="nucleus", annotations=("N",))))
ONE = ClassMap(classes=(ClassInfo(name="gland"),))
SHAPES = [
    ("gland", shapely.Point(20.3, 18.1).buffer(11.7)),
    ("n", shapely.Point(22.2, 15.4).buffer(4.1)),
    ("Gland", shapely.box(45.5, 20.5, 70, 50)),
]


def polygons(path: Path, shapes: list[tuple[str, Any]]) -> Case:
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(shape),
            "properties": {"classification": {"name": name}} if name else {},
        }
        for name, shape in shapes
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return Case(Path("s.png"), path)


def naive(shapes: list[tuple[int, Any]], box: Box, downsample: float, fill: int) -> np.ndarray:
    """The last shape that holds a pixel's centre; unknown outside the 60 x 40 slide."""
    height, width = box.shape_at(downsample)
    labels = np.full((height, width), fill)
    for row in range(height):
        for column in range(width):
            x, y = box.x + (column + 0.5) * downsample, box.y + (row + 0.5) * downsample
            for value, shape in shapes:
                if shape.contains(shapely.Point(x, y)):
                    labels[row, column] = value
            if not (0 <= x < 60 and 0 <= y < 40):
                labels[row, column] = IGNORE
    return labels


boxes = st.builds(
    Box,
    st.floats(-20, 60).map(lambda v: v + 0.0123),
    st.floats(-20, 40).map(lambda v: v + 0.0456),
    st.floats(5, 50),
    st.floats(5, 50),
)


@settings(deadline=None, max_examples=25)
@given(box=boxes, downsample=st.sampled_from([1.0, 1.7, 4.0, 0.6]), complete=st.booleans())
def test_polygons_equal_point_by_point(
    tmp_path_factory: pytest.TempPathFactory, box: Box, downsample: float, *, complete: bool
) -> None:
    case = polygons(tmp_path_factory.mktemp("p") / "a.geojson", SHAPES)
    truth = open_truth(replace(case, complete=complete), SLIDE, TWO)
    shapes: list[tuple[int, Any]] = [
        (value, shape) for value, (_, shape) in zip((1, 2, 1), SHAPES, strict=True)
    ]
    wanted = naive(shapes, box, downsample, 0 if complete else IGNORE)
    found = truth.labels(box, downsample)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, wanted)
    assert truth.native_downsample is None


def whole(truth: Truth) -> np.ndarray:
    return truth.labels(Box(0, 0, 60, 40), 1.0)


def test_region_is_known_and_the_rest_is_not(tmp_path: Path) -> None:
    region = shapely.box(10, 5, 30, 35).difference(shapely.box(12, 7, 14, 9))
    case = polygons(tmp_path / "a.geojson", [("ROI", region), *SHAPES])
    classes = TWO.model_copy(update={"region": "roi", "complete": False})
    labels = whole(open_truth(case, SLIDE, classes))
    inside = np.zeros((40, 60), bool)
    inside[5:35, 10:30] = True
    inside[7:9, 12:14] = False
    np.testing.assert_array_equal(labels == IGNORE, ~inside)
    plain = whole(open_truth(polygons(tmp_path / "b.geojson", SHAPES), SLIDE, TWO))
    np.testing.assert_array_equal(labels[inside], plain[inside])


def test_class_map_says_completeness_where_the_case_does_not(tmp_path: Path) -> None:
    case = polygons(tmp_path / "a.geojson", SHAPES)
    weak = TWO.model_copy(update={"complete": False, "region": "ROI"})
    assert set(np.unique(whole(open_truth(case, SLIDE, weak)))) == {1, 2, IGNORE}
    said = replace(case, complete=True)
    assert set(np.unique(whole(open_truth(said, SLIDE, weak)))) == {0, 1, 2}


def test_background_can_be_annotated(tmp_path: Path) -> None:
    case = polygons(tmp_path / "a.geojson", [*SHAPES, ("Background", shapely.box(0, 30, 40, 40))])
    labels = whole(open_truth(replace(case, complete=False), SLIDE, TWO))
    assert np.all(labels[30:, :40] == 0)
    assert labels[35, 42] == IGNORE


def test_unknown_names_are_errors_that_name_the_ways_out(tmp_path: Path) -> None:
    case = polygons(tmp_path / "a.geojson", [*SHAPES, ("Pen", shapely.box(0, 0, 5, 5))])
    with pytest.raises(UnknownClassError) as error:
        open_truth(case, SLIDE, TWO)
    for part in ("a.geojson", "'Pen'", "'gland'", "'nucleus'", "`annotations`", "`ignored`"):
        assert part in str(error.value)
    ignored = TWO.model_copy(update={"ignored": ("pen",)})
    assert whole(open_truth(case, SLIDE, ignored))[2, 2] == 0


def test_unclassified_is_the_only_class_or_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = polygons(tmp_path / "a.geojson", [("", shapely.box(0, 0, 5, 5))])
    with caplog.at_level("INFO"):
        assert whole(open_truth(case, SLIDE, ONE)).sum() == 25
    assert "1 unclassified polygons are taken as 'gland'" in caplog.text
    with pytest.raises(UnknownClassError, match="unclassified"):
        open_truth(case, SLIDE, TWO)


def test_no_annotations_must_be_said_to_be_complete() -> None:
    case = Case(Path("s.png"))
    with pytest.raises(CohortError, match=r"`annotations`.*yes under `complete`"):
        open_truth(case, SLIDE, TWO)
    assert not whole(open_truth(replace(case, complete=True), SLIDE, TWO)).any()


def test_other_files_are_refused() -> None:
    with pytest.raises(AnnotationError, match=r"\.docx"):
        open_truth(Case(Path("s.png"), Path("a.docx")), SLIDE, TWO)


def image_case(path: Path, values: np.ndarray) -> Case:
    cv2.imwrite(str(path), values)
    return Case(Path("s.png"), path)


VALUES = np.random.default_rng(0).integers(0, 3, (40, 60)).astype(np.uint8)


@settings(deadline=None, max_examples=30)
@given(box=boxes, downsample=st.sampled_from([1.0, 1.7, 4.0, 0.6]))
def test_label_images_are_read_at_pixel_centres(box: Box, downsample: float) -> None:
    found = LabelImageTruth(VALUES).labels(box, downsample)
    for (row, column), value in np.ndenumerate(found):
        x, y = box.x + (column + 0.5) * downsample, box.y + (row + 0.5) * downsample
        inside = 0 <= x < 60 and 0 <= y < 40
        assert value == (VALUES[int(y), int(x)] if inside else IGNORE)
    assert found.shape == box.shape_at(downsample)


@pytest.mark.parametrize(
    ("values", "classes", "wanted"),
    [
        ({0: 0, 1: 1}, ONE, None),
        ({0: 0, 255: 1}, ONE, None),
        ({0: 0, 7: 1, 300: 1, 65535: 1}, ONE, None),
        ({0: 0, 1: 1, 2: 2, 255: IGNORE}, TWO, None),
        ({0: 0, 128: 2, 255: 1}, None, None),
        ({0: 0, 1: 1, 2: 2, 9: 0}, TWO, "values 0, 1, 2, 9; the class map knows 0, 1, 2, 255"),
        ({0: 0, 200: 0}, None, "knows 0, 128, 255"),
    ],
)
def test_values_become_classes(
    tmp_path: Path, values: dict[int, int], classes: ClassMap | None, wanted: str | None
) -> None:
    cells = ClassMap(
        classes=(ClassInfo(name="n", values=(255,)), ClassInfo(name="c", values=(128,)))
    )
    rng = np.random.default_rng(1)
    stored = rng.choice(np.array(list(values), np.uint16), (40, 60))
    case = image_case(tmp_path / "m.png", stored if stored.max() > 255 else stored.astype(np.uint8))
    if wanted:
        with pytest.raises(UnknownClassError, match=wanted):
            open_truth(case, SLIDE, classes or cells)
        return
    truth = open_truth(case, SLIDE, classes or cells)
    assert truth.native_downsample == 1.0
    np.testing.assert_array_equal(whole(truth), np.vectorize(values.get)(stored))


def test_incomplete_label_images_know_no_background(tmp_path: Path) -> None:
    case = image_case(tmp_path / "m.png", VALUES)
    labels = whole(open_truth(replace(case, complete=False), SLIDE, TWO))
    np.testing.assert_array_equal(labels, np.where(VALUES, VALUES, IGNORE))


def test_size_mismatch_names_both_sizes(tmp_path: Path) -> None:
    case = image_case(tmp_path / "m.png", VALUES[:, :59])
    with pytest.raises(CohortError, match=r"m\.png has 59 x 40 px.*60 x 40"):
        open_truth(case, SLIDE, TWO)


def test_both_kinds_survive_pickling(tmp_path: Path) -> None:
    for case in (polygons(tmp_path / "a.geojson", SHAPES), image_case(tmp_path / "m.png", VALUES)):
        truth = open_truth(case, SLIDE, TWO)
        np.testing.assert_array_equal(whole(pickle.loads(pickle.dumps(truth))), whole(truth))
