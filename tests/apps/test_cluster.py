"""A real Ray on this machine: slides and parts of slides are tasks, and a worker is killed."""

import itertools
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journey import discs, save_dark_bundle, write_slide
from slidemask.apps.cluster import Place, on_cluster, ranges_of
from slidemask.base.errors import OutputError, SettingsError, SlideError
from slidemask.data.case import Case
from slidemask.models.bundle import Bundle
from slidemask.recipes import oneslide
from slidemask.recipes.asked import Asked
from slidemask.recipes.segment import Model, Options, segment

SAME = ("mask.ome.tif", "polygons.geojson")


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=60), huge=st.integers(1, 100))
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
    options = Options(backend="torch")
    cases = [Case(slide) for slide in slides]
    list(segment(cases, Bundle.load(model, "cpu"), alone, options))
    # The worker that writes the large slide's first bands is killed in the middle of it.
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    killed: list[int] = []

    def kill_once() -> None:
        bands = shared / "large" / ".work"
        while not killed:
            for path in bands.glob("**/journal.jsonl"):
                if path.exists() and path.stat().st_size and (pid := writer_of(path)):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
            time.sleep(0.002)

    watching = threading.Thread(target=kill_once, daemon=True)
    watching.start()
    told = []
    place = Place("local", huge=20, device="cpu")
    run = on_cluster(cases, [str(model)], shared, options=options, place=place)
    states = {outcome.slide.stem: outcome for outcome in run(told.append)}
    assert killed
    assert {name: outcome.state for name, outcome in states.items()} == dict.fromkeys(
        ("a", "b", "large"), "done"
    ), states
    assert len(told) == 3
    for name in states:
        for file in SAME:
            assert (shared / name / file).read_bytes() == (alone / name / file).read_bytes(), file
        assert not (shared / name / ".work").exists()


def writer_of(journal: Path) -> int | None:
    """Return the Ray worker that has a file of the journal's folder open, if one can be found."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if not command.startswith(b"ray::"):
                continue
            opened = [str(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            continue
        if any(str(journal.parent.parent) in name for name in opened):
            return int(process.name)
    return None


def test_a_part_that_cannot_be_read_leaves_the_fault_to_the_slide_s_own_task(
    slides: list[Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object, **__: object) -> None:
        raise SlideError("tile at (0, 0) cannot be read")

    monkeypatch.setattr(oneslide, "predict_part", unreadable)
    models = (Model.of(Bundle.load(model, "cpu"), ()),)
    stop, options = threading.Event(), Options(backend="torch")
    asked = Asked(Case(slides[0]), models, tmp_path / "a", options, stop, lambda _outcome: None)
    assert not oneslide.predict_rows(asked, range(2))
    assert oneslide.alone(asked, [range(2)]).state == "done"


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
