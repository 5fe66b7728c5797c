"""Slides in, result folders out, against a network whose answer is known."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from journey import GLAND, darkness, discs, save_dark_bundle, write_png, write_slide
from slidemask.base.errors import OutputError, SettingsError
from slidemask.data.case import Case
from slidemask.geometry.box import Box
from slidemask.io.geojson import read_geojson
from slidemask.io.maskfile import open_mask
from slidemask.io.open import open_slide
from slidemask.models.bundle import Bundle
from slidemask.models.devices import Precision
from slidemask.recipes.reporting import report
from slidemask.recipes.results import read_summary
from slidemask.recipes.segment import Options, Outcome, segment, use_of
from slidemask.tiles.filters import Filters


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_dark_bundle(folder / "fine")
    save_dark_bundle(folder / "at 1 mpp", downsample=None, mpp=1.0)
    save_dark_bundle(folder / "tissue", filters=Filters())
    return folder


@pytest.fixture(scope="module")
def bundle(models: Path) -> Bundle:
    return Bundle.load(models / "fine", "cpu")


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_slide(tmp_path / "slide 1 – Drüse.tif", discs(220, 310, seed=1)[0])


def go(
    cases: list[Case] | list[Path], bundle: Bundle, out: Path, *changes: str, **options: Any
) -> list[Outcome]:
    given = [case if isinstance(case, Case) else Case(case) for case in cases]
    return list(segment(given, bundle, out, Options(changes, **options)))


def mask_of(folder: Path) -> np.ndarray:
    with open_mask(folder / "mask.ome.tif") as mask:
        return mask.rows(0, mask.size.height)


def expected_mask(path: Path, downsample: float = 1.0, mpp: float | None = None) -> np.ndarray:
    with open_slide(path, mpp=mpp) as slide:
        canvas = slide.size.at(downsample)
        box = Box(0, 0, canvas.width * downsample, canvas.height * downsample)
        return darkness(slide.read(box, downsample))


def assert_is_dark(mask: np.ndarray, dark: np.ndarray, margin: float = 0.02) -> None:
    """Equal but for pixels so near the threshold that half-precision weights may decide."""
    sure = np.abs(dark - 0.5) > margin
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(mask[sure], (dark > 0.5)[sure])


def test_a_result_folder_holds_what_the_network_says(
    slide: Path, bundle: Bundle, tmp_path: Path
) -> None:
    (outcome,) = go([slide], bundle, tmp_path / "out")
    assert (outcome.state, outcome.message) == ("done", "")
    folder = tmp_path / "out" / "slide 1 – Drüse"
    assert outcome.folder == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "mask.ome.tif", "polygons.geojson", "preview.png", "summary.json",
    ]  # fmt: skip
    mask = mask_of(folder)
    assert mask.shape == (220, 310)
    assert_is_dark(mask, expected_mask(slide))

    regions = read_geojson(folder / "polygons.geojson")
    index = {"gland": 1}
    drawn = regions.rasterise(Box(0, 0, 310, 220), 1.0, index)
    np.testing.assert_array_equal(drawn, mask)
    assert set(regions.labels) == {"gland"}

    summary = read_summary(folder)
    found = summary["classes"]["gland"]
    assert found["area_px"] == np.count_nonzero(mask)
    assert found["area_mm2"] == pytest.approx(found["area_px"] * 0.5**2 / 1e6)
    count, _ = cv2.connectedComponents(mask, connectivity=4)
    assert found["objects"] == count - 1 == len(regions)
    assert cv2.imread(str(folder / "preview.png")) is not None or os.name == "nt"


def test_summary_says_what_the_result_was_made_of(
    slide: Path, bundle: Bundle, tmp_path: Path
) -> None:
    go([slide], bundle, tmp_path / "out")
    summary = read_summary(tmp_path / "out" / slide.stem)
    assert summary["slide"]["id"] == slide.stem
    assert Path(summary["slide"]["path"]) == slide.resolve()
    done = subprocess.run(["sha256sum", slide], capture_output=True, text=True, check=True)
    assert summary["slide"]["sha256"] == done.stdout.split()[0].lstrip("\\")
    assert (summary["slide"]["width"], summary["slide"]["height"]) == (310, 220)
    assert summary["slide"]["mpp"] == pytest.approx(0.5, rel=1e-4)
    assert summary["model"]["digest"] == bundle.digest
    assert summary["model"]["classes"] == [{"name": "gland", "colour": [0, 160, 60]}]
    assert summary["tiles"]["kept"] == summary["tiles"]["grid"] == 7 * 5
    seconds = summary["seconds"]
    total = seconds.pop("total")
    assert total == pytest.approx(sum(seconds.values()), abs=0.01)
    assert {"tissue", "read", "network", "blend", "write", "vectorise", "preview"} <= set(seconds)
    assert summary["device"] == "cpu"
    assert summary["settings"] == use_of(bundle).model_dump(mode="json")


@pytest.mark.parametrize("mpp", [0.5, 0.37])
def test_a_model_s_pixel_size_decides_the_canvas(models: Path, tmp_path: Path, mpp: float) -> None:
    slide = write_slide(tmp_path / "s.tif", discs(300, 260, seed=4, radius=(12, 24))[0], mpp)
    go([slide], Bundle.load(models / "at 1 mpp", "cpu"), tmp_path / "out")
    summary = read_summary(tmp_path / "out" / "s")
    downsample = summary["canvas"]["downsample"]
    assert downsample == pytest.approx(1 / mpp, rel=1e-4)
    mask = mask_of(tmp_path / "out" / "s")
    assert mask.shape == (round(300 * mpp + 0.49), round(260 * mpp + 0.49))  # begun pixels count
    assert_is_dark(mask[:-1, :-1], expected_mask(slide, downsample)[:-1, :-1], 0.1)
    found = summary["classes"]["gland"]
    assert found["area_px"] == np.count_nonzero(mask)
    assert found["area_mm2"] == pytest.approx(found["area_px"] / 1e6, rel=1e-3)


def test_only_tiles_with_tissue_are_looked_at(models: Path, tmp_path: Path) -> None:
    pixels = np.full((600, 800, 3), 243, np.uint8)
    pixels[100:300, 100:300] = (200, 120, 170)
    pixels[150:250, 150:250] = (60, 40, 90)
    slide = write_slide(tmp_path / "s.tif", pixels, mpp=2.0)
    go([slide], Bundle.load(models / "tissue", "cpu"), tmp_path / "out")
    summary = read_summary(tmp_path / "out" / "s")
    assert 0 < summary["tiles"]["kept"] < 0.5 * summary["tiles"]["grid"]
    assert summary["tissue_mm2"] == pytest.approx(0.4 * 0.4, rel=0.35)
    assert_is_dark(mask_of(tmp_path / "out" / "s"), expected_mask(slide), 0.1)


def test_summary_table_and_report_name_every_slide(
    slide: Path, bundle: Bundle, tmp_path: Path
) -> None:
    other = write_png(tmp_path / "other.png", discs(70, 50, seed=2)[0])
    bad = tmp_path / "bad.svs"
    bad.write_text("no slide")
    out = tmp_path / "out"
    outcomes = go([slide, bad, other], bundle, out)
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "done"]
    assert "bad.svs cannot be opened as a slide" in outcomes[1].message
    written = report(out, outcomes)
    assert {path.name for path in written} == {"report.html", "summary.csv"}
    with (out / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["slide"]: row for row in csv.DictReader(file)}
    assert {name: row["state"] for name, row in rows.items()} == {
        slide.stem: "done", "bad": "failed", "other": "done",
    }  # fmt: skip
    assert "cannot be opened" in rows["bad"]["message"]
    found = read_summary(out / slide.stem)["classes"]["gland"]
    assert float(rows[slide.stem]["gland mm2"]) == found["area_mm2"]
    assert int(rows[slide.stem]["gland objects"]) == found["objects"]
    assert rows["other"]["gland mm2"] == ""  # no pixel size, no area
    html = (out / "report.html").read_text(encoding="utf-8")
    for words in (slide.stem, "other", "bad.svs", "cannot be opened"):
        assert words in html
    assert not (out / "bad").exists()


def test_finished_slides_are_skipped_and_other_settings_refused(
    slide: Path, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (first,) = go([slide], bundle, out)
    before = {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    (again,) = go([slide], bundle, out)
    assert again.state == "there"
    assert {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before

    (refused,) = go([slide], bundle, out, "post.threshold=0.9")
    assert refused.state == "failed"
    assert "--overwrite" in refused.message
    assert {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before

    (replaced,) = go([slide], bundle, out, "post.threshold=0.9", overwrite=True)
    assert replaced.state == "done"
    assert read_summary(first.folder)["settings"]["post"]["threshold"] == 0.9


def test_a_probability_map_that_is_asked_for_later_is_not_passed_over(
    slide: Path, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    go([slide], bundle, out)
    (outcome,) = go([slide], bundle, out, probability=True)
    assert outcome.state == "failed"
    assert "probability" in outcome.message
    (outcome,) = go([slide], bundle, out, probability=True, overwrite=True)
    assert outcome.state == "done"
    assert (outcome.folder / "probability.ome.tif").stat().st_size > 0
    assert go([slide], bundle, out, probability=True)[0].state == "there"
    assert go([slide], bundle, out)[0].state == "there"


def test_changes_stay_with_the_call_that_made_them(bundle: Bundle) -> None:
    before = use_of(bundle)
    with_use = Bundle(
        bundle.info.model_copy(update={"use": {"post": {"threshold": 0.5}}}),
        bundle.segmenter, bundle.digest, bundle.device,
    )  # fmt: skip
    assert use_of(with_use, ["post.threshold=0.9"]).post.threshold == 0.9
    assert use_of(with_use).post.threshold == 0.5
    assert use_of(bundle) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("post.treshold=1", "did you mean 'threshold'"),
        ("blend=1", "blend"),
        ("nonsense", "key=value"),
        ("schedule.epochs=3", "there is no such key"),
    ],
)
def test_settings_without_sense_stop_before_anything_is_written(
    slide: Path, bundle: Bundle, tmp_path: Path, change: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        go([slide], bundle, tmp_path / "out", change)
    assert not (tmp_path / "out").exists()


def test_slides_that_share_a_name_get_folders_of_their_own(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = discs(40, 50)[0]
    monkeypatch.chdir(tmp_path)
    places = ["x/a.png", "y/a.png", "x-a.png", "y/deep/a.png", "y/deep/a.tif", "b.png", "y/b.png"]
    paths = [write_png(Path(place), pixels) for place in places if place.endswith("png")]
    paths.insert(4, write_slide(Path("y/deep/a.tif"), pixels))
    outcomes = go(paths, bundle, Path("out"))
    assert [outcome.state for outcome in outcomes] == ["done"] * 7
    folders = [outcome.folder.resolve() for outcome in outcomes]
    assert len(set(folders)) == 7
    assert {folder.parent for folder in folders} == {tmp_path / "out"}


def test_relative_paths_above_the_working_folder_keep_apart(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    paths = [write_png(Path(place), discs(40, 50)[0]) for place in ("a.png", "../a.png")]
    outcomes = go(paths, bundle, tmp_path / "out")
    assert [outcome.state for outcome in outcomes] == ["done"] * 2
    assert len({outcome.folder for outcome in outcomes}) == 2


def test_one_slide_given_twice_is_refused(bundle: Bundle, tmp_path: Path, slide: Path) -> None:
    detour = slide.parent / "out" / ".." / slide.name
    (tmp_path / "out").mkdir()
    for twice in ([slide, slide], [slide, detour]):
        with pytest.raises(OutputError, match="twice"):
            go(twice, bundle, tmp_path / "out")


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (13, 7), (64, 64)])
def test_pictures_smaller_than_a_tile_are_whole_slides(
    bundle: Bundle, tmp_path: Path, shape: tuple[int, int]
) -> None:
    pixels = np.full((*shape, 3), 30, np.uint8)
    picture = write_png(tmp_path / "p.png", pixels)
    (outcome,) = go([Case(picture, mpp=0.25)], bundle, tmp_path / "out")
    assert (outcome.state, outcome.message) == ("done", "")
    mask = mask_of(outcome.folder)
    assert mask.shape == shape
    assert mask.all()
    (polygon,) = read_geojson(outcome.folder / "polygons.geojson").polygons
    assert polygon.area == shape[0] * shape[1]
    found = read_summary(outcome.folder)["classes"]["gland"]
    assert found["area_mm2"] == pytest.approx(shape[0] * shape[1] * 0.0625e-6)


def test_a_picture_without_pixel_size_needs_mpp(models: Path, tmp_path: Path) -> None:
    picture = write_png(tmp_path / "p.png", discs(80, 80)[0])
    bundle = Bundle.load(models / "at 1 mpp", "cpu")
    (outcome,) = go([picture], bundle, tmp_path / "out")
    assert outcome.state == "failed"
    assert "--mpp" in outcome.message or "mpp=" in outcome.message
    (outcome,) = go([Case(picture, mpp=1.0)], bundle, tmp_path / "out")
    assert outcome.state == "done"
    assert_is_dark(mask_of(outcome.folder), expected_mask(picture))


def test_a_slide_whose_reading_fails_unexpectedly_does_not_stop_the_next(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_png(tmp_path / f"{name}.png", discs(40, 50)[0]) for name in "ab"]
    told = Bundle.predict
    calls = []

    def out_of_memory(self: Bundle, tiles: np.ndarray, precision: Precision) -> np.ndarray:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("CUDA out of memory")
        return told(self, tiles, precision)

    monkeypatch.setattr(Bundle, "predict", out_of_memory)
    first, second = go(paths, bundle, tmp_path / "out")
    assert (first.state, second.state) == ("failed", "done")
    assert "CUDA out of memory" in first.message


def test_an_output_that_is_a_file_stops_at_once(
    slide: Path, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        go([slide], bundle, tmp_path / "file")


def test_a_file_name_that_is_no_utf_8_is_a_slide_like_others(
    bundle: Bundle, tmp_path: Path
) -> None:
    source = write_png(tmp_path / "p.png", discs(40, 50)[0])
    odd = tmp_path / os.fsdecode(b"od\xffd.png")
    try:
        source.rename(odd)
    except OSError:
        pytest.skip("this file system refuses such names")
    outcomes = go([odd], bundle, tmp_path / "out")
    assert (outcomes[0].state, outcomes[0].message) == ("done", "")
    assert all(path.exists() for path in report(tmp_path / "out", outcomes))


SLOW = """
import sys, time
from slidemask.models.bundle import Bundle
told = Bundle.predict
def slowly(self, *tiles):
    time.sleep(0.15)
    return told(self, *tiles)
Bundle.predict = slowly
from slidemask.apps.cli import main
main()
"""


def test_killed_in_mid_slide_the_same_command_gives_the_same_bytes(
    models: Path, tmp_path: Path
) -> None:
    slide = write_slide(tmp_path / "s.tif", discs(500, 130, seed=8)[0])
    rest = ["segment", str(slide), "--model", str(models / "fine"), "--device", "cpu"]

    def command(code: str, out: str) -> list[str]:
        return [sys.executable, "-c", code, *rest, "--out", str(tmp_path / out)]

    quick = "from slidemask.apps.cli import main; main()"
    subprocess.run(command(quick, "whole"), check=True, capture_output=True)
    killed = subprocess.Popen(
        command(SLOW, "cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    journal = tmp_path / "cut" / "s" / ".work" / "journal.jsonl"
    began = time.monotonic()
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 2):
        assert killed.poll() is None, "it was over before it could be killed"
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "cut" / "s" / "summary.json").exists()
    done = len(journal.read_bytes().splitlines())
    (tmp_path / "cut" / "s" / ".mask.ome.tif.0a1b2c3d.part.tif").write_bytes(b"half a mask")

    subprocess.run(command(quick, "cut"), check=True, capture_output=True)
    assert done >= 2
    for name in ("mask.ome.tif", "polygons.geojson", "preview.png"):
        whole, cut = tmp_path / "whole" / "s" / name, tmp_path / "cut" / "s" / name
        assert whole.read_bytes() == cut.read_bytes(), name
    names = {path.name for path in (tmp_path / "whole" / "s").iterdir()}
    assert {path.name for path in (tmp_path / "cut" / "s").iterdir()} == names
    classes = [
        json.loads((tmp_path / out / "s" / "summary.json").read_text())["classes"]
        for out in ("whole", "cut")
    ]
    assert classes[0] == classes[1]
    assert GLAND.names[1] in classes[0]


def test_a_damaged_summary_is_named_and_does_not_stop_the_next(
    bundle: Bundle, tmp_path: Path, slide: Path
) -> None:
    other = write_slide(tmp_path / "other.tif", discs(220, 310, seed=2)[0])
    out = tmp_path / "out"
    go([slide], bundle, out)
    (out / slide.stem / "summary.json").write_text('{"job": ', encoding="utf-8")
    first, second = go([slide, other], bundle, out)
    assert first.state == "failed"
    assert "summary.json is damaged" in first.message
    assert second.state == "done"
