"""Reports: complete, escaped, self-contained, the same every time."""

import base64
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pages import Page, needs_nothing
from slidemask.evaluate.page import CAUTION
from slidemask.evaluate.report import write_segmentation_report

NASTY = "<b>&.svs"


def summary(slide: str, *, mpp: float | None = 0.5, **more: object) -> dict[str, Any]:
    area = 1.25 if mpp else None
    return {
        "slide": {"id": slide, "path": f"/s/{slide}", "sha256": "ab", "width": 12345, "height": 900,
                  "mpp": mpp},
        "model": {"name": "glands", "digest": "d1",
                  "classes": [{"name": "gland", "colour": [0, 160, 60]}]},
        "recipe_digest": "r1", "settings": {"post": {"threshold": 0.5, "name": NASTY}},
        "versions": {"slidemask": "0.1.0"},
        "canvas": {"width": 1234, "height": 90, "downsample": 10, "mpp": mpp and mpp * 10},
        "tiles": {"grid": 20, "kept": 7}, "tissue_mm2": mpp and 5.0,
        "classes": {"gland": {"area_mm2": area, "area_px": 4321, "objects": 3}},
        "seconds": {"read": 1.0, "network": 2.0, "total": 4.0},
        "megapixels_per_s": 2.5, "peak_memory_mb": 512.0, "device": "cpu",
        "files": {"mask": "mask.ome.tif", "preview": "preview.png"},
        "finished": "2027-01-02T03:04:05",
        **more,
    }  # fmt: skip


def test_report_shows_every_slide_and_failure(tmp_path: Path):
    failures = [{"slide": "bad <i>.svs", "error": "is no slide & more"}]
    path = write_segmentation_report(tmp_path, [summary("one"), summary(NASTY)], failures)
    page = Page(path)
    assert path == tmp_path / "report.html"
    for words in ("one", NASTY, "bad <i>.svs", "is no slide & more", CAUTION, "1.25", "25.0 %"):
        assert words in page.text
    assert "b" not in page.tags[page.tags.index("table") :]
    assert "<i>.svs" not in page.html


def test_areas_and_shares_come_from_the_summary(tmp_path: Path):
    page = Page(write_segmentation_report(tmp_path, [summary("one")]))
    assert "12 345 × 900 px" in page.text
    assert "7 of 20 kept" in page.text
    assert "network 2.0 s 50.0 %" in page.text
    assert "other 1.0 s 25.0 %" in page.text
    widths = [float(w) for w in re.findall(r'<rect x="[\d.]+" width="([\d.]+)"', page.html)]
    assert widths == [500, 250, 250], "the network first"


def test_time_of_all_slides_is_added_up_by_stage(tmp_path: Path):
    later = summary("two", seconds={"write": 5.0, "network": 1.0, "total": 6.0})
    page = Page(write_segmentation_report(tmp_path, [summary("one"), later]))
    before = page.text[: page.text.index("Slide by slide")]
    whole = before[before.index("Where the time went") :]
    parts = [whole.index(f"{stage} ") for stage in ("network 3.0 s", "write 5.0 s", "read 1.0 s")]
    assert parts == sorted(parts)
    assert "30.0 %" in whole


def test_missing_values_are_dashes(tmp_path: Path):
    unknown = summary("photo", mpp=None, megapixels_per_s=None, peak_memory_mb=float("nan"))
    page = Page(write_segmentation_report(tmp_path, [unknown]))
    assert "pixel size unknown" in page.text
    assert "4 321 px" in page.text
    assert not re.search(r"\b(NaN|nan|None)\b", page.text)
    assert page.text.count("\N{EN DASH}") >= 5


def test_links_are_relative_and_quoted(tmp_path: Path):
    page = Page(write_segmentation_report(tmp_path, [summary("a b#1"), summary("x", folder="y")]))
    files = [link for link in page.links if not link.startswith("#")]
    names = ("mask.ome.tif", "preview.png")
    assert files == [f"{folder}/{name}" for folder in ("a%20b%231", "y") for name in names]


def test_preview_is_embedded_small_and_a_damaged_one_left_out(tmp_path: Path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "one/preview.png"), np.full((300, 2800, 3), 200, np.uint8))
    (tmp_path / "two/preview.png").write_bytes(b"no picture")
    page = Page(write_segmentation_report(tmp_path, [summary("one"), summary("two")]))
    (url,) = page.pictures
    data = np.frombuffer(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (150, 1400, 3)


def test_report_of_nothing_but_failures(tmp_path: Path):
    page = Page(write_segmentation_report(tmp_path, [], [{"slide": "a", "error": "broken"}]))
    assert "No slide was segmented." in page.text


def test_the_page_needs_nothing_from_elsewhere_and_is_the_same_again(tmp_path: Path):
    first = write_segmentation_report(tmp_path, [summary("one")]).read_bytes()
    assert first == write_segmentation_report(tmp_path, [summary("one")]).read_bytes()
    needs_nothing(tmp_path / "report.html")
