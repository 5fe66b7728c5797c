"""Run commands on bad input and write what they say to docs/errors.md.

    python docs/show_errors.py            writes the page
    python docs/show_errors.py --check    exits with 1 if the page is not what the commands say

Every message on the page comes from a run of the command that stands above it, in a folder that
this script fills. Only what differs between two runs (times, machines) may not stand there.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.data.phantom.settings import PhantomSettings
from slidemask.data.phantom.write import write_phantom_cohort
from slidemask.geometry.annotations import Annotations
from slidemask.io.geojson import write_geojson
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import BundleInfo, save_bundle
from slidemask.models.segmenter import Segmenter
from slidemask.tiles.grid import Tiling

WIDTH = 96
PAGE = Path(__file__).parent / "errors.md"
RECIPE = """\
name = "tiny"
[classes]
ignored = ["tissue", "lymphoid cluster", "pen mark"]
[[classes.classes]]
name = "gland"
[tiling]
tile_px = 64
mpp = 4.0
[model]
width = 4
depth = 2
[schedule]
epochs = 1
"""
HEAD = """\
# What is said when input is wrong

Each message says what was asked for, what was found, and what to do. Exit codes: 0 done, 1 some
input failed (a slide, an annotation file), 2 wrong use (an option, a recipe, a cohort, a model, an
output folder), 130 stopped by Ctrl-C.

One bad slide does not stop the others: `segment` goes on, lists the failures at the end and in
`report.html`, and exits with 1.

This page is written by `docs/show_errors.py`, which runs the commands; `python docs/show_errors.py
--check` tells whether it still holds. Some messages are broken into lines here.
"""


class Case(NamedTuple):
    """A kind of bad input, how it is made, and the command that meets it."""

    title: str
    command: str
    make: Callable[[], object] = lambda: None


def _write(path: str, text: str) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    return Path(path)


def _cut(path: str, source: str, keep: float) -> None:
    data = Path(source).read_bytes()
    Path(path).write_bytes(data[: int(keep * len(data))])


def _damage() -> None:
    """Overwrite the middle of a slide, so that it opens but some tiles cannot be decoded."""
    data = bytearray(Path("data/phantom-0.tif").read_bytes())
    data[len(data) // 8 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 8)
    Path("damaged.tif").write_bytes(data)


def _picture(path: str) -> None:
    Image.fromarray(np.full((300, 400, 3), 200, np.uint8)).save(path)


def _cohort(path: str, *rows: str, header: str = "slide,annotations,patient,split") -> Path:
    return _write(path, "\n".join([header, *rows]) + "\n")


def _rows(*numbers: int) -> list[str]:
    return [
        f"data/phantom-{n}.tif,data/phantom-{n}.geojson,p{n},{part}"
        for n, part in zip(numbers, ("train", "validation", "test"), strict=False)
    ]


def _unknown_class() -> None:
    import shapely

    regions = Annotations.of([shapely.box(200, 200, 700, 700)], ["Tumor"])
    write_geojson(Path("tumour.geojson"), regions, ClassMap(classes=(ClassInfo(name="Tumor"),)))
    first, second, _ = _rows(0, 1, 2)
    _cohort("tumour.csv", first.replace("data/phantom-0.geojson", "tumour.geojson"), second)


def _same_file() -> None:
    shutil.copy("data/phantom-0.tif", "copy.tif")
    _cohort("copy.csv", _rows(0)[0], "copy.tif,data/phantom-0.geojson,somebody else,validation")


def _bundle_without(name: str, folder: str) -> None:
    shutil.copytree("model", folder)
    (Path(folder) / name).unlink()


def _bundle_of_format(number: int) -> None:
    shutil.copytree("model", "other-format")
    path = Path("other-format/bundle.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": number}))


def _file_as_folder() -> Path:
    return _write("taken", "a file stands where the folder should be\n")


TRAIN = "slidemask train {recipe} --cohort {cohort} --out run"
TINY = TRAIN.format(recipe="tiny.toml", cohort="data/cohort.csv")
SEGMENT = "slidemask segment {slide} --model model --out {out}"
GOOD = "data/phantom-0.tif"
GROUPS: dict[str, tuple[Case, ...]] = {
    "Slides": (
        Case("No such file", "slidemask info nowhere.svs"),
        Case("A text file named .svs", "slidemask info notes.svs",
             lambda: _write("notes.svs", "slides arrive on Monday\n")),
        Case("An empty file", "slidemask info empty.svs", lambda: Path("empty.svs").touch()),
        Case("A directory", "slidemask info data"),
        Case("A truncated slide", "slidemask info half.tif",
             lambda: _cut("half.tif", GOOD, 0.5)),
        Case("A slide with damaged tiles, beside a good one",
             "slidemask segment damaged.tif data/phantom-1.tif --model model --out two", _damage),
        Case("A slide without a pixel size",
             SEGMENT.format(slide="field.png", out="fields"), lambda: _picture("field.png")),
        Case("An impossible pixel size", f"slidemask info {GOOD} --mpp 500"),
        Case("One slide given twice",
             SEGMENT.format(slide=f"{GOOD} {GOOD}", out="twice")),
        Case("No slide at all", "slidemask segment --model model --out none"),
    ),
    "Cohorts": (
        Case("An empty cohort", TRAIN.format(recipe="tiny.toml", cohort="empty.csv"),
             lambda: _cohort("empty.csv")),
        Case("A misspelt column", TRAIN.format(recipe="tiny.toml", cohort="column.csv"),
             lambda: _cohort("column.csv", _rows(0)[0], header="slide,anotations,patient,split")),
        Case("A missing file", TRAIN.format(recipe="tiny.toml", cohort="missing.csv"),
             lambda: _cohort("missing.csv", "data/phantom-9.tif,,p9,train")),
        Case("A split that is none", TRAIN.format(recipe="tiny.toml", cohort="part.csv"),
             lambda: _cohort("part.csv", f"{GOOD},,p0,holdout")),
        Case("No patients", TRAIN.format(recipe="tiny.toml", cohort="nobody.csv"),
             lambda: _cohort("nobody.csv", f"{GOOD},data/phantom-0.geojson,,")),
        Case("A patient on both sides", TRAIN.format(recipe="tiny.toml", cohort="leak.csv"),
             lambda: _cohort("leak.csv", *(row.replace("p1", "p0") for row in _rows(0, 1)))),
        Case("One file on both sides under two patients",
             TRAIN.format(recipe="tiny.toml", cohort="copy.csv"), _same_file),
        Case("A part without a case", TRAIN.format(recipe="tiny.toml", cohort="alone.csv"),
             lambda: _cohort("alone.csv", _rows(0)[0])),
        Case("Pictures without label images", "slidemask cohort pictures labels --out pairs.csv",
             lambda: (Path("pictures").mkdir(), Path("labels").mkdir(),
                      _picture("pictures/a.png"), _picture("labels/b.png"))),
    ),
    "Annotations": (
        Case("A polygon of a class that the recipe does not know",
             TRAIN.format(recipe="tiny.toml", cohort="tumour.csv"), _unknown_class),
        Case("A file that is cut off", TRAIN.format(recipe="tiny.toml", cohort="cut.csv"),
             lambda: (_cut("cut.geojson", "data/phantom-0.geojson", 0.5),
                      _cohort("cut.csv", f"{GOOD},cut.geojson,p0,train", _rows(0, 1)[1]))),
        Case("JSON that is no GeoJSON", TRAIN.format(recipe="tiny.toml", cohort="json.csv"),
             lambda: (_write("other.json", '{"slides": 3}'),
                      _cohort("json.csv", f"{GOOD},other.json,p0,train", _rows(0, 1)[1]))),
        Case("A label image of another size than its slide",
             TRAIN.format(recipe="tiny.toml", cohort="size.csv"),
             lambda: (Image.fromarray(np.zeros((30, 40), np.uint8)).save("small.png"),
                      _cohort("size.csv", f"{GOOD},small.png,p0,train", _rows(0, 1)[1]))),
    ),
    "Recipes and options": (
        Case("A misspelt key", TRAIN.format(recipe="misspelt.toml", cohort="data/cohort.csv"),
             lambda: _write("misspelt.toml", RECIPE.replace("epochs", "epoch"))),
        Case("An impossible value",
             TINY + " --set tiling.overlap=1"),
        Case("Two resolutions", TRAIN.format(recipe="two.toml", cohort="data/cohort.csv"),
             lambda: _write("two.toml", RECIPE.replace("tile", "magnification = 10\ntile", 1))),
        Case("No such recipe", TRAIN.format(recipe="gland", cohort="data/cohort.csv")),
        Case("A recipe that is no TOML",
             TRAIN.format(recipe="broken.toml", cohort="data/cohort.csv"),
             lambda: _write("broken.toml", "name = tiny\n")),
        Case("No such architecture",
             TINY
             + " --set model.architecture=Unett"),
        Case("A loss that does not fit the network",
             TINY
             + " --set model.activation=sigmoid --workers 0"),
        Case("A device that is not there",
             SEGMENT.format(slide=GOOD, out="gpu") + " --device cuda:9"),
    ),
    "Models": (
        Case("No such model", f"slidemask segment {GOOD} --model lungs --out out"),
        Case("A bundle with a missing file",
             f"slidemask segment {GOOD} --model half-a-model --out out",
             lambda: _bundle_without("weights.safetensors", "half-a-model")),
        Case("A bundle of a later format",
             f"slidemask segment {GOOD} --model other-format --out out",
             lambda: _bundle_of_format(2)),
    ),
    "Output": (
        Case("An output folder that cannot be written to",
             SEGMENT.format(slide=GOOD, out="taken"), _file_as_folder),
        Case("Results of other settings",
             SEGMENT.format(slide="data/phantom-1.tif", out="two") + " --set post.threshold=0.6"),
        Case("A run of another recipe",
             TINY + " --set schedule.epochs=2",
             lambda: _write("run/recipe.toml", RECIPE)),
        Case("A change that is none", TINY + " --set epochs"),
        Case("A slide that was not segmented",
             "slidemask evaluate two --cohort data/cohort.csv"),
    ),
}  # fmt: skip


def main() -> int:
    """Write the page, or compare it."""
    text = _page()
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    same = PAGE.read_text(encoding="utf-8") == text
    print("docs/errors.md holds" if same else "docs/errors.md is stale: run docs/show_errors.py")
    return 0 if same else 1


def _page() -> str:
    with tempfile.TemporaryDirectory() as folder:
        here = Path.cwd()
        os.chdir(folder)
        try:
            _prepare()
            parts = [HEAD]
            for title, cases in GROUPS.items():
                parts.append(f"## {title}\n")
                parts += [_entry(case) for case in cases]
        finally:
            os.chdir(here)
    return "\n".join(parts)


def _prepare() -> None:
    """Make three small synthetic slides, a recipe, and a bundle whose network learnt nothing."""
    settings = PhantomSettings(width_px=1200, height_px=1000, mpp=1.0, tissue_share=0.6, pens=0)
    write_phantom_cohort(Path("data"), 3, 1, settings)
    _write("tiny.toml", RECIPE)
    spec, classes = ModelSpec(width=4, depth=2), ClassMap(classes=(ClassInfo(name="gland"),))
    info = BundleInfo(
        name="untrained", model=spec, classes=classes, tiling=Tiling(tile_px=64, mpp=4.0)
    )
    save_bundle(Path("model"), info, Segmenter(spec, 1), card="", scores={})


def _entry(case: Case) -> str:
    shutil.rmtree("run", ignore_errors=True)
    case.make()
    program = Path(sys.executable).with_name("slidemask")
    done = subprocess.run(  # noqa: S603 - the commands of this file
        [program, *case.command.split()[1:]],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"},
    )
    if done.returncode == 0:
        raise RuntimeError(f"{case.command} did not fail")
    if "Traceback" in done.stderr:
        raise RuntimeError(f"{case.command} fell over:\n{done.stderr}")
    said = _without_progress(done.stderr.replace(f"{Path.cwd()}{os.sep}", ""))
    shown = f"```console\n$ {case.command}\n{said}\n```"
    return f"### {case.title}\n\n{shown}\n\nExit code {done.returncode}.\n"


def _without_progress(text: str) -> str:
    """Leave out what `Meter` and Lightning say on the way, and fold long lines."""
    lines = [
        line.rstrip()
        for line in text.splitlines()
        if line.strip() and not line.startswith("INFO:") and "/s, " not in line
    ]
    return "\n".join(folded for line in lines for folded in _folded(line))


def _folded(line: str) -> list[str]:
    """Break a line that is long, unless it is part of a box."""
    if line[0] in "╭│╰":
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line.strip(),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    sys.exit(main())
