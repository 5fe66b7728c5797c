"""How much faster processors compute a bundle's network otherwise than PyTorch eagerly in fp32.

    python benchmarks/backend.py [SLIDE] --model glands [--cohort COHORT.csv] [--tiles 48]

Tiles of the slide's tissue are in memory; each way sends them through the same network, as many at
once as `segment` would, and the ways take turns. PyTorch has all cores for one tile at a time. Also
printed: the share of pixels of PyTorch's class, and the mean difference of probabilities.

With a cohort (annotated slides or pictures), each way also segments it, and Dice against the
annotations, pooled over all slides, stands beside it. Without SLIDE, a phantom (synthetic) is used.
"""

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from overhead import batches_of, network_alone
from phantoms import phantom

from slidemask.data.cohort import read_cohort
from slidemask.evaluate.figures import POOLED, SLIDE
from slidemask.models.backends import BACKENDS, Name
from slidemask.models.bundle import Bundle
from slidemask.models.devices import Precision, number_type
from slidemask.recipes.scoring import evaluate
from slidemask.recipes.segment import Options, Use, segment, use_of

EAGER = "torch fp32"


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    slide = asked.slide or phantom(asked.folder, asked.side, 0.25)
    bundle = Bundle.load(asked.model, "cpu")
    rows = measured(slide, bundle, rounds=asked.rounds, tiles=asked.tiles)
    if asked.cohort:
        for name, dice in dice_of(asked.cohort, bundle, list(rows)).items():
            rows[name]["dice"] = dice
    show(rows, bundle)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def ways(bundle: Bundle) -> dict[str, tuple[Bundle, Precision]]:
    """Return what can compute the network here: a bundle with its backend, and numbers."""
    fastest: Precision = "fp32" if number_type(bundle.device).itemsize == 4 else "bf16"
    found: dict[str, tuple[Bundle, Precision]] = {EAGER: (bundle, "fp32")}
    if fastest != "fp32":
        found["torch bf16"] = (bundle, fastest)
    kinds: tuple[Literal["onnxruntime", "openvino"], ...] = ("onnxruntime", "openvino")
    for name in kinds:
        if importlib.util.find_spec(name) is None:
            continue
        other = replace(bundle, backend=BACKENDS[name](bundle))
        found[f"{name} fp32"] = (other, "fp32")
        if name == "openvino" and fastest != "fp32":
            found[f"openvino {fastest}"] = (other, fastest)
    return found


def measured(slide: Path, bundle: Bundle, *, rounds: int, tiles: int) -> dict[str, dict[str, Any]]:
    """Time all ways in turns on the same tiles."""
    use = use_of(bundle)
    batches = list(batches_of(slide, bundle, use))
    batches = [batches[n] for n in np.linspace(0, len(batches) - 1, tiles).astype(int)]
    count = sum(map(len, batches))
    seconds: dict[str, list[float]] = {}
    there = ways(bundle)
    for number in range(rounds + 1):
        for name, (some, numbers) in there.items():
            took = network_alone(some, batches, _in(use, numbers))
            if number:  # the first warms up
                seconds.setdefault(name, []).append(took / count)
    truth = _probabilities(*there[EAGER], batches[:16])
    rows: dict[str, dict[str, Any]] = {}
    eager = statistics.median(seconds[EAGER])
    for name, (some, numbers) in there.items():
        probs = _probabilities(some, numbers, batches[:16])
        middle = statistics.median(seconds[name])
        rows[name] = {
            "ms_a_tile": round(1000 * middle, 2),
            "ratio": round(eager / middle, 2),
            "same_class": float((probs.argmax(axis=1) == truth.argmax(axis=1)).mean()),
            "mean_difference": float(np.abs(probs - truth).mean()),
        }
    return rows


def dice_of(cohort: Path, bundle: Bundle, names: Sequence[str]) -> dict[str, float]:
    """Segment a cohort in each way; return pooled Dice, the mean over classes."""
    cases = [case for case in read_cohort(cohort) if case.annotations]
    found: dict[str, float] = {}
    for name in names:
        kind, numbers = name.split()
        backend: Name = {"torch": "torch", "openvino": "openvino"}.get(kind, "onnxruntime")  # type: ignore[assignment]  # one of the names
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as out:
            options = Options((f"blend.precision={numbers}",), backend=backend)
            for outcome in segment(cases, bundle, Path(out), options):
                if outcome.state != "done":
                    raise SystemExit(outcome.message)
            figures = evaluate(Path(out), cases)[0].figures
        pooled = [f for f in figures if (f.name, f.level, f.average) == ("dice", SLIDE, POOLED)]
        found[name] = round(statistics.mean(figure.value for figure in pooled), 5)
        print(f"{name}: {len(cases)} cases in {time.perf_counter() - began:.0f} s", flush=True)
    return found


def _in(use: Use, numbers: Precision) -> Use:
    return use.model_copy(update={"blend": use.blend.model_copy(update={"precision": numbers})})


def _probabilities(
    bundle: Bundle, numbers: Precision, batches: Sequence[NDArray[np.uint8]]
) -> NDArray[np.float32]:
    return np.concatenate([bundle.predict(batch, numbers) for batch in batches])


def show(rows: dict[str, dict[str, Any]], bundle: Bundle) -> None:
    """Print the table."""
    print(f"{bundle.info.name}, tiles of {bundle.info.tiling.tile_px} px")
    for name, row in rows.items():
        dice = f"  Dice {row['dice']:.4f}" if "dice" in row else ""
        print(
            f"  {name:<18}{row['ms_a_tile']:8.1f} ms a tile  {row['ratio']:5.2f} x  "
            f"same class {row['same_class']:.5f}  differs by {row['mean_difference']:.1e}{dice}"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("slide", nargs="?", type=Path)
    parser.add_argument("--model", default="glands")
    parser.add_argument("--cohort", type=Path, help="annotated slides or pictures")
    parser.add_argument("--tiles", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=8_000, help="of the phantom, px")
    parser.add_argument("--folder", type=Path, default=Path("phantoms"), help="of phantoms")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
