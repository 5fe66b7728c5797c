"""Killed at any moment, by two processes at once, on a full disk: the same bytes in the end."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forked import Server
from journey import discs, save_dark_bundle, write_slide
from slidemask.base.lock import locked
from slidemask.data.case import Case
from slidemask.infer import store
from slidemask.models.bundle import Bundle
from slidemask.recipes import results
from slidemask.recipes.segment import Options, segment

FILES = ("mask.ome.tif", "polygons.geojson", "preview.png", "probability.ome.tif")
ON = ("--device", "cpu", "--backend", "torch")  # of few tiles "auto" takes what lies ready
OF_THE_RUN = ("seconds", "megapixels_per_s", "peak_memory_mb", "finished", "batch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dark_bundle(tmp_path_factory.mktemp("model") / "dark")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not hasattr(os, "fork"):
        pytest.skip("processes are forked here")
    with Server(tmp_path_factory.mktemp("said")) as server:
        yield server


def summary_of(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key not in OF_THE_RUN}


def assert_whole_or_absent(folder: Path, whole: Path) -> None:
    for name in FILES:
        if (folder / name).exists():
            assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    if (folder / "summary.json").exists():
        assert summary_of(folder) == summary_of(whole)
        assert all((folder / n).exists() for n in FILES if (whole / n).exists())


@pytest.mark.slow
def test_killed_at_twenty_moments_it_ends_with_the_bytes_of_an_undisturbed_run(
    server: Server, model: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    slide = write_slide(tmp_path / "s.tif", discs(420, 230, seed=8)[0])
    command = ["segment", slide, "-m", model, *ON, "--probability", "--out"]
    assert server.run(*command, tmp_path / "first") == 0  # the server's own first time is slower
    began = time.monotonic()
    assert server.run(*command, tmp_path / "undisturbed") == 0
    lasts = time.monotonic() - began
    whole, folder = tmp_path / "undisturbed" / "s", tmp_path / "cut-0" / "s"
    killed, ends, half_done = 0, 0, 0
    while killed < 20:
        child = server.start(*command, folder.parent)
        time.sleep(rng.uniform(0.05, 0.7) * lasts)
        server.kill(child)
        code = server.end()
        assert code in {0, -9}, server.said
        killed += code == -9
        assert_whole_or_absent(folder, whole)
        half_done += (folder / ".work" / "journal.jsonl").exists()
        if code == 0:  # before it could be killed: one slide is done, and the next begins
            assert_finished(folder, whole)
            ends += 1
            folder = tmp_path / f"cut-{ends}" / "s"
    assert server.run(*command, folder.parent) == 0
    assert_finished(folder, whole)
    assert half_done, "no moment lay between the first band and the end"


def assert_finished(folder: Path, whole: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}
    assert_whole_or_absent(folder, whole)


def go(
    slides: list[Path],
    model: Path,
    out: Path,
    *,
    overwrite: bool = False,
    probability: bool = False,
) -> list[tuple[str, str]]:
    cases = [Case(slide) for slide in slides]
    options = Options(overwrite=overwrite, probability=probability, backend="torch")
    outcomes = segment(cases, Bundle.load(model, "cpu"), out, options)
    return [(outcome.state, outcome.message) for outcome in outcomes]


def wait_for_bands(out: Path, name: str, child: int) -> None:
    """Wait until that process holds a slide of which bands are on disk."""
    journal, holder = out / name / ".work" / "journal.jsonl", out / ".locks" / f"{name}.json"
    began = time.monotonic()
    while time.monotonic() - began < 60:
        with suppress(FileNotFoundError):
            if f": {child}," in holder.read_text() and journal.read_bytes():
                return
        time.sleep(0.01)
    pytest.fail(f"no band of {name} within a minute")


def test_two_processes_share_the_slides_and_the_dead_hold_nothing(
    server: Server, model: Path, tmp_path: Path
) -> None:
    slides = [write_slide(tmp_path / f"{n}.tif", discs(200, 130, seed=n)[0]) for n in range(2)]
    assert go(slides, model, tmp_path / "whole") == [("done", "")] * 2
    out = tmp_path / "out"
    command = ["segment", *slides, "-m", model, *ON, "--out"]
    for kill in (True, False):
        child = server.start(*command, out, slowness_s=0.15)
        wait_for_bands(out, "0", child)
        if kill:
            server.kill(child)
            assert server.end() == -9
            continue
        here = go(slides, model, out)
        assert here[0][0] == "elsewhere"
        assert f"process {child} on " in here[0][1]
        assert here[1] == ("done", "")
        assert server.end() == 0, server.said
    said = server.said
    assert "0.tif: done" in said
    assert "1.tif: was done before" in said or "1.tif: is being done elsewhere" in said
    for name in "01":
        assert_whole_or_absent(out / name, tmp_path / "whole" / name)
    assert go(slides, model, out) == [("there", "")] * 2


def test_overwriting_waits_for_nobody_and_harms_nobody(model: Path, tmp_path: Path) -> None:
    slide = write_slide(tmp_path / "0.tif", discs(100, 130)[0])
    out = tmp_path / "out"
    go([slide], model, out)
    before = (out / "0" / "mask.ome.tif").stat().st_mtime_ns
    with locked(out / ".locks" / "0.lock"):
        ((state, message),) = go([slide], model, out, overwrite=True)
    assert (state, f"process {os.getpid()} on " in message) == ("elsewhere", True)
    assert (out / "0" / "mask.ome.tif").stat().st_mtime_ns == before


WRITES = {
    "bands": (store, "append_synced"),
    "mask": (results, "write_label_pyramid"),
    "probability": (results, "write_probability_pyramid"),
    "polygons": (results, "write_geojson"),
    "preview": (results, "write_preview"),
    "summary": (results, "write_json"),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_is_named_and_leaves_nothing_half_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The system refuses to make files longer than so, as a full disk would in the midst."""
    resource = pytest.importorskip("resource")
    slide = write_slide(tmp_path / "0.tif", discs(200, 130, seed=1)[0])
    go([slide], model, tmp_path / "whole", probability=True)
    module, function = WRITES[name]
    write = getattr(module, function)

    def filling(*arguments: Any, **named: Any) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
        try:
            write(*arguments, **named)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            monkeypatch.setattr(module, function, write)  # there is space again

    monkeypatch.setattr(module, function, filling)
    ((state, message),) = go([slide], model, tmp_path / "out", probability=True)
    assert state == "failed"
    assert "could not be written (File too large)" in message
    assert str(tmp_path / "out" / "0") in message
    folder = tmp_path / "out" / "0"
    assert_whole_or_absent(folder, tmp_path / "whole" / "0")
    assert not (folder / "summary.json").exists()
    assert not list(folder.glob(".*.part*"))
    assert go([slide], model, tmp_path / "out", probability=True) == [("done", "")]
    assert_finished(folder, tmp_path / "whole" / "0")


def test_ctrl_c_leaves_nothing_half_written_and_holds_nothing(
    server: Server, model: Path, tmp_path: Path
) -> None:
    slides = [write_slide(tmp_path / f"{n}.tif", discs(140, 130, seed=n)[0]) for n in range(2)]
    go(slides, model, tmp_path / "whole")
    out = tmp_path / "out"
    command = ["segment", *slides, "-m", model, *ON, "--out", out]
    for name in "01":  # at the second, the first may still be being written
        child = server.start(*command, slowness_s=0.1)
        wait_for_bands(out, name, child)
        os.kill(child, signal.SIGINT)
        assert server.end() == 130, server.said
        assert "Traceback" not in server.said
        assert not list(out.glob("*/.*.part*"))
        assert not list(out.glob(".locks/*.json"))
    assert [state for state, _ in go(slides, model, out)][1] == "done"
    for name in "01":
        assert_finished(out / name, tmp_path / "whole" / name)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 KiB in memory, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    asked = [str(mount), "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if not mount or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_grows_too_slowly_costs_nothing_but_tries(
    model: Path, tmp_path: Path, small_disk: Path
) -> None:
    slide = write_slide(tmp_path / "0.tif", discs(200, 130, seed=1)[0])
    go([slide], model, tmp_path / "whole", probability=True)
    size_kib, failures = 16, 0
    while True:
        ((state, message),) = go([slide], model, small_disk / "out", probability=True)
        if state == "done":
            break
        assert state == "failed"
        assert "No space left on device" in message
        assert str(small_disk) in message
        assert_whole_or_absent(small_disk / "out" / "0", tmp_path / "whole" / "0")
        assert not (small_disk / "out" / "0" / "summary.json").exists()
        failures += 1
        size_kib += 40
        remount = ["mount", "-o", f"remount,size={size_kib}k", str(small_disk)]
        subprocess.run(remount, check=True)
    assert failures >= 2
    assert_finished(small_disk / "out" / "0", tmp_path / "whole" / "0")
