"""The report of an evaluation: every number with what it is, every part there when it can be."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely

from pages import Page, needs_nothing
from slidemask.evaluate.compare import compare
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation, SlideScore
from slidemask.evaluate.figures import Figure
from slidemask.evaluate.headline import headline
from slidemask.evaluate.histogram import Histogram
from slidemask.evaluate.objects import counts_of
from slidemask.evaluate.overlaps import meet
from slidemask.evaluate.page import CAUTION
from slidemask.evaluate.scorereport import Surroundings, figure_tables, write_evaluation_report
from slidemask.evaluate.sizes import sizes_of
from slidemask.evaluate.tilecounts import TileCounts
from slidemask.geometry.annotations import Annotations

NAMES = ("background", "gland")
NASTY = "<b>&.svs"
GOOD = np.array([[80, 5], [5, 10]])
BAD = np.array([[70, 10], [19, 1]])
EMPTY = np.array([[100, 0], [0, 0]])


def picture(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((30, 40, 3), 90, np.uint8))
    return path


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    shown = [picture(tmp_path / "pictures" / f"{name}.png") for name in ("good", "b#d")]
    slides = (
        SlideScore("good", Confusion(GOOD), "p1", "benign", shown[0]),
        SlideScore(NASTY, Confusion(BAD), "p2", "malignant", shown[1]),
        SlideScore("empty", Confusion(EMPTY), "p3", "benign", tmp_path / "gone.png"),
    )
    return Evaluation(NAMES, slides, {"model": "<glands>"})


def read(tmp_path: Path, evaluation: Evaluation, around: Surroundings | None = None) -> Page:
    path = write_evaluation_report(tmp_path, evaluation, around)
    assert path == tmp_path / "report.html"
    needs_nothing(path)
    page = Page(path)
    assert not re.search(r"\b(NaN|nan|None|inf)\b", page.text)
    return page


def test_each_figure_has_its_average_and_how_many(tmp_path: Path, evaluation: Evaluation):
    text = read(tmp_path, evaluation).text
    good, bad = 20 / 30, 2 / 31
    assert f"gland Dice {22 / 61:.3f}" in text
    assert re.search(rf"Dice {(good + bad) / 2:.3f} \S+ to \S+ slide mean of slides 2 1 IoU", text)
    assert "by bootstrap over 3 patients" in text
    assert "So few make them too narrow" in text
    assert "1 left out" in text
    assert CAUTION in text
    assert "<glands>" in text


def test_the_mean_of_patients_is_shown_where_it_says_more(evaluation: Evaluation):
    averages = [f.average for f in headline(evaluation.figures) if f.name == "dice"]
    assert averages == ["pooled", "mean of slides"]
    slides = tuple(
        SlideScore(s.slide, s.confusion, "two" if n == 2 else "one")
        for n, s in enumerate(evaluation.slides)
    )
    figures = headline(Evaluation(NAMES, slides, {}).figures)
    assert [f.average for f in figures if f.name == "dice"] == [
        "pooled", "mean of slides", "mean of patients",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("patients", "words"),
    [
        ((None, None), "bootstrap over 2 slides. Slides that share a patient are alike"),
        (("p", "p"), "One patient: there is no interval"),
        (("p", None), "2 patients, and slides where no patient is named"),
    ],
)
def test_it_says_what_stands_behind_the_intervals(
    tmp_path: Path, patients: tuple[str | None, ...], words: str
):
    slides = tuple(SlideScore(f"s{n}", Confusion(GOOD), p) for n, p in enumerate(patients))
    assert words in read(tmp_path, Evaluation(NAMES, slides, {})).text


def test_the_worst_comes_first_and_the_empty_last(tmp_path: Path, evaluation: Evaluation):
    text = read(tmp_path, evaluation).text
    table = text[text.index("worst first") :]
    assert table.index(NASTY) < table.index("good") < table.index("empty")


def test_confusions_dots_groups_and_links(tmp_path: Path, evaluation: Evaluation):
    page = read(tmp_path, evaluation)
    assert "background 250 15" in page.text
    assert "background 94.3 % 5.7 %" in page.text
    assert page.tags.count("circle") == 2
    assert page.links == ["pictures/b%23d.png", "pictures/good.png"]
    assert re.search(r"By group .* benign gland Dice 0\.667", page.text)
    assert len(page.pictures) == 2


@pytest.mark.parametrize(
    ("count", "titles"),
    [(2, {"All": 2}), (5, {"Best": 1, "Median": 1, "Worst": 1}),
     (30, {"Best": 3, "Median": 3, "Worst": 3})],
)  # fmt: skip
def test_best_median_and_worst(tmp_path: Path, count: int, titles: dict[str, int]):
    shown = picture(tmp_path / "a.png")
    slides = tuple(
        SlideScore(f"s{n:02}", Confusion(np.array([[50, 0], [count - n, n + 1]])), picture=shown)
        for n in range(count)
    )
    text = read(tmp_path, Evaluation(NAMES, slides, {})).text
    part = text[text.index("Click to enlarge") : text.index("Thresholds and")]
    for title, some in titles.items():
        assert title in part
        assert len(re.findall(r"s\d\d Dice", part)) == sum(titles.values())
        if title == "Best":
            assert part.index(f"s{count - 1:02}") < part.index("Median")
        if title == "Median":
            assert f"s{(count - some) // 2:02}" in part
        if title == "Worst":
            assert part.index("s00") > part.index("Worst")


def test_all_that_can_be_there(tmp_path: Path):
    rng = np.random.default_rng(0)
    truth = [shapely.box(20 * n, 0, 20 * n + 5 + n, 9) for n in range(8)]
    found = [shapely.box(20 * n, 1, 20 * n + 5 + n, 9) for n in range(2, 9)]
    met = meet(*(Annotations.of(some, ["gland"] * len(some)) for some in (truth, found)))
    slides = []
    for n in range(4):
        labels = rng.integers(0, 2, (20, 20)).astype(np.uint8)
        sure = np.where(labels, 180, 70)[None] + rng.integers(-70, 70, (1, 20, 20))
        histogram = Histogram.of(labels, sure.astype(np.uint8))
        confusion = histogram.confusion_at(0.5)
        slides.append(
            SlideScore(
                f"s{n}", confusion, f"p{n}", tiles=TileCounts(np.stack([confusion.counts, EMPTY])),
                objects={"gland": counts_of(met, um_per_px=0.5)}, histogram=histogram,
            )
        )  # fmt: skip
    evaluation = Evaluation(NAMES, tuple(slides), {})
    around = Surroundings(
        threshold=0.5,
        sizes={"gland": sizes_of(met, um_per_px=0.5)},
        history=[{"epoch": n, "train_loss": 1 / n, "dice pooled": 1 - 1 / n} for n in (1, 2, 3)],
        differences=compare(evaluation, evaluation),
        other="runs/other",
    )
    page = read(tmp_path, evaluation, around)
    for words in (
        "Tiles with the object", "All tiles", "Objects", "object F1", "object Hausdorff, µm",
        "Recall by size", "Precision and recall of gland", "gland against the threshold",
        "Calibration error", "Brier score", "Training of the model", "Loss",
        "Compared with another model", "runs/other", "+0.000 to +0.000",
        "From the probabilities of 4 of 4 slides, 1 600 pixels",
    ):  # fmt: skip
        assert words in page.text, words
    assert page.tags.count("path") == 2 + 3 + 2 + 2
    again = page.html
    assert read(tmp_path, evaluation, around).html == again


def test_tables_keep_shares_apart_from_amounts():
    figures = [
        Figure("dice", "a", 0.5, "pooled", 3),
        Figure("dice", "a", 0.4, "mean of slides", 3),
        Figure("dice", "all foreground", 0.3, "mean of classes (pooled)", 1),
        Figure("objects in truth", "a", 7, "total", 3),
        Figure("objects in truth", "a", 2.3, "mean of slides", 3),
    ]
    shares, amounts = figure_tables(figures)
    assert shares.averages == {"pooled": 3, "mean of slides": 3}
    assert amounts.averages == {"total": 3, "mean of slides": 3}
    assert [row[:2] for row in shares.rows] == [("a", "Dice"), ("all foreground", "Dice")]
    assert shares.rows[1][2]["pooled"].value == 0.3
