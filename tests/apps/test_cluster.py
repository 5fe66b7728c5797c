"""A real Ray on this machine: slides and parts of slides are tasks, and a worker is killed."""

import itertools
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journey import discs, save_dark_bundle, write_slide
from slidemask.apps import cluster
from slidemask.apps.cluster import Place, on_cluster, ranges_of
from slidemask.base.errors import BundleError, OutputError, SettingsError, SlideError
from slidemask.base.lock import locked
from slidemask.data.case import Case
from slidemask.models.bundle import Bundle
from slidemask.recipes import parts
from slidemask.recipes.asked import Asked, Outcome
from slidemask.recipes.segment import Model, Options, output_of, segment

SAME = ("mask.ome.tif", "polygons.geojson")


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=60), huge=st.integers(1, 100))
@settings(deadline=None)
def test_ranges_cover_all_rows_in_order_about_equally(counts: list[int], huge: int) -> None:
    ranges = ranges_of(np.array(counts), huge)
    if sum(counts) <= huge:
        assert ranges == []
        return
    if not ranges:  # all tiles in one row
        return
    assert (ranges[0][0], ranges[-1][1]) == (0, len(counts))
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ranges))
    for first, last in ranges:
        assert sum(counts[first:last]) <= huge + max(counts)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("slides")
    return [
        write_slide(folder / f"{name}.tif", discs(side, side - 60, seed=seed)[0])
        for seed, (name, side) in enumerate([("a", 300), ("b", 300), ("large", 900)])
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dark_bundle(tmp_path_factory.mktemp("model") / "dark")


@pytest.mark.slow
def test_a_cluster_gives_what_one_machine_gives_though_a_worker_is_killed(
    slides: list[Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    options = Options(backend="torch", overwrite=True)
    monkeypatch.chdir(slides[0].parent)
    cases = [Case(Path(slide.name)) for slide in slides]
    list(segment(cases, Bundle.load(model, "cpu"), alone, options))
    list(segment(cases[:1], Bundle.load(model, "cpu"), shared, Options(("post.threshold=0.6",))))
    killed = tmp_path / "killed"
    monkeypatch.setattr(cluster, "_part", dying_once(killed))
    told = []
    monkeypatch.setattr(cluster, "LOOK_S", 0.05)
    place = Place("local", huge=20, device="cpu")
    run = on_cluster(cases, [str(model)], shared, options=options, place=place)
    states = {outcome.slide.stem: outcome for outcome in run(told.append)}
    assert killed.exists()
    assert {name: outcome.state for name, outcome in states.items()} == dict.fromkeys(
        ("a", "b", "large"), "done"
    ), states
    assert [outcome.state for outcome in told if outcome.slide == cases[2].slide] == [
        "predicting", "done",
    ]  # fmt: skip
    assert {outcome.slide for outcome in told} == {case.slide for case in cases}
    for name in states:
        for file in SAME:
            assert (shared / name / file).read_bytes() == (alone / name / file).read_bytes(), file
        assert not (shared / name / ".work").exists()


def dying_once(killed: Path) -> Callable[..., bool]:
    """Return `cluster._part` whose worker is killed once, in the middle of its rows.

    Ray takes a function that is made in another to its workers as it is, tests or not.
    """
    part = cluster._part

    def dying(task: Any, first: int, last: int) -> bool:
        import os
        import signal

        from slidemask.infer import store

        written = store.append_synced

        def die(path: Path, data: bytes) -> None:
            written(path, data)
            if path.name == "journal.jsonl" and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)

        store.append_synced = die
        return part(task, first, last)

    return dying


def test_a_part_that_cannot_be_read_leaves_the_fault_to_the_slide_s_own_task(
    slides: list[Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object, **__: object) -> None:
        raise SlideError("tile at (0, 0) cannot be read")

    monkeypatch.setattr(parts, "predict_part", unreadable)
    models = (Model.of(Bundle.load(model, "cpu"), ()),)
    stop, options = threading.Event(), Options(backend="torch")
    folder = output_of(tmp_path) / "a"
    asked = Asked(Case(slides[0]), models, folder, options, stop, lambda _outcome: None)
    assert not parts.predict_rows(asked, range(2))
    assert parts.alone(asked, [range(2)]).state == "done"


def test_a_part_is_not_computed_where_the_share_is_away(
    slides: list[Path], model: Path, tmp_path: Path
) -> None:
    asked = asked_for(slides[0], model, tmp_path / "mounted", Options(backend="torch"))
    asked.lock.parent.rmdir()
    asked.folder.parent.rmdir()
    assert not parts.predict_rows(asked, range(2))
    assert not asked.folder.parent.exists()


def asked_for(slide: Path, model: Path, out: Path, options: Options) -> Asked:
    models = (Model.of(Bundle.load(model, "cpu"), ()),)
    folder = output_of(out) / slide.stem
    return Asked(Case(slide), models, folder, options, threading.Event(), lambda _: None)


def test_what_is_overwritten_is_removed_once_and_not_by_every_task(
    slides: list[Path], model: Path, tmp_path: Path
) -> None:
    """Parts are kept by the slide's own task, and by one that takes over from the dead."""
    before = asked_for(slides[0], model, tmp_path, Options(("post.threshold=0.6",)))
    assert parts.alone(before).state == "done"
    asked = asked_for(slides[0], model, tmp_path, Options(overwrite=True, backend="torch"))
    with locked(asked.lock):
        assert parts.cleared(asked) is asked
    assert (asked.folder / "summary.json").exists()
    asked = parts.cleared(asked)
    assert not asked.folder.exists()
    assert not asked.options.overwrite
    tiles = parts.tiles_of_rows(asked)
    assert tiles is not None
    assert tiles.sum() > 0
    assert parts.predict_rows(asked, range(2))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Bundle, "predict", None)  # all is there already
        assert parts.predict_rows(asked, range(2))
    assert parts.alone(asked, [range(2)]).state == "done"


def test_slides_are_told_by_the_names_the_caller_gave(
    slides: list[Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of a terminal knows no others."""

    def run(tasks: list[Any], _: Place, tell: Callable[[Outcome], object]) -> Iterator[Outcome]:
        for task in tasks:
            assert task.case.slide.is_absolute()
            tell(Outcome(task.case.slide, task.folder, "predicting"))
            yield Outcome(task.case.slide, task.folder, "done")

    monkeypatch.setattr(cluster, "_run", run)
    monkeypatch.chdir(slides[0].parent)
    cases = [Case(Path(slide.name)) for slide in slides]
    told: list[Outcome] = []
    go = on_cluster(cases, [str(model)], tmp_path / "out", options=Options(), place=Place())
    done = [outcome.slide for outcome in go(told.append)]
    assert done == [case.slide for case in cases]
    assert [outcome.slide for outcome in told] == [slide for slide in done for _ in range(2)]


class Here:
    """Ray's calls, each task run at once in this process with what pickling leaves of it."""

    exceptions = type("exceptions", (), {"RayError": RuntimeError})

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.most = 0

    def remote(self, **_: object) -> Callable[[Callable[..., Any]], Any]:
        def wrap(task: Callable[..., Any]) -> Any:
            def call(*arguments: Any) -> list[Any]:
                given = [arg[0] if isinstance(arg, Ref) else arg for arg in arguments]
                self.ran.append(task.__name__)
                return Ref([task(*pickle.loads(pickle.dumps(given)))])

            return type("Remote", (), {"remote": staticmethod(call)})

        return wrap

    def wait(self, refs: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        self.most = max(self.most, len(refs))
        return refs[:1], refs[1:]

    @staticmethod
    def get(ref: Any) -> Any:
        return ref[0]

    def shutdown(self) -> None:
        self.ran.append("shutdown")


class Ref(list[Any]):
    """What a task gave."""

    def __hash__(self) -> int:  # type: ignore[override]  # as Ray's, by identity
        return id(self)


def test_slides_are_planned_cut_and_joined_a_few_at_a_time(
    slides: list[Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of tasks, without a cluster: what one gives is what the next takes."""
    alone, shared, ray = tmp_path / "alone", tmp_path / "shared", Here()
    cases = [Case(slide) for slide in slides]
    options = Options(backend="torch", overwrite=True)
    seen, predict = [0], Bundle.predict

    def counted(bundle: Bundle, tiles: np.ndarray, precision: Any = "auto") -> np.ndarray:
        seen[0] += len(tiles)
        return predict(bundle, tiles, precision)

    monkeypatch.setattr(Bundle, "predict", counted)
    list(segment(cases, Bundle.load(model, "cpu"), alone, options))
    once, seen[0] = seen[0], 0
    monkeypatch.setattr(cluster, "_started", lambda _: ray)
    monkeypatch.setattr(cluster, "AT_ONCE", 2)
    place = Place(huge=100, device="cpu")
    told: list[Outcome] = []
    go = on_cluster(cases, [str(model)], shared, options=options, place=place)
    assert [outcome.state for outcome in go(told.append)] == ["done"] * 3
    assert {outcome.slide for outcome in told} == set(slides)
    assert (ray.ran.count("_plan"), ray.ran.count("_whole"), ray.ran[-1]) == (3, 3, "shutdown")
    assert ray.ran.count("_part") >= 2
    assert ray.most == 2
    assert once <= seen[0] < 1.5 * once  # parts see the row above again; nothing is thrown away
    for name in ("a", "b", "large"):
        for file in SAME:
            assert (shared / name / file).read_bytes() == (alone / name / file).read_bytes(), file


class NoRay:
    """What `_answer` needs of Ray."""

    class exceptions:  # noqa: N801 - Ray's name
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            def __init__(self, cause: Exception) -> None:
                super().__init__("a long trace")
                self.cause = cause

        class WorkerCrashedError(RayError):
            pass

    @staticmethod
    def get(error: Exception) -> None:
        raise error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoRay.exceptions.RayTaskError(BundleError("no such model")), "no such model"),
        (NoRay.exceptions.RayTaskError(KeyError("x")), "KeyError: 'x'"),
        (
            NoRay.exceptions.WorkerCrashedError("gone\nand more"),
            "its workers died 4 times (WorkerCrashedError: gone)",
        ),
    ],
)
def test_a_fault_of_a_task_is_told_apart_from_a_dead_worker(
    tmp_path: Path, error: Exception, message: str
) -> None:
    task = cluster._Task(Case(tmp_path / "a.tif"), (), tmp_path, Options(), "cpu")
    outcome = cluster._answer(NoRay, error, task)
    assert (outcome.state, outcome.message) == ("failed", message)


def test_what_cannot_begin_is_told_before_any_task(
    slides: list[Path], model: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="given twice"):
        on_cluster([Case(slides[0])] * 2, [str(model)], tmp_path, options=Options(), place=Place())
    with pytest.raises(SettingsError, match="thresholt"):
        on_cluster(
            [Case(slides[0])], [str(model)], tmp_path,
            options=Options(changes=("post.thresholt=1",)), place=Place(),
        )  # fmt: skip
