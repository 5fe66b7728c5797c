"""The three tables of the rails paper: folds, maps, recipes side by side."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from journey import discs, save_dark_bundle, write_png
from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import CohortError, SettingsError
from slidemask.data.case import Case
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.evaluation import Evaluation, SlideScore
from slidemask.evaluate.figures import find
from slidemask.evaluate.slidelabels import SlideLabels
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, BundleInfo, save_bundle
from slidemask.models.segmenter import Segmenter
from slidemask.recipes.recipe import load_recipe
from slidemask.recipes.results import read_summary
from slidemask.recipes.scoring import evaluate
from slidemask.recipes.segment import Options, segment
from slidemask.recipes.study import crossfold, maps
from slidemask.recipes.study.comparison import placed
from slidemask.recipes.study.crossfold import (
    POOLED_MODELS,
    FoldDone,
    PartScore,
    do_folds,
    rows_of_folds,
)
from slidemask.recipes.study.foldfigures import lines_of, tables_of
from slidemask.recipes.study.foldwriting import in_words, write_folds
from slidemask.recipes.study.maps import MapJob, MapRow, cases_of_part, study_maps
from slidemask.recipes.study.mapsettings import (
    Edge,
    MapSetting,
    parse_edges,
    parse_map_settings,
)
from slidemask.recipes.study.mapwriting import tables_of_maps, write_maps
from slidemask.recipes.study.row import Means, Row, Segmenting, Training
from slidemask.recipes.study.several import rows_of_recipes
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling
from slidemask.tiles.rails import Rails

NAMES = ("background", "a", "b")
MEANS = Means("cpu", 1)
TIMES = Segmenting(2, 3.0, 1.0, 20.0, 500.0, "cpu")


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossfold, "in_own_process", lambda work, argument: work(argument))


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, ...]:
    """Dark discs under so much noise that edges fray and specks appear."""
    folder = tmp_path_factory.mktemp("maps")
    made = []
    for number in range(2):
        pixels, mask = discs(64, 80, seed=number, radius=(10, 14))
        noise = np.random.default_rng(number).normal(0, 45, (*mask.shape, 1))
        noisy = (pixels + noise).clip(0, 255).astype(np.uint8)
        slide = write_png(folder / "images" / f"p{number}.png", noisy)
        labels = write_png(folder / "labels" / f"p{number}.png", mask * 255)
        made.append(Case(slide, labels, f"p{number}", "test", 1.0))
    return tuple(made)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dark_bundle(tmp_path_factory.mktemp("model") / "dark")


def score(counts: list[list[int]], name: str = "s0") -> SlideScore:
    return SlideScore(name, Confusion(np.array(counts)), name)


def fold(label: str, hits: int, labels: SlideLabels, *, parts: tuple[str, ...]) -> FoldDone:
    """Of 100 pixels of class a `hits` are found as a, 10 as b."""
    counts = [[800, 50, 0], [90 - hits, hits, 10], [0, 0, 0]]
    one = PartScore(Evaluation(NAMES, (score(counts),), {}), labels, TIMES)
    training = Training(60.0, 900.0, None, 5, 3, 400, 90, 180, None, 15.4, 1234)
    pooled = label == POOLED_MODELS
    return FoldDone(label, None if pooled else training, dict.fromkeys(parts, one))


def test_a_map_s_scores_are_those_of_segment_and_evaluate(
    cases: tuple[Case, ...], model: Path, tmp_path: Path
) -> None:
    """With and without smoothing and shrinking, segmented and evaluated again the long way."""
    change = ("post.threshold=0.4",)
    edges = (Edge(0, 0), Edge(2, 0.1))
    job = MapJob(str(model), MapSetting(), edges, cases, tmp_path / "maps", change, MEANS)
    ((_, rows, failures),) = study_maps([job])
    assert not failures
    found = []
    for number, edge in enumerate(edges):
        changes = (*change, f"post.smooth_px={edge.smooth:g}", f"post.shrink={edge.shrink:g}")
        out, bundle = tmp_path / f"whole {number}", Bundle.load(model, "cpu")
        options = Options(changes[: None if number else 1], backend="torch")
        assert all(done.state == "done" for done in segment(cases, bundle, out, options))
        whole, _ = evaluate(out, cases)
        found.append(find(whole.figures, "iou", "pooled", "gland").value)
        mine = find(rows[number].evaluation.figures, "iou", "pooled", "gland").value
        assert mine == found[-1], edge
        assert rows[number].labels == SlideLabels(2, 0, 0)
    assert len(set(found)) == len(edges)


def test_values_added_later_need_no_network(
    cases: tuple[Case, ...], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = MapJob(str(model), MapSetting(), (Edge(0, 0),), cases, tmp_path, (), MEANS)
    ((_, first, _),) = study_maps([job])
    monkeypatch.setattr(Bundle, "predict", None)
    ((_, more, failures),) = study_maps([replace(job, edges=(Edge(0, 0), Edge(4, 0)))])
    assert not failures
    assert more[0].evaluation.pooled.counts.tolist() == first[0].evaluation.pooled.counts.tolist()
    monkeypatch.setattr(maps, "open_case", None)
    ((_, same, failures),) = study_maps([job])
    assert not failures
    assert same[0].evaluation.pooled.counts.tolist() == first[0].evaluation.pooled.counts.tolist()
    ((said, _, failures),) = study_maps([replace(job, changes=("tiling.overlap=0.5",))])
    assert "FAILED" in said
    assert list(failures) == ["as trained"]


@pytest.fixture(scope="module")
def voting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tile network as it is before training; what it says depends on the tile all the same."""
    torch.manual_seed(3)
    classes = ClassMap(classes=(ClassInfo(name="a"), ClassInfo(name="b")))
    spec = ModelSpec(architecture="tile", filters=(4, 4, 4), head="pool")
    tiling = Tiling(tile_px=32, overlap=0.75, downsample=1)
    filters = Filters(tissue=None, rails=Rails(low=3, high=7.5))
    info = BundleInfo(name="votes", model=spec, classes=classes, tiling=tiling, filters=filters)
    folder = tmp_path_factory.mktemp("voting") / "votes"
    save_bundle(folder, info, Segmenter(spec, 2, None, 32), card="# votes", scores={})
    return folder


def test_votes_are_counted_once_for_all_ways_to_combine_them(
    cases: tuple[Case, ...], voting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels are the votes', as `segment` says them, however the votes are drawn."""
    bundle = Bundle.load(voting, "cpu")
    pixels = [discs(64, 80, seed=0)[0][:32, x : x + 32] for x in (0, 16, 32, 48)]
    middle = float(np.median(1 - bundle.predict(np.stack(pixels))[:, 0]))
    change = (f"blend.votes.threshold={middle}", f"post.threshold={middle}")
    some = [replace(case, annotations=None, complete=True) for case in cases]
    asked = parse_map_settings(bundle, rails="on,off", combine="mean,union", dominant=None)
    labels = [setting.label for setting in asked]
    assert labels == ["rails on, mean", "rails on, union", "rails off, mean", "rails off, union"]
    on = [
        MapJob(str(voting), setting, (Edge(0, 0),), tuple(some), tmp_path / setting.label, change)
        for setting in asked[:2]
    ]
    assert all(state == "done" for state in _states(some, bundle, tmp_path / "whole", change))
    ((_, rows, failures),) = study_maps(on[:1])
    assert not failures
    monkeypatch.setattr("slidemask.infer.shared.vote_map", None)
    ((_, again, failures),) = study_maps(on[1:])
    assert not failures
    for case in some:
        said = read_summary(tmp_path / "whole" / case.slide.stem)["label"]["class"]
        for setting in labels[:2]:
            path = tmp_path / setting / case.slide.stem / "scores.json"
            told = json.loads(path.read_text(encoding="utf-8"))["edges"]
            assert said == told["smooth 0 px, shrink 0"]["label"] != ""
    drawn = [one[0].evaluation.pooled.counts.sum(axis=0)[1:].sum() for one in (rows, again)]
    assert drawn[1] > drawn[0]


def _states(cases: list[Case], bundle: Bundle, out: Path, changes: tuple[str, ...]) -> list[str]:
    return [done.state for done in segment(cases, bundle, out, Options(changes))]


def row_of(setting: MapSetting, edge: Edge, hits: list[int], false: int) -> MapRow:
    slides = tuple(
        score([[900 - false, false], [100 - hit, hit]], f"s{number}")
        for number, hit in enumerate(hits)
    )
    evaluation = Evaluation(("background", "a"), slides, {})
    return MapRow(setting, edge, evaluation, SlideLabels(len(hits), 0, 0), 0.1)


def test_the_best_map_is_named_with_its_lead(tmp_path: Path) -> None:
    on, off = MapSetting("on", "mean"), MapSetting("off", "mean")
    hits = [80, 90, 85, 70, 88, 75]
    rows = [
        row_of(on, Edge(0, 0), hits, 20),
        row_of(on, Edge(50, 0), [hit - 1 for hit in hits], 10),
        row_of(off, Edge(0, 0), hits, 300),
    ]
    best = write_maps(tmp_path, rows, {"rails off, max": "no memory"}, {"model": "<dark>"})
    assert best is not None
    assert best.row is rows[1]
    (table,) = tables_of_maps(rows)
    assert table.lines[1].figures["pooled"]["iou"] == pytest.approx(482 / (600 + 60))
    assert table.lines[2].gap.value == pytest.approx(482 / 660 - 488 / 2400)
    assert table.lines[2].gap.low > 0
    told = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert told["best"] == "rails on, mean; smooth 50 px, shrink 0"
    assert len((tmp_path / "study.csv").read_text(encoding="utf-8").splitlines()) == 4
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in ("Best: rails on, mean; smooth 50 px", "no memory", "&lt;dark&gt;", "data:image"):
        assert text in page
    assert write_maps(tmp_path, [], {"as trained": "bad"}, {}) is None


def test_wrong_values_of_maps_are_named(model: Path, cases: tuple[Case, ...]) -> None:
    for smooth, shrink, unit, said in (
        ("0,50", "0", "mm", "none of px, um"),
        ("ten", "0", "px", "--smooth 'ten'"),
        ("0,-1", "0", "px", "--smooth"),
        ("0,0", "0", "px", "each once"),
        ("0", "1", "px", "below 1"),
        ("0", "nan", "px", "--shrink"),
    ):
        with pytest.raises(SettingsError, match=said):
            parse_edges(smooth, shrink, unit)
    bundle = Bundle.load(model, "cpu")
    for asked, said in (
        ({"rails": "on"}, "has no entropy rails"),
        ({"rails": "maybe"}, "--rails 'maybe'"),
        ({"combine": "mean"}, "one class a tile"),
        ({"dominant": "on"}, "one class a tile"),
    ):
        with pytest.raises(SettingsError, match=said):
            parse_map_settings(
                bundle, **{"rails": None, "combine": None, "dominant": None, **asked}
            )
    assert cases_of_part(cases, "all") == cases
    with pytest.raises(CohortError, match="validation part"):
        cases_of_part(cases, "validation")
    with pytest.raises(CohortError, match="one name"):
        cases_of_part([*cases, cases[0]], "test")


def test_folds_have_mean_spread_and_all_models_together(tmp_path: Path) -> None:
    both = ("validation", "test")
    done = [
        fold("fold 1", 40, SlideLabels(1, 0, 0), parts=both),
        fold("fold 2", 80, SlideLabels(0, 1, 0), parts=both),
        fold(POOLED_MODELS, 85, SlideLabels(1, 0, 0), parts=("test",)),
    ]
    ious = [(40 + 10) / 150, (80 + 10) / 150, (85 + 10) / 150]  # any class: a as b is right
    tables = tables_of(done)
    assert [(table.scope, table.average) for table in tables] == [
        (scope, average)
        for scope in ("any class", "mean of classes")
        for average in ("pooled", "mean of slides")
    ]
    lines = {line.label: line.values for line in tables[0].lines}
    assert list(lines) == ["fold 1", "fold 2", "mean", "standard deviation", POOLED_MODELS]
    assert lines["mean"]["test"]["iou"] == pytest.approx(sum(ious[:2]) / 2)
    spread = math.dist(ious[:1], ious[1:2]) / math.sqrt(2)
    assert lines["standard deviation"]["validation"]["iou"] == pytest.approx(spread)
    assert list(lines[POOLED_MODELS]) == ["test"], "all models have seen the validation slides"
    assert lines[POOLED_MODELS]["test"]["iou"] == pytest.approx(ious[2])
    assert lines["mean"]["test"]["slide label accuracy"] == 0.5
    first = next(iter(lines_of(done)))
    assert (first["parameters"], first["slides left empty"]) == (1234, 0)
    report = write_folds(tmp_path, done, {"fold 3": "no <memory>"}, {"recipe": "x"})
    page = report.read_text(encoding="utf-8")
    assert "no &lt;memory&gt;" in page
    assert POOLED_MODELS.replace("'", "&#39;") in page
    assert any(f"{sum(ious[:2]) / 2:.3f} ± {spread:.3f}" in line for line in in_words(done))
    assert "no" in write_folds(tmp_path, [], {"fold 1": "no"}, {}).read_text(encoding="utf-8")
    assert in_words([]) == []


def test_folds_keep_patients_together_balance_groups_and_spare_the_test_part(
    tmp_path: Path,
) -> None:
    cases = []
    for patient in range(12):
        group = f"g{patient % 2}"
        part = "test" if patient >= 9 else "validation" if patient in (3, 4) else "train"
        for number in range(2):
            path = tmp_path / f"{patient}-{number}.png"
            path.write_bytes(bytes([patient, number]))
            cases.append(Case(path, None, f"p{patient}", part, group=group, complete=True))
    rows = rows_of_folds(load_recipe("glas"), cases, tmp_path / "out", k=3, means=MEANS)
    test = {f"p{patient}" for patient in (9, 10, 11)}
    seen: list[str] = []
    for row in rows:
        people = {
            part: {str(case.patient) for case in row.part(part)}
            for part in ("train", "validation", "test")
        }
        assert people["test"] == test
        assert len(people["train"]) == 6
        assert not people["train"] & people["validation"]
        assert {case.group for case in row.part("validation")} == {"g0", "g1"}
        seen += people["validation"]
    assert sorted(seen) == [f"p{patient}" for patient in range(9)]


@pytest.mark.usefixtures("in_this_process")
def test_models_are_not_used_together_when_a_fold_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(row: Row) -> None:
        raise MemoryError(f"none left for {row.label}")

    monkeypatch.setattr(crossfold, "trained", fail)
    cases = [Case(tmp_path / f"{n}.png", None, f"p{n}", "train", complete=True) for n in range(2)]
    for number, case in enumerate(cases):
        case.slide.write_bytes(bytes([number]))
    rows = rows_of_folds(load_recipe("glas"), cases, tmp_path / "out", k=2, means=MEANS)
    *_, (_, done, failures) = do_folds(rows, pooled=True)
    assert not done
    assert failures["fold 1"] == "MemoryError: none left for fold 1"
    assert "fold 1, fold 2 failed" in failures[POOLED_MODELS]


def test_recipes_are_compared_on_the_same_classes_and_slides(tmp_path: Path) -> None:
    rows = rows_of_recipes(["magnification/better", "magnification/published.toml"[:-5]])
    assert [row.label for row in rows] == ["better", "published"]
    with pytest.raises(SettingsError, match="name each once"):
        rows_of_recipes(["glas", "glas"])
    cases = []
    for number in range(20):
        path = tmp_path / f"{number}.png"
        path.write_bytes(bytes([number]))
        cases.append(Case(path, None, f"p{number}", complete=True))
    out = tmp_path / "out"
    assert [row.folder.parent for row in placed(rows, cases, out, MEANS)] == [out, out]
    other = load_recipe("magnification/better", ['classes.classes=[{name="other"}]'])
    with pytest.raises(SettingsError, match="same classes"):
        placed([rows[0], replace(rows[1], recipe=other)], cases, out, MEANS)
    split = rows[1].recipe.split.model_copy(update={"seed": 7})
    other = rows[1].recipe.model_copy(update={"split": split})
    with pytest.raises(CohortError, match="better and published split the cohort differently"):
        placed([rows[0], replace(rows[1], recipe=other)], cases, out, MEANS)
