"""`slidemask photo`: a folder for each picture, failures beside results, nothing lost silently."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from drawnphotos import draw_photo
from journey import save_dark_bundle
from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.files import write_json
from slidemask.base.types import Rgb
from slidemask.io.geojson import read_geojson
from slidemask.io.photograph import read_photo
from slidemask.models.bundle import Bundle, save_bundle
from slidemask.post.outlines import Outlines
from slidemask.recipes.photo import crops, find
from slidemask.recipes.photo.crops import CropOptions, cut_photos
from slidemask.recipes.photo.find import Found
from slidemask.recipes.recipe import load_recipe
from slidemask.recipes.segment import use_of

Command = Callable[..., "tuple[int, str, str]"]
RING = np.array([[90, 60], [310, 50], [320, 220], [80, 230.0]])


@pytest.fixture(scope="session")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that takes for a slide what is dark."""
    folder = tmp_path_factory.mktemp("finder")
    dark = Bundle.load(save_dark_bundle(folder / "dark"), "cpu")
    use = {"photo": Outlines(longest_px=200, min_confidence=0.5).model_dump(mode="json")}
    classes = ClassMap(classes=(ClassInfo(name="slide"),))
    info = dark.info.model_copy(update={"classes": classes, "use": use, "name": "finder"})
    save_bundle(folder / "finder", info, dark.segmenter, card="# finder", scores={})
    return folder / "finder"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One photo twice, as it is and as a turned camera stores it; a damaged one; none."""
    monkeypatch.chdir(tmp_path)
    photo = draw_photo([RING], 300, 400, seed=2)
    Image.fromarray(photo).save("straight.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(photo))).save("turned.jpg", quality=95, exif=exif)
    Path("cut.jpg").write_bytes(Path("turned.jpg").read_bytes()[:9000])
    Image.fromarray(np.full((300, 400, 3), 220, np.uint8)).save("empty.png")
    return tmp_path


@pytest.mark.usefixtures("here")
def test_the_backend_that_is_asked_for_computes(slidemask: Command, finder: Path) -> None:
    found = {}
    for name in ("torch", "openvino"):
        code, _, err = slidemask(
            "photo", "straight.png", "-m", finder, "-o", name, "--backend", name
        )
        assert (code, err) == (0, "")
        told = json.loads(Path(name, "straight", "outlines.json").read_text(encoding="utf-8"))
        assert told["backend"] == name
        found[name] = told["outlines"][0]["corners"]
    np.testing.assert_allclose(found["torch"], found["openvino"], atol=0.2)
    code, _, err = slidemask("photo", "straight.png", "-m", finder, "-o", "x", "--backend", "cray")
    assert code == 2
    assert "openvino" in err


@pytest.mark.usefixtures("here")
def test_slides_are_cut_out_of_photos(slidemask: Command, finder: Path) -> None:
    code, out, err = slidemask(
        "photo", "straight.png", "turned.jpg", "empty.png", "-m", finder, "-o", "out"
    )
    assert (code, err) == (0, "")
    assert "straight.png: 1 slide (confidence 0." in out
    assert "empty.png: 0 slides" in out
    for name, near_px in (("straight", 0.3), ("turned", 0.5)):
        folder = Path("out") / name
        names = {path.name for path in folder.iterdir()}
        assert names == {"slide-1.png", "overlay.png", "outlines.json", "outlines.geojson"}
        told = json.loads((folder / "outlines.json").read_text(encoding="utf-8"))
        assert (told["photo"]["width"], told["photo"]["height"]) == (400, 300)
        assert told["backend"] == "openvino"
        (slide,) = told["outlines"]
        np.testing.assert_allclose(slide["corners"], RING, atol=near_px)
        crop = np.asarray(Image.open(folder / "slide-1.png"))
        assert [crop.shape[1], crop.shape[0]] == slide["size"]
        assert 235 <= crop.shape[1] <= 250
        assert np.abs(np.median(crop, axis=(0, 1)) - (160, 70, 130)).max() < 12  # RGB, no BGR
        (polygon,) = read_geojson(folder / "outlines.geojson").polygons
        assert polygon.area == pytest.approx(cv2.contourArea(RING.astype(np.float32)), rel=0.01)
    assert {path.name for path in Path("out/empty").iterdir()} == {
        "overlay.png", "outlines.json", "outlines.geojson",
    }  # fmt: skip


@pytest.mark.usefixtures("here")
def test_a_photo_that_fails_does_not_stop_the_rest(slidemask: Command, finder: Path) -> None:
    code, out, err = slidemask(
        "photo", "cut.jpg", "no_such.heic", "straight.png", "-m", finder, "-o", "out"
    )
    assert code == 1
    assert "straight.png: 1 slide" in out
    assert "2 of 3 photos failed" in err
    assert "cut.jpg is damaged or cut off" in err
    assert "no_such.heic does not exist" in err
    assert "Traceback" not in err
    assert not Path("out/cut").exists()


@pytest.mark.usefixtures("here")
def test_photos_are_in_work_together_and_told_in_order(
    finder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, finished = threading.Barrier(2, timeout=60), threading.Event()

    def read(path: Path) -> Rgb:
        both.wait()
        if path.name == "straight.png":  # the first given is the last done
            assert finished.wait(60)
        return read_photo(path)

    def write(path: Path, value: dict[str, Any]) -> None:
        write_json(path, value)
        finished.set()

    monkeypatch.setattr(crops, "read_photo", read)
    monkeypatch.setattr(crops, "write_json", write)
    photos = [Path("straight.png"), Path("turned.jpg")]
    outcomes = cut_photos(photos, Bundle.load(finder, "cpu"), Path("out"), CropOptions())
    assert [(one.slide, one.state) for one in outcomes] == [(photo, "done") for photo in photos]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("backend", "together"), [("torch", 1), ("openvino", 2)])
def test_pytorch_searches_one_photo_at_a_time(
    finder: Path, monkeypatch: pytest.MonkeyPatch, backend: Any, together: int
) -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def look(*given: Any) -> Found:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.3)
        found = find.look(*given)
        with lock:
            now[0] -= 1
        return found

    monkeypatch.setattr(crops, "look", look)
    monkeypatch.setattr(crops, "cores", lambda: 1)
    photos = [Path("straight.png"), Path("turned.jpg"), Path("empty.png")]
    bundle, threads = Bundle.load(finder, "cpu"), cv2.getNumThreads()
    cv2.setNumThreads(2)
    outcomes = cut_photos(photos, bundle, Path("out"), CropOptions(backend=backend))
    assert [one.state for one in outcomes] == ["done"] * 3
    assert most[0] == together
    assert cv2.getNumThreads() == 2, "OpenCV's threads are given back"
    cv2.setNumThreads(threads)


@pytest.mark.usefixtures("here")
def test_only_a_few_more_are_begun_than_were_asked_for(
    finder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = list[Path]()

    def read(path: Path) -> Rgb:
        begun.append(path)
        return read_photo(path)

    monkeypatch.setattr(crops, "read_photo", read)
    monkeypatch.setattr(crops, "cores", lambda: 1)
    photos = [Path(f"{number}.png") for number in range(9)]
    for photo in photos:
        photo.write_bytes(Path("empty.png").read_bytes())
    outcomes = cut_photos(photos, Bundle.load(finder, "cpu"), Path("out"), CropOptions())
    assert next(outcomes).state == "done"
    time.sleep(1)  # time enough for all of them
    outcomes.close()
    assert 1 <= len(begun) <= 4  # two for each of the two in work
    assert sorted(path.name for path in Path("out").iterdir()) == [
        photo.stem for photo in sorted(begun)
    ]


@pytest.mark.usefixtures("here")
def test_photos_that_wait_are_not_begun_after_a_stop(
    finder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, stopped = list[str](), threading.Event()

    def read(path: Path) -> Rgb:
        begun.append(path.stem)
        assert path.stem == "0" or stopped.wait(60)
        return read_photo(path)

    monkeypatch.setattr(crops, "read_photo", read)
    monkeypatch.setattr(crops, "cores", lambda: 1)
    photos = [Path(f"{number}.png") for number in range(4)]
    for photo in photos:
        photo.write_bytes(Path("empty.png").read_bytes())
    outcomes = cut_photos(photos, Bundle.load(finder, "cpu"), Path("out"), CropOptions())
    assert next(outcomes).state == "done"
    threading.Timer(0.5, stopped.set).start()
    outcomes.close()
    assert sorted(begun) == ["0", "1", "2"]  # the two in work are finished


@pytest.mark.usefixtures("here")
def test_an_old_result_stays_where_the_new_one_fails(slidemask: Command, finder: Path) -> None:
    line = ("photo", "straight.png", "-m", finder, "-o", "out")
    assert slidemask(*line)[0] == 0
    before = Path("out/straight/slide-1.png").read_bytes()
    Path("straight.png").write_bytes(Path("straight.png").read_bytes()[:5000])
    code, _, err = slidemask(*line, "--overwrite")
    assert code == 1
    assert "damaged" in err
    assert Path("out/straight/slide-1.png").read_bytes() == before


@pytest.mark.usefixtures("here")
def test_results_are_kept_unless_they_may_be_replaced(slidemask: Command, finder: Path) -> None:
    line = ("photo", "straight.png", "-m", finder, "-o", "out")
    assert slidemask(*line)[0] == 0
    first = Path("out/straight/outlines.json").stat().st_mtime_ns
    code, out, _ = slidemask(*line)
    assert (code, Path("out/straight/outlines.json").stat().st_mtime_ns) == (0, first)
    assert "was done before" in out
    other = (*line, "--no-rectify", "--set", "photo.min_confidence=0.4")
    code, _, err = slidemask(*other)
    assert code == 1
    assert "--overwrite" in err
    Path("out/straight/mine.txt").write_text("my notes")
    code, _, err = slidemask(*other, "--overwrite")
    assert code == 1
    assert "mine.txt" in err
    assert Path("out/straight/slide-1.png").exists()
    Path("out/straight/mine.txt").unlink()
    assert slidemask(*other, "--overwrite")[0] == 0
    assert not Path("out/straight/slide-1.png").exists()
    told = json.loads(Path("out/straight/outlines.json").read_text(encoding="utf-8"))
    assert told["settings"]["min_confidence"] == 0.4
    assert "file" not in told["outlines"][0]


@pytest.mark.usefixtures("here")
def test_json_is_all_that_is_printed(slidemask: Command, finder: Path) -> None:
    code, out, _ = slidemask(
        "photo", "straight.png", "cut.jpg", "-m", finder, "-o", "out", "--json"
    )
    first, second = json.loads(out)["photos"]
    assert code == 1
    assert first["outlines"][0]["kind"] == "quadrilateral"
    assert first["outlines"][0]["cut"] is False
    assert "damaged" in second["error"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("photo", "IMG"),
        ("photo straight.png -m DARK -o out", "is not for photos"),
        ("photo straight.png -m none -o out", "does not exist"),
        ("photo straight.png straight.png -m MODEL -o out", "given twice"),
        ("photo straight.png -m MODEL -o empty.png", "cannot be written to"),
        ("photo straight.png -m MODEL -o out --set photo.treshold=1", "did you mean 'threshold'"),
        ("photo straight.png -m MODEL -o out --set post.threshold=1", "photo."),
        ("photo straight.png -m MODEL -o out --device tpu", "'tpu' is not there"),
    ],
)
def test_wrong_use_is_said(slidemask: Command, finder: Path, line: str, words: str) -> None:
    models = {"MODEL": finder, "DARK": finder.parent / "dark"}
    code, out, err = slidemask(*[models.get(word, word) for word in line.split()])
    assert code == 2, out + err
    assert words in err
    assert "Traceback" not in err


def test_a_photo_bundle_can_be_used_like_any_other(finder: Path) -> None:
    assert use_of(Bundle.load(finder, "cpu")).post.threshold == 0.5


@pytest.mark.parametrize("name", ["photo/better", "photo/published"])
def test_the_recipes_say_how_slides_are_found(name: str) -> None:
    chosen = load_recipe(name).photo
    assert chosen is not None
    assert (chosen.method, chosen.squash) == (
        ("boxes", True) if name.endswith("published") else ("outline", False)
    )


@pytest.mark.usefixtures("here")
def test_crops_of_a_killed_run_do_not_stay(slidemask: Command, finder: Path) -> None:
    folder = Path("out/straight")
    folder.mkdir(parents=True)
    for name in ("slide-1.png", "slide-7.png", ".slide-8.png.0.part"):
        (folder / name).write_bytes(b"half")
    code, _, err = slidemask("photo", "straight.png", "-m", finder, "-o", "out")
    assert (code, err) == (0, "")
    names = {path.name for path in folder.iterdir()}
    assert names == {"slide-1.png", "overlay.png", "outlines.json", "outlines.geojson"}
