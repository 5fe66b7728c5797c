"""`segment` onto a network share: whole, again, killed, twice at once, compared with a local disk.

    python benchmarks/shares.py FOLDER SLIDE [--model glands]

FOLDER lies on the share, SLIDE and the system's temporary folder on a local disk. Every run is a
process of its own, into a new folder in FOLDER that stays there if something differs. Printed for
each step: seconds, exit codes, what the command said of the slide, and whether its files are those
of a run on the local disk, bit by bit (of `summary.json` all but times and memory).

`killed` ends when the first band is in the journal, and `after it` is the same command again;
`slide there` reads the slide from the share. `write`, `lock` and `list` are what the share itself
takes: 100 flushed appendings, 100 locks, 100 times a folder of 100 names.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from memory import PROGRAM

from slidemask.base.files import append_synced
from slidemask.base.lock import locked

OF_THE_RUN = ("seconds", "megapixels_per_s", "peak_memory_mb", "finished")
"""What two runs of one job may tell differently."""
Step = Callable[[], tuple[list[int], str]]


def main() -> None:
    """Do one step after another; print a line for each."""
    asked = _arguments()
    there = asked.folder / f"shares-{uuid.uuid4().hex[:8]}"
    there.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        local, equal = Path(folder), True
        for name, (step, out) in steps(local, there, asked.slide, asked.model).items():
            began = time.perf_counter()
            exits, said = step()
            line = f"{name:12}{time.perf_counter() - began:8.2f} s  {exits!s:8}"
            if out is not None:
                wrong = differing(local / "local", out, summary=out != local / "read")
                line += f"{' '.join(wrong)} differ  " if wrong else "equal  "
                equal = equal and not wrong
            print(line, said, flush=True)
    if not equal:
        raise SystemExit(f"Something differs; see {there}")
    shutil.rmtree(there)


def steps(local: Path, there: Path, slide: Path, model: str) -> dict[str, tuple[Step, Path | None]]:
    """Return what to do, and which results are then to be those of the local disk."""

    def run(out: Path, times: int = 1) -> tuple[list[int], str]:
        return _ended(*(_started(out, slide, model) for _ in range(times)))

    def read_there() -> tuple[list[int], str]:
        copy = Path(shutil.copy2(slide, there))
        return _ended(_started(local / "read", copy, model))

    once, killed, two = there / "once", there / "killed", there / "two"
    return {
        "local": (lambda: run(local / "local"), None),
        "share": (lambda: run(once), once),
        "again": (lambda: run(once), once),
        "killed": (lambda: kill(killed, slide, model), None),
        "after it": (lambda: run(killed), killed),
        "two at once": (lambda: run(two, 2), two),
        "slide there": (read_there, local / "read"),
        "write": (lambda: _repeated(there, lambda a: append_synced(a, b"a line\n")), None),
        "lock": (lambda: _repeated(there, _lock), None),
        "list": (lambda: _repeated(there, lambda a: sorted(a.parent.iterdir())), None),
    }


def kill(out: Path, slide: Path, model: str) -> tuple[list[int], str]:
    """Start, and kill when the first band is in the journal, if it comes to that."""
    process, bands = _started(out, slide, model), 0
    while process.poll() is None and not bands:
        time.sleep(0.02)
        with suppress(FileNotFoundError):  # a slide that is done removes its journal
            bands = sum(len(one.read_bytes().splitlines()) for one in out.rglob("journal.jsonl"))
    process.kill()
    _, exits = process.communicate(), [process.returncode]
    return exits, f"{bands} bands kept"


def differing(one: Path, other: Path, *, summary: bool) -> list[str]:
    """Return the names of a slide's files that are not the same in two result folders."""
    if not list(other.glob("*/summary.json")):
        return ["all"]
    (ours, told), (theirs, told_too) = _result(one), _result(other)
    names = sorted({*told["files"].values(), *told_too["files"].values()})
    wrong = [name for name in names if (ours / name).read_bytes() != (theirs / name).read_bytes()]
    return wrong + ["summary.json"] * (summary and told != told_too)


def _result(out: Path) -> tuple[Path, dict[str, Any]]:
    """Return a slide's folder, and what its summary says of the job alone."""
    (path,) = out.glob("*/summary.json")
    summary = json.loads(path.read_text(encoding="utf-8"))
    return path.parent, {key: what for key, what in summary.items() if key not in OF_THE_RUN}


def _started(out: Path, slide: Path, model: str) -> subprocess.Popen[str]:
    command = [*PROGRAM, "segment", str(slide), "--model", model, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _ended(*processes: subprocess.Popen[str]) -> tuple[list[int], str]:
    heard = [process.communicate() for process in processes]
    exits = [process.returncode for process in processes]
    lines = [
        (told.splitlines() or [""])[-1] if failed else (out.splitlines() or [""])[0]
        for (out, told), failed in zip(heard, exits, strict=True)
    ]
    return exits, " | ".join(line.strip() for line in lines)


def _repeated(there: Path, what: Callable[[Path], object]) -> tuple[list[int], str]:
    place = there / "times"
    if not place.exists():
        place.mkdir()
        for number in range(100):
            (place / f"{number}").touch()
    for _ in range(100):
        what(place / "0")
    return [], "100 times"


def _lock(path: Path) -> None:
    with locked(path.with_suffix(".lock")) as holder:
        assert holder is None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--model", default="glands")
    return parser.parse_args()


if __name__ == "__main__":
    main()
