"""0 done, 1 some inputs failed, 2 wrong use; a message on stderr, and never a traceback."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from journey import GLAND, disc_cases, discs, write_png
from slidemask.base.errors import OutputError
from slidemask.base.types import Quantised
from slidemask.data.cohort import write_cohort
from slidemask.infer.store import BandStore
from slidemask.recipes.recipe import Recipe, write_recipe
from slidemask.tiles.grid import Tiling

Command = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a picture, a text that calls itself a slide, recipes and cohorts."""
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "good.png", discs(40, 50)[0])
    Path("text.svs").write_text("this is no slide\n")
    Path("empty.svs").write_bytes(b"")
    Path("empty.csv").write_text("slide,annotations\n")
    Path("nothing.csv").write_text("")
    Path("odd.csv").write_text("slyde,annotations\n")
    Path("lost.csv").write_text("slide\nno such.tif\n")
    Path("file").write_text("in place of a folder")
    recipe = write_recipe(Recipe(name="r", classes=GLAND, tiling=Tiling(tile_px=32, mpp=1.0)))
    Path("r.toml").write_text(recipe)
    Path("misspelt.toml").write_text(recipe.replace("threshold", "treshold"))
    Path("broken.toml").write_text("name = [")
    write_cohort(Path("c.csv"), disc_cases(tmp_path / "d", 2, 1, side=40))
    return tmp_path


SEGMENT = ("-m", "MODEL", "-o", "out", "--device", "cpu")
CASES = [
    (1, "info no_such.svs", "no_such.svs does not exist"),
    (1, "info text.svs", "cannot be opened as a slide"),
    (1, "info empty.svs", "is empty"),
    (1, "info .", "is a directory"),
    (2, "info good.png --mpp 0", "mpp must lie in"),
    (2, "info good.png --mpp much", "--mpp"),
    (2, "info", "SLIDE"),
    (2, "inof good.png", "inof"),
    (1, "tissue text.svs", "cannot be opened"),
    (2, "tissue good.png --out no/such/folder/t.png", "could not be written"),
    (1, "segment no_such.svs SEGMENT", "does not exist"),
    (1, "segment text.svs good.png --mpp 1 SEGMENT", "1 of 2 slides failed"),
    (1, "segment . SEGMENT", "is a directory"),
    (1, "segment good.png SEGMENT", "--mpp"),
    (2, "segment SEGMENT", "give slides"),
    (2, "segment good.png -m no_such_model -o out", "Model 'no_such_model' does not exist"),
    (2, "segment good.png -m text.svs -o out", "is no bundle"),
    (2, "segment good.png -m MODEL -o file", "cannot be written to"),
    (2, "segment good.png -m MODEL -o file/below", "cannot be written to"),
    (2, "segment good.png SEGMENT --set post.treshold=1", "did you mean 'threshold'"),
    (2, "segment good.png SEGMENT --set nonsense", "key=value"),
    (2, "segment good.png SEGMENT --set =", "there is no such key"),
    (2, "segment good.png SEGMENT --set tiling.tile_px=0", "greater than or equal to 8"),
    (2, "segment good.png good.png SEGMENT", "given twice"),
    (2, "segment good.png -m MODEL -o out --device tpu", "'tpu' is not there"),
    (2, "segment good.png -m MODEL -o out --device cpu:x", "cpu:x"),
    (2, "segment -c empty.csv SEGMENT", "is empty"),
    (2, "segment -c nothing.csv SEGMENT", "is empty"),
    (2, "segment -c odd.csv SEGMENT", "did you mean 'slide'"),
    (2, "segment -c lost.csv SEGMENT", "1 files do not exist"),
    (2, "segment -c no_such.csv SEGMENT", "cannot be read"),
    (2, "segment -c c.csv --split tset SEGMENT", "tset"),
    (2, "segment -c c.csv --split test SEGMENT", "test"),
    (2, "plan good.png -m no_such", "does not exist"),
    (1, "plan good.png -m MODEL", "--mpp"),
    (2, "train no_such -c c.csv -o run", "There is no recipe 'no_such'"),
    (2, "train misspelt.toml -c c.csv -o run", "did you mean 'threshold'"),
    (2, "train broken.toml -c c.csv -o run", "is not valid TOML"),
    (2, "train r.toml -c empty.csv -o run", "is empty"),
    (2, "train r.toml -c c.csv -o file", "cannot be written to"),
    (2, "train r.toml -c c.csv -o run --set model.architecture=Unett", "Nearest: unet"),
    (2, "train r.toml -c c.csv -o run --device gpu", "'gpu' is not there"),
    (2, "train r.toml -c c.csv -o run --workers -1", "--workers"),
    (2, "evaluate out -c c.csv", "have no result"),
    (2, "evaluate out -c empty.csv", "is empty"),
    (2, "evaluate out -c c.csv --compare no_such", "no scores can be read"),
    (2, "evaluate out -c c.csv --compare c.csv", "is no scores.json"),
    (2, "cohort no_such", "is not a folder"),
    (2, "cohort d/images d/labels --patient-pattern ( --out n.csv", "no regular expression"),
    (2, "cohort d/images d/labels --table odd.csv --out n.csv", "has no column"),
    (2, "cohort d/images d/labels --out c.csv", "exists"),
    (2, "phantom -o ph --width 0", "width_px"),
    (2, "phantom -o ph --width 300 --height 300 --seed -1", "seed"),
    (2, "phantom -o ph --width 300 --height 300 --slides 0", "slides"),
    (2, "phantom -o file --width 300 --height 300", "cannot be written"),
]  # fmt: skip


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("code", "line", "words"), CASES, ids=[case[1] for case in CASES])
def test_wrong_input_gets_its_code_and_its_message(
    slidemask: Command, model: Path, code: int, line: str, words: str
) -> None:
    arguments = [
        str(model) if word == "MODEL" else word
        for part in line.split()
        for word in (SEGMENT if part == "SEGMENT" else (part,))
    ]
    found, out, err = slidemask(*arguments)
    assert found == code, err + out
    assert words in err
    assert "Traceback" not in err + out
    assert not Path("run/recipe.toml").exists()


@pytest.mark.usefixtures("here")
def test_a_full_disk_stops_with_its_name(
    slidemask: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = slidemask(
        "segment", "good.png", "--mpp", 1, "-m", model, "-o", "out", "--device", "cpu"
    )
    assert code in {1, 2}
    assert "No space left" in err


def test_the_program_itself_exits_with_1_and_without_a_traceback(tmp_path: Path) -> None:
    code = "from slidemask.apps.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "info", str(tmp_path / "Präparat 1.svs")],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert "Präparat 1.svs does not exist" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("summary.csv", "summary.csv is a folder"),
        ("report.html", "report.html is a folder"),
        (".locks", ".locks cannot be written to"),
        ("", "is a link to nowhere, which does not exist"),
    ],
)
def test_what_stands_in_the_way_is_told_before_anything_is_computed(
    slidemask: Command, model: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    if not name:
        Path("out").symlink_to("nowhere")
    elif name == ".locks":
        Path("out").mkdir()
        Path("out", name).write_text("a file in place of a folder")
    else:
        Path("out", name).mkdir(parents=True)
    monkeypatch.setattr("slidemask.models.bundle.Bundle.predict", None)
    monkeypatch.setattr("slidemask.recipes.oneslide.open_slide", None)
    code, out, err = slidemask(
        "segment", "good.png", "--mpp", 1, "-m", model, "-o", "out", "--device", "cpu"
    )
    assert (code, out) == (2, "")
    assert words in err
    assert "--out" in err


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", [".work", "mask.ome.tif"])
def test_what_stands_in_one_slide_s_way_is_told_before_it_is_computed(
    slidemask: Command, model: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    Path("out/good").mkdir(parents=True)
    if name == ".work":
        Path("out/good", name).write_text("a file in place of a folder")
    else:
        Path("out/good", name).mkdir()
    monkeypatch.setattr("slidemask.models.bundle.Bundle.predict", None)
    code, _, err = slidemask(
        "segment", "good.png", "--mpp", 1, "-m", model, "-o", "out", "--device", "cpu"
    )
    assert code == 1
    assert f"out/good/{name}" in err
    assert "--out" in err


@pytest.mark.usefixtures("here")
def test_a_disk_that_is_full_at_the_very_end_costs_only_the_tables(
    slidemask: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed is told all the same, and the same command makes the tables."""
    fsync = os.fsync

    def full(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if name.startswith((".summary.csv", ".report.html")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc to tell which file a descriptor is")
    line = (
        "segment",
        "good.png",
        "text.svs",
        "--mpp",
        1,
        "-m",
        model,
        "-o",
        "out",
        "--device",
        "cpu",
    )
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        code, _, err = slidemask(*line)
    assert code == 2
    assert "text.svs: " in err
    assert "No space left" in err
    assert "The results of 1 of 2 slides are kept" in err
    assert Path("out/good/summary.json").exists()
    assert not Path("out/summary.csv").exists()
    code, out, _ = slidemask(*line)
    assert code == 1
    assert "good.png: was done before" in out
    assert Path("out/summary.csv").read_text().count("\n") == 3


@pytest.mark.usefixtures("here")
def test_where_a_share_was_unmounted_nothing_is_written_to_the_disk_beneath(
    slidemask: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the first slide the share gives way to the empty folder that it hid."""
    append = BandStore.append

    def unmounted(store: BandStore, band: Quantised) -> None:
        if not Path("share").exists():
            Path("mnt").rename("share")
            Path("mnt").mkdir()
        append(store, band)

    write_png(Path("other.png"), discs(40, 50)[0])
    line = ("segment", "good.png", "other.png", "--mpp", 1, "-m", model, "-o", "mnt")
    with monkeypatch.context() as patched:
        patched.setattr(BandStore, "append", unmounted)
        code, _, err = slidemask(*line, "--device", "cpu")
    assert code == 1
    assert "2 of 2 slides failed" in err
    assert err.count("share is still there") == 2
    assert {path.name for path in Path("mnt").iterdir()} == {"summary.csv", "report.html"}
    assert Path("share/good/.work/journal.jsonl").exists()


@pytest.mark.usefixtures("here")
def test_a_share_that_cannot_be_listed_at_the_end_is_no_traceback(
    slidemask: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir

    def down(folder: Path) -> Iterator[Path]:
        if folder.name == "out":
            raise OSError(errno.EHOSTDOWN, os.strerror(errno.EHOSTDOWN))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", down)
    code, _, err = slidemask("segment", "text.svs", "-m", model, "-o", "out", "--device", "cpu")
    assert code == 2
    assert "text.svs: " in err
    assert "out could not be read (Host is down)" in err
    assert "The results of 0 of 1 slides are kept" in err


@pytest.mark.usefixtures("here")
def test_work_that_a_share_keeps_open_does_not_undo_a_slide(
    slidemask: Command,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def kept(folder: Path) -> None:
        raise OutputError(f"{folder} could not be removed (Directory not empty).")

    line = ("segment", "good.png", "--mpp", 1, "-m", model, "-o", "out", "--device", "cpu")
    with monkeypatch.context() as patched:
        patched.setattr("slidemask.recipes.oneslide.remove_folder", kept)
        code, out, _ = slidemask(*line)
    assert code == 0
    assert "good.png: done" in out
    assert ".work could not be removed" in caplog.text
    assert Path("out/good/.work").exists()
    code, out, _ = slidemask(*line)
    assert "was done before" in out
    assert not Path("out/good/.work").exists()
