"""Result folders that were half removed, half copied or damaged by others."""

from pathlib import Path

import pytest

from journey import discs, save_dark_bundle, write_slide
from slidemask.base.errors import OutputError
from slidemask.data.case import Case
from slidemask.models.bundle import Bundle
from slidemask.recipes.reporting import report
from slidemask.recipes.segment import Options, Outcome, result_folders, segment

Done = tuple[Bundle, list[Case], Path]


@pytest.fixture
def done(tmp_path: Path) -> Done:
    """Two slides, segmented."""
    bundle = Bundle.load(save_dark_bundle(tmp_path / "dark"), "cpu")
    cases = [
        Case(write_slide(tmp_path / f"{name}.tif", discs(100, 90, seed=seed)[0]))
        for seed, name in enumerate("ab")
    ]
    out = tmp_path / "out"
    assert [one.state for one in go((bundle, cases, out))] == ["done", "done"]
    return bundle, cases, out


def go(done: Done, *, overwrite: bool = False) -> list[Outcome]:
    bundle, cases, out = done
    return list(segment(cases, bundle, out, Options(overwrite=overwrite, backend="torch")))


def test_a_result_that_lacks_a_file_is_made_again(
    done: Done, caplog: pytest.LogCaptureFixture
) -> None:
    out = done[2]
    mask = out / "a" / "mask.ome.tif"
    before = mask.read_bytes()
    mask.unlink()
    assert [one.state for one in go(done)] == ["done", "there"]
    assert mask.read_bytes() == before
    assert "files of the result are missing" in caplog.text


def test_overwriting_that_was_killed_while_it_removed_leaves_nothing_that_looks_finished(
    done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folder: Path, *_: object, **__: object) -> None:
        assert (folder / "mask.ome.tif").exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("slidemask.recipes.oneslide.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            go(done, overwrite=True)
    assert not (done[2] / "a" / "summary.json").exists()
    assert [one.state for one in go(done)] == ["done", "there"]


def test_one_damaged_summary_costs_no_table(done: Done, caplog: pytest.LogCaptureFixture) -> None:
    (done[2] / "a" / "summary.json").write_text("{", encoding="utf-8")
    outcomes = go(done)
    assert [one.state for one in outcomes] == ["failed", "there"]
    assert "is damaged" in outcomes[0].message
    page, table = report(done[2], outcomes)
    assert "is damaged" in caplog.text
    lines = table.read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[2] for line in lines[1:]] == ["failed", "there"]
    assert "is damaged" in page.read_text(encoding="utf-8")


def test_no_slide_takes_a_place_that_the_output_folder_needs(tmp_path: Path) -> None:
    """A slide `.locks.tif` whose folder were `.locks` would take all locks with it."""
    names = [".locks.tif", "scores.svs", "Summary.csv.tif", "report.html.tif", "scores2.svs"]
    folders = result_folders([tmp_path / name for name in names], tmp_path / "out")
    assert [folder.name for folder in folders] == [*names[:4], "scores2"]
    both = result_folders([tmp_path / "a.svs", tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path)
    assert [folder.name for folder in both] == ["a.svs", "a.tif", "b"]
    with pytest.raises(OutputError, match=r"^a\.svs was given twice"):
        result_folders([tmp_path / "a.svs", tmp_path / "x" / ".." / "a.svs"], tmp_path)
