"""Other ways to compute the same network on a processor.

A backend takes the tiles that `Bundle.predict` takes and gives the probabilities that it gives.
OpenVINO comes with slidemask; ONNX Runtime with the extra `[export]`. Converted networks are kept
in the user's cache folder, so a bundle is converted once. "int8" is OpenVINO too, with the graph
in 8 bits that `slidemask quantise` put into the bundle.
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

from slidemask.base.errors import BundleError, SettingsError
from slidemask.base.types import Probs
from slidemask.models.agreement import keep, known
from slidemask.models.bundle import Backend, Bundle
from slidemask.models.devices import Precision, number_type
from slidemask.models.graph import Graph
from slidemask.models.int8 import Int8, has_int8, multiplies_int8, read_int8

Name = Literal["auto", "torch", "openvino", "onnxruntime", "int8"]
Kind = Literal["openvino", "onnxruntime", "int8"]
FEW_TILES = 64
"""Below so many tiles converting a network costs more than it saves."""
LIMITS = {"fp32": 0.002, "bf16": 0.02, "int8": 0.05}
"""Largest mean difference of probabilities on probe tiles that "auto" accepts; an untrained
network's probabilities all lie near one half, where bfloat16 differs most. What 8 bits cost was
measured in Dice when they were made; here only slides of quite another kind are kept from them
(tiles of another scanner's glands: 0.007 on average, 0.018 at most)."""
_judged: dict[tuple[str, int, str, Precision], tuple[Backend, float]] = {}
"""Backends of this process, by network, tile, kind and numbers, and how far off they were."""
_unusable: set[tuple[str, str]] = set()
"""Bundles, by digest and place, whose graph in 8 bits is not theirs: said once a process."""
log = logging.getLogger(__name__)


class OpenVino:
    """OpenVINO on the processor, one tile a core at a time."""

    name = "openvino"

    def __init__(self, bundle: Bundle) -> None:
        self._model = self._read(bundle)
        self.streams = _cores()
        self._idle: dict[Precision, SimpleQueue[Any]] = {}
        self._prepared(_numbers(bundle, "auto"))

    def _read(self, bundle: Bundle) -> Any:  # noqa: ANN401 - OpenVINO may be missing
        import openvino

        return openvino.Core().read_model(converted(bundle))

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


class OpenVinoInt8(OpenVino):
    """The same of a graph in 8 bits; what is left of it in other numbers is in those asked for.

    Parameters
    ----------
    bundle : Bundle
        Whose network it is.
    graph : Int8, optional
        The graph; None: the bundle's own.
    """

    name = "int8"

    def __init__(self, bundle: Bundle, graph: Int8 | None = None) -> None:
        self._graph = graph or read_int8(bundle)
        super().__init__(bundle)

    def _read(self, bundle: Bundle) -> Any:  # noqa: ANN401 - OpenVINO may be missing
        del bundle
        import openvino

        return openvino.Core().read_model(self._graph.xml, self._graph.weights)


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


BACKENDS: dict[Kind, Callable[[Bundle], Backend]] = {
    "openvino": OpenVino,
    "onnxruntime": OnnxRuntime,
    "int8": OpenVinoInt8,
}
_PACKAGES = {"openvino": "openvino", "onnxruntime": "onnxruntime", "int8": "openvino"}


def with_backend(
    bundle: Bundle,
    name: Name,
    probe: Callable[[], NDArray[np.uint8]],
    *,
    tiles: int,
    precision: Precision,
) -> Bundle:
    """Return the bundle with the backend `name`; "auto" takes the fastest that may and agrees.

    That is the bundle's network in 8 bits, where it brings one and the processor is made for
    them, then OpenVINO, then PyTorch.

    Parameters
    ----------
    bundle : Bundle
        As loaded.
    name : {"auto", "torch", "openvino", "onnxruntime", "int8"}
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
    BundleError
        If "int8" is asked for by name and the bundle brings no such network, or one of other
        weights.
    """
    fit = bundle.device.type == "cpu" and not bundle.info.model.votes
    if name == "torch" or (name == "auto" and (not fit or tiles < FEW_TILES)):
        return bundle.built()
    if not fit:
        why = "votes for tiles" if bundle.info.model.votes else f"runs on {bundle.device}"
        raise SettingsError(
            f"--backend {name} computes pixel networks on the processor, but {bundle.info.name} "
            f"{why}. Leave --backend out."
        )
    if name == "auto":
        return _fastest(bundle, probe, precision)
    if importlib.util.find_spec(_PACKAGES[name]) is None:
        raise SettingsError(
            f"--backend {name} needs the package {_PACKAGES[name]}: pip install {_PACKAGES[name]}."
        )
    backend, off, allowed = _judge(bundle, name, probe, precision)
    if off > allowed:
        log.warning("%s", _told(name, off))
    return replace(bundle, backend=backend)


def _fastest(
    bundle: Bundle, probe: Callable[[], NDArray[np.uint8]], precision: Precision
) -> Bundle:
    """Return the bundle with the first backend that is there and agrees."""
    if importlib.util.find_spec("openvino") is None:
        log.info("openvino is not installed: PyTorch computes, which takes twice as long")
        return bundle
    kinds: tuple[Kind, ...] = ("openvino",)
    whose = (bundle.digest, str(bundle.source))
    if multiplies_int8() and whose not in _unusable and has_int8(bundle):
        kinds = ("int8", "openvino")
    for kind, instead in zip(kinds, (*kinds[1:], "PyTorch"), strict=True):
        try:
            backend, off, allowed = _judge(bundle, kind, probe, precision)
        except BundleError as error:  # its graph in 8 bits is not of its weights
            _unusable.add(whose)
            log.warning("%s %s computes instead", error, instead)
            continue
        if off <= allowed:
            return replace(bundle, backend=backend)
        log.warning("%s: %s computes instead", _told(kind, off), instead)
    return bundle


def _judge(
    bundle: Bundle, kind: Kind, probe: Callable[[], NDArray[np.uint8]], precision: Precision
) -> tuple[Backend, float, float]:
    """Return a backend, how far it is off, and how far it may be; once a process."""
    numbers = _numbers(bundle, precision) if kind != "onnxruntime" else "fp32"
    where = str(bundle.source) if kind == "int8" else ""
    key = (bundle.digest, bundle.info.tiling.tile_px, kind + where, numbers)
    if key not in _judged:
        other = replace(bundle, backend=BACKENDS[kind](bundle))
        assert other.backend is not None  # noqa: S101 - it was just made
        off = _agreed(bundle, numbers) if kind == "openvino" else None
        if off is None:
            off = difference(bundle, other, probe(), numbers)
            if kind == "openvino" and off <= LIMITS[numbers] and bundle.source is not None:
                keep(converted(bundle).parent, numbers, off)
        _judged[key] = other.backend, off
    return *_judged[key], LIMITS["int8" if kind == "int8" else numbers]


def _agreed(bundle: Bundle, numbers: Precision) -> float | None:
    """Return how far off OpenVINO was when another process found that it agrees."""
    if bundle.source is None or not (_folder(bundle, "openvino") / "model.xml").exists():
        return None
    return known(_folder(bundle, "openvino"), numbers)


def load(name: str, device: str, backend: Name = "auto") -> Bundle:
    """Load a bundle to be used with a backend.

    PyTorch's network is not built before it is asked for, where OpenVINO's lies ready and has
    agreed with it on this machine: that saves most of a command's start.

    Raises
    ------
    BundleError, SettingsError
        As `Bundle.load` does.
    """
    bundle = Bundle.load(name, device, later=True)
    fit = bundle.device.type == "cpu" and not bundle.info.model.votes
    if not fit or backend not in ("auto", "openvino") or bundle.coarse is not None:
        return bundle.built()
    if importlib.util.find_spec("openvino") is None:
        return bundle.built()
    return bundle if _agreed(bundle, _numbers(bundle, "auto")) is not None else bundle.built()


def _told(kind: str, off: float) -> str:
    return f"{kind} differs from PyTorch by {off:.4f} on tiles of this slide"


def converted(bundle: Bundle) -> Path:
    """Return the network as OpenVINO's .xml, for tiles of the bundle's side, converted once."""
    return _kept(bundle, "openvino", "model.xml", _write_openvino)


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
    folder = _folder(bundle, kind)
    if not (folder / name).exists():
        log.info("converting %s for %s, once", bundle.info.name, kind)
        beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
        beside.mkdir(parents=True)
        try:
            write(bundle, beside / name)
            if not (folder / name).exists():
                shutil.rmtree(folder, ignore_errors=True)
                beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return folder / name


def _folder(bundle: Bundle, kind: str) -> Path:
    """Return where a converted network is kept."""
    packages = {"openvino": "openvino", "onnxruntime": "onnx"}
    side = bundle.info.tiling.tile_px
    stem = f"{bundle.digest}-{side}px-torch{version('torch')}-{kind}{version(packages[kind])}"
    return platformdirs.user_cache_path("slidemask", appauthor=False) / "networks" / stem


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
