"""`slidemask export` from the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from journey import discs, write_png

Command = Callable[..., Any]


def test_exports_compares_and_says_where(slidemask: Command, model: Path, tmp_path: Path) -> None:
    picture = write_png(tmp_path / "discs.png", discs(128, 192, seed=2)[0])
    asked = ("export", model, "--to", "onnx", "--out", tmp_path / "onnx", "--mpp", 1.0)
    done = slidemask(*asked, "--tiles", picture, "--count", 3, "--size", 48, 64, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert Path(told["file"]).is_file()
    assert told["largest_difference"] < 1e-4
    about = json.loads((tmp_path / "onnx" / "export.json").read_text())
    assert about["size"] == [48, 64]
    again = slidemask(*asked, "--tiles", picture)
    assert again.code == 2
    assert "pass --overwrite" in again.err


def test_int8_wants_tiles(slidemask: Command, model: Path, tmp_path: Path) -> None:
    done = slidemask(
        "export", model, "--to", "onnx", "--precision", "int8", "--out", tmp_path / "o"
    )
    assert done.code == 2
    assert "give slides, pictures or a cohort" in done.err
    assert not (tmp_path / "o").exists()
