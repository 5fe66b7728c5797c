"""The table of a cohort's slides, and the lines in its place."""

import io
import logging
import sys
from pathlib import Path

import pytest
from rich.console import Console

from journey import discs, write_png
from slidemask.apps.board import Board, board_for
from slidemask.base.files import write_json
from slidemask.recipes.asked import Outcome

SLIDES = [Path(f"cohort/{name}.svs") for name in "abcdefghij"]


def shown(board: Board, rows: int = 50) -> list[str]:
    console = Console(file=io.StringIO(), width=100)
    console.print(board.table(rows))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def finished(folder: Path) -> Path:
    folder.mkdir()
    classes = {
        "gland": {"area_mm2": 1.25, "area_px": 5, "objects": 1200},
        "tumour": {"area_mm2": 0.5, "area_px": 2, "objects": 34},
    }
    summary = {"job": "", "slide": {}, "classes": classes, "files": {}, "seconds": {"total": 75.0}}
    write_json(folder / "summary.json", summary)
    return folder


def test_the_table_says_state_share_and_figures_of_each(tmp_path: Path) -> None:
    board = Board(SLIDES)
    board.tell(Outcome(SLIDES[0], finished(tmp_path / "a"), "done"))
    board.tell(Outcome(SLIDES[1], tmp_path, "failed", "torn"))
    board.tell(Outcome(SLIDES[2], tmp_path, "elsewhere", "process 3"))
    board.tell(Outcome(SLIDES[3], tmp_path, "writing"))
    board.tell(Outcome(SLIDES[4], tmp_path, "predicting"))
    board.tell(Outcome(SLIDES[5], tmp_path, "opening"))
    board.progress("e", 43, 100)
    lines = shown(board)
    told = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if ".svs" in line}
    assert told["a.svs"] == "done 1 min 15 s 1.75 1,234"
    assert told["b.svs"] == "FAILED"
    assert told["c.svs"] == "is being done elsewhere"
    assert told["d.svs"] == "writing 0 s"
    assert told["e.svs"] == "predicting 43 % 0 s"
    assert told["f.svs"] == "opening 0 s"
    assert told["g.svs"] == "waiting"
    assert lines[-1].strip() == "1 done, 1 FAILED".replace("FAILED", "failed") + (
        ", 1 elsewhere, 3 under way, 4 waiting"
    )


def test_a_long_cohort_shows_what_is_under_way(tmp_path: Path) -> None:
    slides = [Path(f"{number:03}.svs") for number in range(300)]
    board = Board(slides)
    for number in range(150):
        board.tell(Outcome(slides[number], tmp_path, "failed"))
    board.tell(Outcome(slides[150], tmp_path, "predicting"))
    lines = [line for line in shown(board, rows=9) if ".svs" in line]
    assert len(lines) == 9
    assert lines[4].split()[0] == "150.svs"


def test_each_device_s_slide_has_its_own_share(tmp_path: Path) -> None:
    board = Board(SLIDES)
    for number, device in ((0, "cuda:0"), (7, "cuda:1"), (1, "cuda:2")):
        board.tell(Outcome(SLIDES[number], tmp_path / f"r{number}", "predicting", f"on {device}"))
    board.progress("r0", 1, 10)
    board.progress("r7", 7, 10)
    board.progress("r1", 2, 10)
    board.tell(Outcome(SLIDES[1], tmp_path / "r1", "writing", "on cuda:2"))
    board.progress("r0", 4, 10)
    lines = [line.split() for line in shown(board, rows=3) if ".svs" in line]
    assert [" ".join(line[:5]) for line in lines] == [
        "a.svs predicting on cuda:0 40", "b.svs writing on cuda:2 0",
        "h.svs predicting on cuda:1 70",
    ]  # fmt: skip


def test_without_a_terminal_there_is_no_table() -> None:
    with board_for(SLIDES) as board:
        assert board is None


def test_a_terminal_gets_the_table_and_warnings_above_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    try:
        with board_for(SLIDES) as board:
            assert board is not None
            board.tell(Outcome(SLIDES[0], tmp_path, "predicting"))
            logging.getLogger("slidemask").warning("no tissue")
        assert handler.stream is terminal
    finally:
        logging.getLogger().removeHandler(handler)
    assert "no tissue\n" in terminal.getvalue().replace("\x1b[2K", "")
    assert "predicting" in terminal.getvalue()


def test_the_command_keeps_the_table_of_slides_up_to_date(
    slidemask: object, model: Path, tmp_path: Path
) -> None:
    for name in "ab":
        write_png(tmp_path / f"{name}.png", discs(40, 50)[0])
    (tmp_path / "bad.png").write_text("x")
    rest = ["--mpp", 1, "-m", model, "--device", "cpu", "-o", tmp_path / "out"]
    code, out, _ = slidemask("segment", tmp_path / "a.png", tmp_path / "bad.png", *rest)  # type: ignore[operator]
    assert code == 1
    assert "a.png: done" in out
    code, out, _ = slidemask("segment", tmp_path / "a.png", tmp_path / "b.png", *rest)  # type: ignore[operator]
    assert code == 0
    assert "a.png: was done before" in out
    lines = (tmp_path / "out" / "summary.csv").read_text().splitlines()
    states = {line.split(",")[0]: line.split(",")[2] for line in lines[1:]}
    assert states == {"a": "there", "b": "done", "bad": "failed"}  # of this run, or as it was
