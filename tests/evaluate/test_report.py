"""Reports: complete, escaped, self-contained, the same every time."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation, SlideScore
from slidemask.evaluate.report import (
    CAUTION,
    write_evaluation_report,
    write_segmentation_report,
)

NASTY = "<b>&.svs"
VOID = {"meta", "input", "img", "br", "link"}


class Page(HTMLParser):
    """Checks that tags nest, and gathers text, links and pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        assert self.open == []

    @property
    def text(self) -> str:
        """All words, with one plain space wherever there is some."""
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        named = dict(attrs)
        if tag == "a":
            self.links.append(named["href"] or "")
        if tag == "img":
            self.pictures.append(named["src"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


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
    assert "i" not in page.tags[page.tags.index("table") : page.tags.index("section")]


def test_areas_and_shares_come_from_the_summary(tmp_path: Path):
    page = Page(write_segmentation_report(tmp_path, [summary("one")]))
    assert "12 345 × 900 px" in page.text
    assert "7 of 20 kept" in page.text
    assert "other 1.0 s" in page.text
    widths = [float(w) for w in re.findall(r'<rect x="[\d.]+" width="([\d.]+)"', page.html)]
    assert widths == [250, 500, 250]


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


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    picture = tmp_path / "errors.png"
    cv2.imwrite(str(picture), np.full((30, 40, 3), 90, np.uint8))
    good = Confusion(np.array([[80, 5], [5, 10]]))
    bad = Confusion(np.array([[70, 10], [19, 1]]))
    empty = Confusion(np.array([[100, 0], [0, 0]]))
    slides = (
        SlideScore("good", good, "p1", "benign", picture),
        SlideScore(NASTY, bad, "p2", "malignant", picture),
        SlideScore("empty", empty, "p3", "benign", tmp_path / "gone.png"),
    )
    return Evaluation(("background", "gland"), slides, {"model": "<glands>"})


def test_evaluation_names_each_average_and_how_many(tmp_path: Path, evaluation: Evaluation):
    page = Page(write_evaluation_report(tmp_path, evaluation))
    good, bad = 20 / 30, 2 / 31
    assert f"gland mean of slides {(good + bad) / 2:.3f} n 2, 1 left out" in page.text
    assert f"gland pooled {22 / 61:.3f} n 3" in page.text
    assert "By group" in page.text
    assert CAUTION in page.text
    assert "<glands>" in page.text


def test_evaluation_puts_the_worst_first_and_the_empty_last(tmp_path: Path, evaluation: Evaluation):
    text = Page(write_evaluation_report(tmp_path, evaluation)).text
    table = text[text.index("worst first") :]
    assert table.index(NASTY) < table.index("good") < table.index("empty")


def test_evaluation_shows_counts_shares_dots_and_pictures(tmp_path: Path, evaluation: Evaluation):
    page = Page(write_evaluation_report(tmp_path, evaluation))
    assert "background 250 15" in page.text
    assert "background 94.3 % 5.7 %" in page.text
    assert page.tags.count("circle") == 2
    assert len(page.pictures) == 2
    assert not re.search(r"\b(NaN|nan|None)\b", page.text)


@pytest.mark.parametrize("kind", ["segmentation", "evaluation"])
def test_pages_need_nothing_from_elsewhere_and_are_the_same_again(
    tmp_path: Path, evaluation: Evaluation, kind: str
):
    def write() -> Path:
        if kind == "evaluation":
            return write_evaluation_report(tmp_path, evaluation)
        return write_segmentation_report(tmp_path, [summary("one")])

    first = write().read_bytes()
    assert first == write().read_bytes()
    page = Page(write())
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert b"http" not in first
    assert b"url(" not in first
