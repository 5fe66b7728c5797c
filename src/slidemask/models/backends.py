"""Other ways to compute the same network on a processor.

A backend takes the tiles that `Bundle.predict` takes and gives the probabilities that it gives.
OpenVINO comes with slidemask; ONNX Runtime with the extra `[export]`. Converted networks are kept
in the user's cache folder, so a bundle is converted once.
"""

import importlib.util
import logging
import os
import shutil
import uuid
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray

from slidemask.base.errors import SettingsError
from slidemask.base.types import Probs
from slidemask.models.bundle import Backend, Bundle
from slidemask.models.devices import Precision, number_type
from slidemask.models.graph import Graph

Name = Literal["auto", "torch", "openvino", "onnxruntime"]
FEW_TILES = 64
"""Below so many tiles converting a network costs more than it saves."""
LIMITS = {"fp32": 0.002, "bf16": 0.02}
"""Largest mean difference of probabilities on probe tiles that "auto" accepts; an untrained
network's probabilities all lie near one half, where bfloat16 differs most."""
_judged: dict[tuple[str, int, str, Precision], tuple[Backend | None, float]] = {}
"""Backends of this process, by network, tile, kind and numbers, and how far off they were."""
log = logging.getLogger(__name__)


class OpenVino:
    """OpenVINO on the processor, one tile a core at a time."""

    name = "openvino"

    def __init__(self, bundle: Bundle) -> None:
        import openvino

        path = _kept(bundle, "openvino", "model.xml", _write_openvino)
        self._model = openvino.Core().read_model(path)
        self.streams = _cores()
        self._idle: dict[Precision, SimpleQueue[Any]] = {}
        self._prepared(_numbers(bundle, "auto"))

    def __call__(self, tiles: NDArray[np.uint8], precision: Precision) -> Probs:
        """Compute as `Bundle.predict` does; several threads may, `streams` of them at once."""
        idle = self._prepared(precision)
        request = idle.get()
        try:
            return np.array(request.infer({0: tiles})[0])
        finally:
            idle.put(request)

    def _prepared(self, precision: Precision) -> "SimpleQueue[Any]":
        if precision not in self._idle:
            import openvino

            told = {
                "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
                "NUM_STREAMS": self.streams,
                "INFERENCE_NUM_THREADS": self.streams,
            }
            compiled = openvino.Core().compile_model(self._model, "CPU", told)
            idle: SimpleQueue[Any] = SimpleQueue()
            for _ in range(self.streams):
                idle.put(compiled.create_infer_request())
            self._idle[precision] = idle
        return self._idle[precision]


class OnnxRuntime:
    """ONNX Runtime on the processor, in single precision, one tile a core at a time."""

    name = "onnxruntime"

    def __init__(self, bundle: Bundle) -> None:
        import onnxruntime

        path = _kept(bundle, "onnxruntime", "model.onnx", _write_onnx)
        told = onnxruntime.SessionOptions()
        told.intra_op_num_threads = told.inter_op_num_threads = 1  # sessions are run side by side
        self.streams = _cores()
        self._session = onnxruntime.InferenceSession(path, told, providers=["CPUExecutionProvider"])

    def __call__(self, tiles: NDArray[np.uint8], precision: Precision) -> Probs:
        """Compute as `Bundle.predict` does, but for `precision`: it has only single."""
        del precision
        found = self._session.run(None, {self._session.get_inputs()[0].name: tiles})[0]
        return np.asarray(found)


BACKENDS: dict[str, Callable[[Bundle], OpenVino | OnnxRuntime]] = {
    "openvino": OpenVino,
    "onnxruntime": OnnxRuntime,
}


def with_backend(
    bundle: Bundle,
    name: Name,
    probe: Callable[[], NDArray[np.uint8]],
    *,
    tiles: int,
    precision: Precision,
) -> Bundle:
    """Return the bundle with the backend `name`; "auto" takes OpenVINO where it may and agrees.

    Parameters
    ----------
    bundle : Bundle
        As loaded.
    name : {"auto", "torch", "openvino", "onnxruntime"}
        By name a backend is taken as it is, after a warning where it disagrees.
    probe : callable
        Reads (N, H, W, 3 or 6) uint8: some tiles of a slide, on which a backend must agree with
        PyTorch. A backend that has agreed is not asked again.
    tiles : int
        How many are to be computed; for few "auto" stays with PyTorch.
    precision : Precision
        In what numbers.

    Raises
    ------
    SettingsError
        If the backend is not installed, or is not for such a network or device.
    """
    fit = bundle.device.type == "cpu" and not bundle.info.model.votes
    if name == "torch" or (name == "auto" and (not fit or tiles < FEW_TILES)):
        return bundle
    chosen = "openvino" if name == "auto" else name
    if not fit:
        why = "votes for tiles" if bundle.info.model.votes else f"runs on {bundle.device}"
        raise SettingsError(
            f"--backend {name} computes pixel networks on the processor, but {bundle.info.name} "
            f"{why}. Leave --backend out."
        )
    if importlib.util.find_spec(chosen) is None:
        if name == "auto":
            log.info("openvino is not installed: PyTorch computes, which takes twice as long")
            return bundle
        raise SettingsError(f"--backend {name} needs the package {chosen}: pip install {chosen}.")
    numbers = _numbers(bundle, precision) if chosen == "openvino" else "fp32"
    key = (bundle.digest, bundle.info.tiling.tile_px, chosen, numbers)
    if key not in _judged:
        other = replace(bundle, backend=BACKENDS[chosen](bundle))
        _judged[key] = other.backend, difference(bundle, other, probe(), numbers)
    backend, off = _judged[key]
    if off <= LIMITS[numbers]:
        return replace(bundle, backend=backend)
    text = f"{chosen} differs from PyTorch by {off:.4f} on tiles of this slide"
    if name == "auto":
        log.warning("%s: PyTorch computes instead", text)
        return bundle
    log.warning("%s", text)
    return replace(bundle, backend=backend)


def difference(
    bundle: Bundle, other: Bundle, probe: NDArray[np.uint8], precision: Precision
) -> float:
    """Return the mean difference of probabilities on probe tiles, PyTorch in single precision.

    Without any tile nothing is known, and it is infinite.
    """
    if not len(probe):
        return float("inf")
    gaps = [
        np.abs(bundle.predict(tile[None], "fp32") - other.predict(tile[None], precision)).mean()
        for tile in probe
    ]
    return float(max(gaps))


def _numbers(bundle: Bundle, precision: Precision) -> Precision:
    return "bf16" if number_type(bundle.device, precision) == torch.bfloat16 else "fp32"


def _cores() -> int:
    """Return how many cores this process may use; OMP_NUM_THREADS binds it as it binds PyTorch."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(there or 1, int(told) if told.isdigit() else there or 1))


def _kept(bundle: Bundle, kind: str, name: str, write: Callable[[Bundle, Path], None]) -> Path:
    """Return the converted network's path, converting it first where it is not in the cache."""
    packages = {"openvino": "openvino", "onnxruntime": "onnx"}
    side = bundle.info.tiling.tile_px
    stem = f"{bundle.digest}-{side}px-torch{version('torch')}-{kind}{version(packages[kind])}"
    folder = platformdirs.user_cache_path("slidemask", appauthor=False) / "networks" / stem
    if not (folder / name).exists():
        log.info("converting %s for %s, once", bundle.info.name, kind)
        beside = folder.with_name(f".{stem}.{uuid.uuid4().hex[:8]}")
        beside.mkdir(parents=True)
        try:
            write(bundle, beside / name)
            if not (folder / name).exists():
                shutil.rmtree(folder, ignore_errors=True)
                beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return folder / name


def _write_openvino(bundle: Bundle, path: Path) -> None:
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    exported, silenced = _exported(bundle), logging.root.manager.disable
    logging.disable(logging.WARNING)  # of operations that it need not take apart
    try:  # not openvino.convert_model, which reports its use over the network
        decoder = TorchFXPythonDecoder.from_exported_program(exported)
    finally:
        logging.disable(silenced)
    front = FrontEndManager().load_by_framework("pytorch")
    model = front.convert(front.load(decoder))
    openvino.save_model(model, path, compress_to_fp16=False)


def _write_onnx(bundle: Bundle, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages
        torch.onnx.export(
            _exported(bundle), (), path, dynamo=True, external_data=False, verbose=False
        )


def _exported(bundle: Bundle) -> torch.export.ExportedProgram:
    """Return the network as a graph of tiles of one size, of any number."""
    side = bundle.info.tiling.tile_px
    tiles = torch.zeros((2, side, side, bundle.segmenter.channels), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(
            Graph(bundle.segmenter),
            (tiles,),
            dynamic_shapes=({0: torch.export.Dim("tiles", min=1, max=1024)},),
        )
