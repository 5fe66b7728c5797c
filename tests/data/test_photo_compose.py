"""Composed photos as files: exact, repeatable, with sources kept apart."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.errors import SettingsError
from slidemask.base.types import Rgb
from slidemask.data.cohort import read_cohort
from slidemask.data.photo.restain import STAINS, restain
from slidemask.data.photo.settings import BORDER, KINDS, SLIDE, PhotoSettings
from slidemask.data.photo.sources import Shelf, Source, deal, find_sources
from slidemask.data.photo.views import scene_files
from slidemask.data.photo.write import PhotoSet, annotations_of, write_photos
from slidemask.geometry.box import Box
from slidemask.io.geojson import read_geojson

MAGENTA = (230, 20, 230)
PLAIN = PhotoSettings(longest_px=320, severity=0, hands=0, most_slides=1)  # one has no letters


def save(path: Path, pixels: Rgb) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels[..., ::-1])
    return path


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """One source, a picture of one colour that nothing else in a photo has."""
    folder = tmp_path_factory.mktemp("flat")
    picture = save(folder / "flat.png", np.full((400, 500, 3), MAGENTA, np.uint8))
    return Shelf(deal(find_sources([picture], phantoms=0), 1))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Six noisy pictures of three patients."""
    folder, rng = tmp_path_factory.mktemp("noisy"), np.random.default_rng(5)
    for name in ("a-1", "a-2", "b-1", "b-2", "c-1", "c-2"):
        few = rng.integers(60, 255, (12, 16, 3), np.uint8)
        save(folder / f"{name}.png", cv2.resize(few, (320, 240), interpolation=cv2.INTER_NEAREST))  # pyright: ignore[reportArgumentType]  # OpenCV's stubs promise too little
    return Shelf(deal(find_sources([folder], patient_pattern="^(.)-", phantoms=0), 3))


def labels(photo_set: PhotoSet, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels that look like the flat source, and truth of the slides alone."""
    photo, _ = photo_set.photo(number)
    red, green, blue = (photo.pixels[..., channel].astype(int) for channel in range(3))
    seen = (np.minimum(red, blue) - green) > 70
    height, width = seen.shape
    truth = annotations_of(photo, 0.01)
    return seen, truth.rasterise(Box(0, 0, width, height), 1.0, {SLIDE: 1}) > 0


@pytest.mark.parametrize("kind", ["page", "prints", "poster", "close"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_truth_covers_exactly_the_slide(flat: Shelf, kind: str, number: int) -> None:
    photos = PhotoSet(
        flat, PLAIN.model_copy(update={"kinds": {kind: 1.0}, "curved": 1.0, "restained": 0.0}), 4
    )
    seen, truth = labels(photos, number)
    assert truth.any()
    rim = cv2.morphologyEx(truth.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    clear = rim == 0
    cover = np.mean(seen[truth & clear])
    assert cover > 0.98
    # A pink cloth beside it may look the same; a slide's next neighbours do not.
    beside = (cv2.dilate(rim, np.ones((5, 5), np.uint8)) > 0) & ~truth & clear
    assert not beside.any() or np.mean(seen[beside]) < 0.25  # a near one may fill the photo


def test_equal_seeds_give_equal_bytes_and_other_seeds_others(shelf: Shelf, tmp_path: Path) -> None:
    small = PhotoSettings(longest_px=256)
    for name, seed, count in (("one", 1, 3), ("same", 1, 4), ("other", 2, 3)):
        write_photos(tmp_path / name, count, shelf, small, seed=seed)
    files = [Path("photos") / f"{n:04d}.jpg" for n in range(3)]
    files += [Path("annotations") / f"{n:04d}.geojson" for n in range(3)]
    one, same, other = (
        [(tmp_path / name / file).read_bytes() for file in files]
        for name in ("one", "same", "other")
    )
    assert one == same
    assert one != other


def test_from_near_one_group_fills_the_frame(shelf: Shelf) -> None:
    def extents(closer: float) -> list[float]:
        wishes = PhotoSettings(
            longest_px=320, severity=0, hands=0, kinds={"prints": 1.0}, closer=closer,
            largest_tilt_degrees=0,
        )  # fmt: skip
        photos = PhotoSet(shelf, wishes, 7)
        found = list[float]()
        for number in range(12):
            photo, _ = photos.photo(number)
            height, width = photo.pixels.shape[:2]
            bounds = np.array([slide.within((width, height)).bounds for slide in photo.slides])
            sides = bounds[:, 2:] - bounds[:, :2]
            found.append(float((sides / (width, height)).max()))
        return found

    # A group is laid over half of the frame or more, and no group has more than three slides.
    assert np.median(extents(1.0)) > 1.4 * np.median(extents(0.0))
    assert min(extents(1.0)) > 0.5 / 3


def test_files_say_what_was_composed(shelf: Shelf, tmp_path: Path) -> None:
    small = PhotoSettings(longest_px=256, kinds={"prints": 1, "screen": 1, "negative": 1})
    cohort = read_cohort(write_photos(tmp_path, 8, shelf, small, seed=3))
    told = json.loads((tmp_path / "photos.json").read_text())
    assert told["synthetic"] is True
    assert len(cohort) == len(told["photos"]) == 8
    names = [{source.name for source in group} for group in shelf.groups]
    for case, note in zip(cohort, told["photos"], strict=True):
        assert case.annotations is not None
        truth = read_geojson(case.annotations)
        picture = cv2.imread(str(case.slide))
        assert picture is not None
        assert picture.shape == (note["height"], note["width"], 3)
        assert truth.labels.count(SLIDE) == len(note["slides"])
        assert (note["kind"] == "negative") == (not note["slides"])
        assert case.patient == note["group"]
        group = names[int(note["group"].removeprefix("sources-"))]
        assert {slide["source"] for slide in note["slides"]} <= group
        for slide, polygon in zip(note["slides"], truth.polygons, strict=False):
            whole = shapely.Polygon(slide["corners"])
            assert polygon.difference(whole.buffer(0.05)).area == pytest.approx(0, abs=0.1)
            assert slide["cut"] or whole.area == pytest.approx(polygon.area, rel=1e-3)
            assert np.argmin(np.sum(slide["corners"], axis=1)) == 0
            assert whole.exterior.is_ccw  # clockwise as seen, for y points down


def test_border_lies_inside_and_parts_touching_slides(shelf: Shelf) -> None:
    close = PhotoSettings(longest_px=640, kinds={"prints": 1}, touching=1.0, curved=0)
    photos = (PhotoSet(shelf, close, 2).photo(number)[0] for number in range(30))
    photo = next(each for each in photos if sum(s.figure.touching for s in each.slides) >= 2)
    truth, (height, width) = annotations_of(photo, 0.01), photo.pixels.shape[:2]
    slides = [p for p, label in zip(truth.polygons, truth.labels, strict=True) if label == SLIDE]
    bands = [p for p, label in zip(truth.polygons, truth.labels, strict=True) if label == BORDER]
    assert shapely.unary_union(bands).difference(shapely.unary_union(slides)).area < 1e-6
    drawn = truth.rasterise(Box(0, 0, width, height), 1.0, {SLIDE: 1, BORDER: 2})
    count, _ = cv2.connectedComponents((drawn == 1).astype(np.uint8), connectivity=4)
    assert count - 1 == len(photo.slides)


def test_stopped_run_goes_on(shelf: Shelf, tmp_path: Path) -> None:
    small = PhotoSettings(longest_px=256, kinds={"close": 1})
    write_photos(tmp_path, 2, shelf, small, seed=3)
    mark = tmp_path / "photos" / "0000.jpg"
    mark.write_bytes(b"kept")
    write_photos(tmp_path, 3, shelf, small, seed=3)
    assert mark.read_bytes() == b"kept"
    write_photos(tmp_path, 2, shelf, small, seed=4)  # other photos: nothing is kept
    assert mark.read_bytes() != b"kept"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_composed(shelf: Shelf, kind: str, tmp_path: Path) -> None:
    scene = save(tmp_path / "scene.png", np.full((300, 400, 3), 120, np.uint8))
    own = Shelf(shelf.groups, (scene,))
    photo, _ = PhotoSet(own, PhotoSettings(longest_px=320, kinds={kind: 1}), 6).photo(0)
    assert photo.kind == kind
    assert max(photo.pixels.shape) == 320
    assert bool(photo.slides) == (kind not in {"negative", "photograph"})
    frame = photo.pixels.shape[0] * photo.pixels.shape[1]
    size = (photo.pixels.shape[1], photo.pixels.shape[0])
    assert all(slide.within(size).area >= 0.008 * frame for slide in photo.slides)


def test_whole_scenes_come_in_turn_and_first_as_they_are(shelf: Shelf, tmp_path: Path) -> None:
    shapes = {"wide.png": (200, 400), "tall.png": (400, 300)}
    for name, shape in shapes.items():
        save(tmp_path / name, np.full((*shape, 3), 90, np.uint8))
    own = Shelf(shelf.groups, scene_files([tmp_path]))
    kinds = {"prints": 1.0, "photograph": 1.0}
    whole = PhotoSettings(longest_px=256, kinds=kinds, whole_scenes=True, scene_share=1)
    photos = [PhotoSet(own, whole, 1).photo(number)[0] for number in range(4)]
    assert [photo.kind for photo in photos] == ["photograph"] * 2 + ["prints"] * 2
    assert [photo.scene for photo in photos] == ["tall.png", "wide.png"] * 2
    assert photos[1].pixels.shape == photos[3].pixels.shape == (128, 256, 3)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30), st.integers(1, 10))
def test_no_patient_is_dealt_to_two_groups(patients: list[str], count: int) -> None:
    sources = [Source(None, f"{patient}{n}", patient) for n, patient in enumerate(patients)]
    groups = deal(sources, count)
    assert sorted(s.name for group in groups for s in group) == sorted(s.name for s in sources)
    assert len(groups) == min(count, len(set(patients)))
    for patient in set(patients):
        assert sum(any(s.patient == patient for s in group) for group in groups) == 1


def test_labels_and_damaged_files_are_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 90, 3), np.uint8)
    save(tmp_path / "images" / "x.png", noise)
    save(tmp_path / "labels" / "x.png", noise)
    save(tmp_path / "cells" / "y.bmp", noise)
    save(tmp_path / "cells" / "y.png", noise)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert [source.patient for source in find_sources([tmp_path], phantoms=0)] == ["y", "x"]
    assert "broken.png is left out" in caplog.text


@pytest.mark.parametrize("stain", STAINS)
def test_restained_white_stays_white_and_tissue_changes(stain: str) -> None:
    rng = np.random.default_rng(1)
    pixels = np.full((20, 40, 3), 255, np.uint8)
    pixels[:, 20:] = rng.integers((150, 60, 120), (230, 140, 200), (20, 20, 3))
    other = restain(pixels, stain, rng)
    assert other[:, :20].min() > 235
    assert np.abs(other[:, 20:].astype(int) - pixels[:, 20:]).mean() > 8


def test_wrong_wishes_say_what_to_do(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'pages'.*there are page, prints"):
        PhotoSettings(kinds={"pages": 1})
    with pytest.raises(ValueError, match="positive number"):
        PhotoSettings(kinds={"page": 0})
    with pytest.raises(SettingsError, match="does not exist"):
        find_sources([tmp_path / "nowhere"])
    with pytest.raises(SettingsError, match="needs a \\(group\\)"):
        find_sources([], patient_pattern="x")
    with pytest.raises(SettingsError, match="No slide picture"):
        find_sources([tmp_path], phantoms=0)
    with pytest.raises(SettingsError, match="needs scenes"):
        PhotoSet(shelf, PhotoSettings(kinds={"photograph": 1})).photo(0)
    with pytest.raises(SettingsError, match="ask for one"):
        write_photos(tmp_path, 0, shelf)
