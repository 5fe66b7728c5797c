"""LiteRT: float (1, H, W, 3) of 0..255 in, for Android.

Its converter, litert-torch, wants an older torch than ours: it runs in another process, with the
Python of an environment of its own. That needs nothing of ours in it: it is handed the graph, as
torch.export writes it, and a script.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from slidemask.base.errors import OutputError, SettingsError
from slidemask.base.types import Probs
from slidemask.export.exported import ports, shape_of, write_down
from slidemask.export.parity import one_by_one
from slidemask.export.wanted import Format, Predict, Wanted, Written
from slidemask.models.graph import Graph

_SCRIPT = Path(__file__).with_name("litert_script.py")
_HOW = (
    "Make an environment for it: `uv venv litert --python 3.11`, `uv pip install --python litert "
    "litert-torch==0.10.0 'torch<2.15'`; then pass --litert-python litert/bin/python."
)
_NOTES = {
    "fp32": (),
    "fp16": ("Weights are stored in half precision.",),
    "int8": ("Weights and activations are 8 bits, weights per channel; input and output float.",),
}


def convert(wanted: Wanted, folder: Path) -> Written:
    """Write the network as .tflite, by a process in the converter's environment."""
    python = _python(wanted.converter)
    graph = Graph(wanted.bundle.segmenter, classes_last=True)
    program = write_down(graph, torch.zeros(shape_of(wanted)))
    path = folder / f"{wanted.stem}.tflite"
    work = folder / "work"
    work.mkdir()
    torch.export.save(program, work / "graph.pt2")
    np.save(work / "tiles.npy", wanted.calibration)
    asked = {"precision": wanted.precision, "shape": shape_of(wanted)}
    (work / "wanted.json").write_text(json.dumps(asked), encoding="utf-8")
    versions = _run(python, work)
    (work / "model.tflite").rename(path)
    for file in work.iterdir():
        file.unlink()
    work.rmdir()
    return Written(
        path,
        *ports(wanted, "nothing", "float32", classes_last=True),
        notes=(*_NOTES[wanted.precision], "The file holds no metadata; export.json has them."),
        versions=versions,
    )


def start(path: Path) -> Predict:
    """Open a .tflite file with LiteRT's interpreter on the CPU."""
    interpreter = Interpreter(model_path=str(path), num_threads=torch.get_num_threads())
    interpreter.allocate_tensors()
    (image,), (said,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(tiles: NDArray[np.uint8]) -> Probs:
        interpreter.set_tensor(image["index"], tiles.astype(np.float32))
        interpreter.invoke()
        probabilities = np.array(interpreter.get_tensor(said["index"]))
        if probabilities.ndim == 2:
            return probabilities[:, :, None, None]
        return probabilities.transpose(0, 3, 1, 2)

    return one_by_one(predict)


def _python(asked: Path | None) -> Path:
    if asked is None and importlib.util.find_spec("litert_torch"):
        return Path(sys.executable)
    if asked is None:
        raise SettingsError(
            "Export to LiteRT needs litert-torch, which is not in this environment: it wants "
            f"an older torch than slidemask has. {_HOW}"
        )
    if not asked.is_file():
        raise SettingsError(f"--litert-python {asked} does not exist. {_HOW}")
    return asked


def _run(python: Path, work: Path) -> dict[str, str]:
    """Convert in the other environment; return the versions of its packages."""
    # -I: modules beside the script must not stand in for packages of the same names.
    done = subprocess.run(  # noqa: S603 - the user's own Python
        [python, "-I", _SCRIPT, work],
        capture_output=True,
        text=True,
        check=False,
        errors="replace",
    )
    report = work / "versions.json"
    if done.returncode or not report.is_file():
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise OutputError(f"The conversion by {python} failed: {last}. {_HOW}")
    return json.loads(report.read_text(encoding="utf-8"))


FORMAT = Format(convert, start, ("ai-edge-litert",))
