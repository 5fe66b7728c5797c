"""QuPath's GeoJSON in and out."""

import gzip
import json
import logging
import math
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Polygon

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import AnnotationError, OutputError, UnknownClassError
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.trace import trace
from slidemask.io import geojson_out
from slidemask.io.geojson import read_geojson, write_geojson

SQUARE = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
CLASSES = ClassMap(
    classes=(
        ClassInfo(name="gland", colour=(200, 0, 0), annotations=("Crypt",)),
        ClassInfo(name="Drüse", colour=(0, 9, 0)),
    ),
    region="Region",
)
# Refused by QuPath for want of a colour; read here, as only the name matters.
COLOURLESS = {"02_name_no_color.geojson", "38_names_one_no_color.geojson"}


def feature(geometry: object = None, **properties: object) -> dict:
    geometry = geometry or {"type": "Polygon", "coordinates": [SQUARE]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def read(tmp_path: Path, document: object) -> Annotations:
    path = tmp_path / "in.geojson"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return read_geojson(path)


def test_reads_what_any_qupath_reads(shared_data):
    folder = shared_data / "qupath_geojson_cases"
    expected = json.loads((folder / "expected.json").read_text())
    for name, versions in expected.items():
        if any(version["ok"] for version in versions.values()) or name in COLOURLESS:
            found = read_geojson(folder / name)
            assert shapely.is_valid(found.polygons).all(), name
            assert len(found) > 0 or name == "10_two_point_ring.geojson"
        else:
            with pytest.raises(AnnotationError, match="feature 1"):
                read_geojson(folder / name)


@pytest.mark.parametrize(
    ("name", "area", "labels"),
    [
        ("04_colorRGB", 10_000, ("Tumor",)),
        ("07_bowtie", 15_000, ("", "", "")),
        ("08_overlap_multi", 10_000 + 10_000, ("",)),
        ("20_geomcollection", 10_000, ("",)),
        ("31_hole_touching_shell", 9_200, ("",)),
        ("32_spike", 10_000, ("",)),
        ("34_3d", 10_000, ("",)),
        ("38_names_one_no_color", 10_000, ("A: B",)),
        ("41_nucleus_in_props", 10_000, ("",)),
    ],
)
def test_geometry_and_class_of_qupath_cases(shared_data, name, area, labels):
    found = read_geojson(shared_data / "qupath_geojson_cases" / f"{name}.geojson")
    assert shapely.area(found.polygons).sum() == area
    assert found.labels == labels


def test_a_full_collection(shared_data, caplog):
    found = read_geojson(shared_data / "qupath_geojson_cases" / "01_full_fc.geojson")
    assert found.labels == ("Tumor", "Tumor: Positive", "Stroma", "Stroma", "", "", "", "")
    assert shapely.area(found.polygons).tolist() == [9600, *[10_000] * 6, 900]
    assert caplog.messages[0].endswith(
        "passed over 1 Points, 1 MultiPoints, 1 LineStrings (no area to segment)"
    )


@pytest.mark.parametrize(
    ("classification", "label"),
    [
        (None, ""),
        ("Tumor: Positive", "Tumor: Positive"),
        ({"name": "A", "colorRGB": -1}, "A"),
        ({"name": None, "color": [1, 2, 3]}, ""),
        ({"names": ["A", "B", "C"], "color": [1, 2, 3]}, "A: B: C"),
        ("{'name': 'Tumor'}", "Tumor"),
        ('{ "name": "Tumor", "color": [ 1, 2, 3 ] }', "Tumor"),
        ("{odd name}", "{odd name}"),
    ],
)
def test_forms_of_a_class(tmp_path, classification, label):
    assert read(tmp_path, feature(classification=classification)).labels == (label,)


def test_a_class_without_a_colour_is_read_and_told(tmp_path, caplog):
    assert read(tmp_path, feature(classification={"name": "A"})).labels == ("A",)
    assert "1 objects have a class without a colour" in caplog.text


def test_old_names_duplicate_keys_and_children(tmp_path):
    text = json.dumps(feature(object_type="annotation", classification={"name": "A", "color": []}))
    twice = text.replace(
        '"object_type"', '"metadata": {"a": 1}, "metadata": {"a": 1}, "object_type"'
    )
    assert read(tmp_path, twice).labels == ("A",)
    nested = feature(classification="outer", childObjects=[feature(classification="inner")])
    nested["children"] = [feature(classification="second")]
    assert read(tmp_path, [nested]).labels == ("outer", "inner", "second")


def test_packed_files(tmp_path):
    text = json.dumps(feature(classification="A")).encode()
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(text))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("__MACOSX/a.geojson", b"x")
        archive.writestr("readme.txt", b"x")
        archive.writestr("a.geojson", text)
    for name in ("a.geojson.gz", "a.zip"):
        assert read_geojson(tmp_path / name).labels == ("A",)
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("b.geojson", text)
    with pytest.raises(AnnotationError, match="should hold one file"):
        read_geojson(tmp_path / "a.zip")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(text)[:-20])
    with pytest.raises(AnnotationError, match=r"cut\.gz cannot be read"):
        read_geojson(tmp_path / "cut.gz")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "is empty"),
        ('{"type": "FeatureCollection",\n "features": [{', "cut off.* at line 2, column 16"),
        ("<xml/>", "is no JSON.* line 1, column 1"),
        ('{"positive": []}', "not GeoJSON: found \\['positive'\\]"),
        ("17", "not GeoJSON: found int"),
        ("[" * 100_000, "no JSON, or cut off|nested too deeply"),
        ([feature(), 3], "feature 2: expected an object"),
        ([feature(), {"type": "Feature", "properties": {}}], "feature 2: geometry is None"),
        ([feature({"type": "Circle"})], "feature 1: its Circle .*unknown geometry type"),
        ([feature({"type": "Polygon"})], "feature 1: its Polygon"),
        ([feature({"type": "Polygon", "coordinates": [[1, 2, 3, 4]]})], "not \\(points, 2\\)"),
        ([feature({"type": "Polygon", "coordinates": [["a", "b"]] * 4})], "feature 1"),
        ([feature({"type": "Polygon", "coordinates": [[[0, 0], [1, math.nan], [1, 1], [0, 0]]]})],
         "not finite"),
        ([feature(classification=[1])], "feature 1: classification is \\[1\\]"),
        ([feature(classification={"name": 7})], "feature 1: class name is \\[7\\]"),
    ],
)  # fmt: skip
def test_broken_files_say_where(tmp_path, document, message):
    with pytest.raises(AnnotationError, match=message):
        read(tmp_path, document)


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(AnnotationError, match="No such file"):
        read_geojson(tmp_path / "absent.geojson")
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_geojson(tmp_path)
    (tmp_path / "latin.geojson").write_bytes('["ä"]'.encode("latin-1"))
    with pytest.raises(AnnotationError, match=r"not UTF-8 text \(byte 2\)"):
        read_geojson(tmp_path / "latin.geojson")


def test_real_exports(shared_data, caplog):
    caplog.set_level(logging.ERROR)
    folder = shared_data / "annotations"
    cells = read_geojson(folder / "qupath" / "demo_Qupath_project" / "Single_cells.geojson")
    assert len(cells) == 128
    assert set(cells.labels) == {"class_1", "single_cells_demo", "circles", "two_circles"}
    assert len(read_geojson(folder / "dlup" / "qupath05.geojson")) == 3
    with pytest.raises(AnnotationError, match=r"not GeoJSON: found \['version'"):
        read_geojson(folder / "dlup" / "103S.json")


# --- out ---


def written(tmp_path: Path, annotations: Annotations, **options: Any) -> list[dict]:
    path = tmp_path / "out.geojson"
    write_geojson(path, annotations, CLASSES, **options)
    document = json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)
    assert document["type"] == "FeatureCollection"
    return document["features"]


def check_qupath_rules(features: list[dict]) -> None:
    for item in features:
        assert item["type"] == "Feature"
        assert len(item["id"]) == 36
        assert item["geometry"]["type"] == "Polygon"
        rings = item["geometry"]["coordinates"]
        for ring in rings:
            assert len(ring) >= 4
            assert ring[0] == ring[-1]
            assert all(round(number, 2) == number for place in ring for number in place)
        polygon = Polygon(rings[0], rings[1:])
        assert polygon.is_valid
        assert not shapely.set_precision(polygon, 0.01).is_empty
        assert shapely.set_precision(polygon, 0.01).equals(polygon)
        assert "null" not in json.dumps(item)
        if "classification" in item["properties"]:
            assert item["properties"]["classification"].keys() == {"name", "color"}
    assert len({item["id"] for item in features}) == len(features)


def test_what_is_written_is_read_back(tmp_path):
    hole = shapely.box(2, 2, 3.5, 4).exterior
    ring = Polygon(shapely.box(0, 0, 9, 9).exterior, [hole])
    regions = Annotations.of([ring, shapely.box(1, 1, 5, 5), shapely.box(0, 0, 1, 1)],
                             ["Crypt", "Drüse", ""])  # fmt: skip
    features = written(tmp_path, regions)
    check_qupath_rules(features)
    assert features[0]["properties"] == {
        "objectType": "annotation",
        "classification": {"name": "gland", "color": [200, 0, 0]},
    }
    assert features[2]["properties"] == {"objectType": "annotation"}
    again = read_geojson(tmp_path / "out.geojson")
    assert again.labels == ("gland", "Drüse", "")
    assert shapely.equals(again.polygons, regions.polygons).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.02, 2.2238, 4 / 3, 0.5, 0.007]))
@settings(deadline=None, max_examples=40)
def test_traced_polygons_take_a_short_way_to_the_same_places(seed, downsample):
    rng = np.random.default_rng(seed)
    traced = trace(rng.random(rng.integers(1, 12, 2)) < rng.uniform(0.2, 0.9))
    scaled = [shapely.transform(polygon, lambda xy: xy * downsample) for polygon in traced]
    strange = [
        Polygon([(0, 0), (9, 1), (3, 7)]),
        Polygon([(0, 0), (4, 0), (4, 2), (2, 2), (0, 2)]),
        Polygon([(0, 0), (2, 0), (4, 0), (4, 2), (2, 2), (0, 2)]),
    ]
    polygons = np.array([*scaled, *strange], object)
    sure = geojson_out._stepped(polygons)
    assert not sure[-3:].any(), "a slanted edge; a corner in the middle of one, of two"
    assert sure[:-3].all() or downsample < 0.02
    parts, owner = geojson_out._on_grid(polygons)
    for valid in (False, True):  # all are, whether that is known or not
        chunks = list(geojson_out._importable(polygons, valid=valid))
        short = [pair for chunk in chunks for pair in zip(*chunk, strict=True)]
        assert [number for _, number in short] == owner.tolist()
        assert all(a.equals_exact(b) for (a, _), b in zip(short, parts, strict=True))


def test_right_angles_that_cross_are_not_taken_as_valid(tmp_path):
    crossing = Polygon([(0, 0), (4, 0), (4, 2), (2, 2), (2, -2), (0, -2)])
    assert not crossing.is_valid
    features = written(tmp_path, Annotations.of([crossing], ["gland"]))
    check_qupath_rules(features)


def test_ids_are_those_of_uuid5_by_place_and_content(tmp_path):
    boxes = [shapely.box(0, 0, n + 1, 2) for n in range(200)]
    styles = [*["gland"] * 199, ""]
    written(tmp_path, Annotations.of(boxes, styles))
    _, *lines, _ = (tmp_path / "out.geojson").read_text("utf-8").splitlines()
    namespace = uuid.UUID("5f8f2c0e-0f0b-5b3c-9a55-8b6f1d0f7f11")
    for number, line in enumerate(lines):
        item = json.loads(line.removesuffix(","))
        content = {"geometry": item["geometry"], "properties": item["properties"]}
        body = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        assert item["id"] == str(uuid.uuid5(namespace, f"{number} {body}"))


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_any_polygon_is_written_by_the_rules(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-3, 5)
    wild = [Polygon(rng.normal(size=(rng.integers(3, 12), 2)) * scale) for _ in range(5)]
    check_qupath_rules(
        written(tmp_path_factory.mktemp("wild"), Annotations.of(wild, ["gland"] * 5))
    )


def test_polygons_smaller_than_the_grid_and_those_that_fall_apart(tmp_path):
    speck = shapely.box(5, 5, 5.004, 5.004)
    bow_tie = Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    features = written(
        tmp_path,
        Annotations.of([speck, bow_tie], ["gland", "gland"]),
        measurements=[{"p": 1.0}, {"p": 0.5}],
    )
    check_qupath_rules(features)
    assert [item["properties"]["measurements"] for item in features] == [{"p": 0.5}, {"p": 0.5}]


def test_measurements_and_detections(tmp_path):
    figures = {"p": 0.93, "n": math.nan, "up": math.inf, "down": -math.inf, "none": None}
    (item,) = written(
        tmp_path,
        Annotations.of([shapely.box(0, 0, 1, 1)], ["Region"]),
        measurements=[figures],
        detections=True,
    )
    assert item["properties"]["objectType"] == "detection"
    assert item["properties"]["measurements"] == {
        "p": 0.93, "n": "NaN", "up": "Infinity", "down": "-Infinity",
    }  # fmt: skip
    assert item["properties"]["classification"]["name"] == "Region"


def test_nothing_is_an_empty_collection(tmp_path):
    assert written(tmp_path, Annotations.empty()) == []
    assert len(read_geojson(tmp_path / "out.geojson")) == 0


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz", "a.zip"])
def test_equal_content_gives_equal_files(tmp_path, name):
    regions = Annotations.of([shapely.box(0, 0, k + 1, 2) for k in range(5000)], ["gland"] * 5000)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_geojson(tmp_path / folder / name, regions, CLASSES)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert len(read_geojson(tmp_path / "one" / name)) == 5000
    assert [path.name for path in (tmp_path / "one").iterdir()] == [name]


def test_what_cannot_be_written(tmp_path):
    regions = Annotations.of([MultiPolygon([shapely.box(0, 0, 1, 1)])], ["Stroma"])
    with pytest.raises(UnknownClassError, match=r"'Stroma' is not among \['gland', 'Drüse'\]"):
        write_geojson(tmp_path / "a.geojson", regions, CLASSES)
    with pytest.raises(ValueError, match="2 measurements for 0 polygons"):
        write_geojson(tmp_path / "a.geojson", Annotations.empty(), CLASSES, measurements=[{}, {}])
    with pytest.raises(OutputError, match="could not be written"):
        write_geojson(tmp_path / "no" / "a.geojson", Annotations.empty(), CLASSES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("order", [[0, 1], [1, 0], [0, 1, 0], [1]])
def test_chunks_of_which_nothing_is_left_leave_no_comma(
    tmp_path: Path, order: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geojson_out, "_CHUNK", 2)
    kinds = [shapely.box(3, 5, 4, 6), Polygon([(0, 0), (300, 0), (300, 0.004)])]
    polygons = [kinds[kind] for kind in order for _ in range(2)]
    features = written(tmp_path, Annotations.of(polygons, ["gland"] * len(polygons)))
    assert len(features) == 2 * order.count(0)
