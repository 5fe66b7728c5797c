"""What it saves that neighbouring slides of a cohort overlap.

    python benchmarks/cohort.py --model glands [--slides 12] [--side 4000] [--rounds 3]

The same small slides (a synthetic one under several names) are segmented in three ways that take
turns: one after another; with the files of one written while the next is predicted; and, as
`segment` does it, with the slide after that prepared meanwhile too. Printed are the medians of
seconds a slide, the ratios to the first way, and the share of the wall time in which a network
was at work: what a graphics card would be busy. On a processor what runs beside the network also
slows it, so there only the seconds a slide count.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from phantoms import phantom

from slidemask.data.case import Case
from slidemask.models.bundle import Bundle
from slidemask.recipes.asked import Asked, Options, Outcome
from slidemask.recipes.oneslide import attempting, drop, finish, predict, prepare
from slidemask.recipes.overlap import overlapped
from slidemask.recipes.results import read_summary
from slidemask.recipes.segment import output_of
from slidemask.recipes.use import Model

Way = Callable[[Sequence[Asked]], list[Outcome]]


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    model = Model.of(Bundle.load(asked.model, asked.device))
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    network: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        slides = _copies(phantom(asked.folder, asked.side, 0.25), Path(folder), asked.slides)
        measured(WAYS["one after another"], slides[:1], model)  # the first pays for what is loaded
        for _ in range(asked.rounds):
            for name, way in WAYS.items():
                wall, share = measured(way, slides, model)
                seconds[name].append(wall / len(slides))
                network[name].append(share)
    first = statistics.median(seconds["one after another"])
    for name, found in seconds.items():
        median = statistics.median(found)
        print(
            f"{name:28} {median:6.2f} s a slide ({min(found):.2f} to {max(found):.2f}), "
            f"{median / first:.2f} of the first, network "
            f"{100 * statistics.median(network[name]):.0f} % of the time"
        )
    if asked.json:
        told = {"seconds a slide": seconds, "network's share": network}
        asked.json.write_text(json.dumps(told, indent=2), encoding="utf-8")


def measured(way: Way, slides: Sequence[Path], model: Model) -> tuple[float, float]:
    """Return wall seconds, and which share of them the network had."""
    with tempfile.TemporaryDirectory() as folder:
        out = output_of(Path(folder))
        asked = [
            Asked(Case(path), [model], out / path.stem, Options(), threading.Event(), _nobody)
            for path in slides
        ]
        began = time.perf_counter()
        outcomes = way(asked)
        wall = time.perf_counter() - began
        assert all(outcome.state == "done" for outcome in outcomes), outcomes
        network = [read_summary(one.folder)["seconds"].get("network", 0) for one in outcomes]
    return wall, sum(network) / wall


def in_turn(asked: Sequence[Asked]) -> list[Outcome]:
    """Every step here."""
    return [FINISH(PREDICT(PREPARE(one))) for one in asked]


def writing_beside(asked: Sequence[Asked]) -> list[Outcome]:
    """Write files in a thread of their own."""
    outcomes: list[Outcome] = []
    last: Future[Outcome] | None = None
    with ThreadPoolExecutor(1) as beside:
        for one in asked:
            predicted = PREDICT(PREPARE(one))
            if last is not None:
                outcomes.append(last.result())
            last = beside.submit(FINISH, predicted)
        return [*outcomes, *([last.result()] if last else [])]


def both_beside(asked: Sequence[Asked]) -> list[Outcome]:
    """As `segment` does it."""
    return list(overlapped(asked, PREPARE, PREDICT, FINISH, drop=drop, stop=lambda: None))


PREPARE, PREDICT, FINISH = attempting(prepare), attempting(predict), attempting(finish)
WAYS: dict[str, Way] = {
    "one after another": in_turn,
    "writing beside": writing_beside,
    "writing and opening beside": both_beside,
}


def _nobody(_: Outcome) -> None:
    """Watch nothing."""


def _copies(slide: Path, folder: Path, count: int) -> list[Path]:
    copies = [folder / f"{number:02}{slide.suffix}" for number in range(count)]
    for copy in copies:
        try:
            os.link(slide, copy)
        except OSError:
            shutil.copy(slide, copy)
    return copies


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--model", default="glands")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, default=Path("phantoms"))
    parser.add_argument("--slides", type=int, default=12)
    parser.add_argument("--side", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
