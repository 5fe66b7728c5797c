"""Other ways to compute the same network on a processor.

A backend takes the tiles that `Bundle.predict` takes and gives the probabilities that it gives.
OpenVINO comes with slidemask; ONNX Runtime with the extra `[export]`. `models.converted` makes
their files of a network. "int8" is OpenVINO too, with the graph
in 8 bits that `slidemask quantise` put into the bundle.
"""

import importlib.util
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import BundleError, SettingsError, SlidemaskError
from slidemask.base.process import cores
from slidemask.base.types import Probs
from slidemask.models.agreement import keep, known
from slidemask.models.bundle import Backend, Bundle
from slidemask.models.compiled import compiled, multiple_of
from slidemask.models.converted import (
    cache_of,
    converted,
    converted_to_onnx,
    multiple_in,
    padded,
)
from slidemask.models.devices import Precision, numbers_on
from slidemask.models.int8 import Int8, has_int8, multiplies_int8, read_int8
from slidemask.models.unreported import import_openvino

Name = Literal["auto", "torch", "openvino", "onnxruntime", "int8"]
Kind = Literal["openvino", "onnxruntime", "int8"]
Compiling = Callable[[dict[str, Any]], tuple[Any, int]]
"""Compiles with properties of OpenVINO; gives also of what a picture's sides must be multiples."""
FEW_TILES = 64
"""Below so many tiles converting a network costs more than it saves."""
LIMITS = {"fp32": 0.002, "bf16": 0.02, "int8": 0.05}
"""Largest mean difference of probabilities on probe tiles that "auto" accepts; an untrained
network's probabilities all lie near one half, where bfloat16 differs most. What 8 bits cost was
measured in Dice when they were made; here only slides of quite another kind are kept from them
(tiles of another scanner's glands: 0.007 on average, 0.018 at most)."""
_judging = threading.Lock()
"""One thread converts and compares a network; all others that want one wait."""
_judged: dict[tuple[str, int, str, Precision], tuple[Backend, float]] = {}
"""Backends of this process, by network, tile, kind and numbers, and how far off they were."""
_unusable: set[tuple[str, str, str]] = set()
"""Bundles, by digest and place, and what cannot compute them: said once a process."""
log = logging.getLogger(__name__)


class OpenVino:
    """OpenVINO on the processor, one tile a core at a time."""

    name = "openvino"

    def __init__(self, bundle: Bundle) -> None:
        self._compiled, self._multiple = self._compiling(bundle), 1
        self.streams = cores()
        self._idle: dict[Precision, SimpleQueue[Any]] = {}
        self._lock = threading.Lock()
        self._prepared(_numbers(bundle, "auto"))

    def _compiling(self, bundle: Bundle) -> Compiling:
        return partial(compiled, converted(bundle))

    def __call__(self, tiles: NDArray[np.uint8], precision: Precision) -> Probs:
        """Compute as `Bundle.predict` does; several threads may, `streams` of them at once."""
        idle = self._prepared(precision)
        rows, columns = tiles.shape[1:3]
        request = idle.get()
        try:
            found = np.array(request.infer({0: padded(tiles, self._multiple)})[0])
        finally:
            idle.put(request)
        return found[..., :rows, :columns]

    def _prepared(self, precision: Precision) -> "SimpleQueue[Any]":
        with self._lock:
            if precision not in self._idle:
                self._idle[precision] = self._requests(precision)
            return self._idle[precision]

    def _requests(self, precision: Precision) -> "SimpleQueue[Any]":
        """Compile the network for some numbers; return a request for each stream."""
        openvino = import_openvino()
        told = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "NUM_STREAMS": self.streams,
            "INFERENCE_NUM_THREADS": self.streams,
        }
        network, self._multiple = self._compiled(told)
        # Two threads that meet numpy in OpenVINO for the first time can wait for each other for
        # ever: one holds the interpreter's lock, the other that of a C++ static it makes.
        _ = openvino.Tensor(np.zeros(1, np.float32)).data
        idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.streams):
            idle.put(network.create_infer_request())
        return idle


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

    def _compiling(self, bundle: Bundle) -> Compiling:
        del bundle
        core = import_openvino().Core()
        model = core.read_model(self._graph.xml, self._graph.weights)
        return lambda told: (core.compile_model(model, "CPU", told), multiple_of(model))


class OnnxRuntime:
    """ONNX Runtime on the processor, in single precision, one tile a core at a time."""

    name = "onnxruntime"

    def __init__(self, bundle: Bundle) -> None:
        import onnxruntime

        path = converted_to_onnx(bundle)
        told = onnxruntime.SessionOptions()
        told.intra_op_num_threads = told.inter_op_num_threads = 1  # sessions are run side by side
        self.streams = cores()
        self._session = onnxruntime.InferenceSession(path, told, providers=["CPUExecutionProvider"])
        self._multiple = multiple_in(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, tiles: NDArray[np.uint8], precision: Precision) -> Probs:
        """Compute as `Bundle.predict` does, but for `precision`: it has only single."""
        del precision
        rows, columns = tiles.shape[1:3]
        given = {self._session.get_inputs()[0].name: padded(tiles, self._multiple)}
        return np.asarray(self._session.run(None, given)[0])[..., :rows, :columns]


BACKENDS: dict[Kind, Callable[[Bundle], Backend]] = {
    "openvino": OpenVino,
    "onnxruntime": OnnxRuntime,
    "int8": OpenVinoInt8,
}
_PACKAGES = {"openvino": "openvino", "onnxruntime": "onnxruntime", "int8": "openvino"}
_FILES = {"openvino": "model.xml", "onnxruntime": "model.onnx"}
"""Of converted networks whose agreement is kept beside them."""


def with_backend(
    bundle: Bundle,
    name: Name,
    probe: Callable[[], NDArray[np.uint8]],
    *,
    tiles: int | None,
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
    tiles : int or None
        How many are to be computed; for few "auto" stays with PyTorch, unless OpenVINO's network
        lies ready. None: for any number it is worth converting the network, since it will be used
        again and again.
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
    few = tiles is not None and tiles < FEW_TILES
    if name == "torch" or (name == "auto" and not fit):
        return bundle.built()
    if name == "auto" and few and not _is_ready(bundle, precision):
        return bundle.built()
    if not fit:
        why = "votes for tiles" if bundle.info.model.votes else f"runs on {bundle.device}"
        raise SettingsError(
            f"--backend {name} computes pixel networks on the processor, but {bundle.info.name} "
            f"{why}. Leave --backend out."
        )
    if name == "auto":
        with _judging:
            return _fastest(bundle, probe, precision, few=few)
    if not is_installed(name):
        raise SettingsError(
            f"--backend {name} needs the package {_PACKAGES[name]}: pip install {_PACKAGES[name]}."
        )
    with _judging:
        backend, off, allowed = _judge(bundle, name, probe, precision)
    if off > allowed:
        log.warning("%s", _told(name, off))
    return replace(bundle, backend=backend)


def _fastest(
    bundle: Bundle, probe: Callable[[], NDArray[np.uint8]], precision: Precision, *, few: bool
) -> Bundle:
    """Return the bundle with the first backend that is there and agrees."""
    if not is_installed("openvino"):
        log.info("openvino is not installed: PyTorch computes, which takes twice as long")
        return bundle
    kinds: tuple[Kind, ...] = ("openvino",)
    if not few and multiplies_int8() and has_int8(bundle):  # it is compared with PyTorch's
        kinds = ("int8", "openvino")
    for kind, instead in zip(kinds, (*kinds[1:], "PyTorch"), strict=True):
        if (bundle.digest, str(bundle.source), kind) in _unusable:
            continue
        backend, fault = _tried(bundle, kind, probe, precision)
        if backend is not None:
            return replace(bundle, backend=backend)
        log.warning("%s %s computes instead", fault, instead)
    return bundle


def _tried(
    bundle: Bundle, kind: Kind, probe: Callable[[], NDArray[np.uint8]], precision: Precision
) -> tuple[Backend | None, str]:
    """Return a backend that agrees, or why there is none."""
    try:
        backend, off, allowed = _judge(bundle, kind, probe, precision)
    except BundleError as error:  # its graph in 8 bits is not of its weights
        fault = str(error)
    except SlidemaskError:  # it is the slide that ails
        raise
    except Exception as error:  # whatever ails another library, PyTorch is there
        log.debug("%s", kind, exc_info=True)
        first = (str(error) or type(error).__name__).splitlines()[0]
        fault = f"{kind} cannot take this network ({first})."
    else:
        return (backend, "") if off <= allowed else (None, f"{_told(kind, off)}:")
    _unusable.add((bundle.digest, str(bundle.source), kind))
    return None, fault


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
        off = _agreed(bundle, kind, numbers)
        if off is None:
            off = difference(bundle, other, probe(), numbers)
            if kind in _FILES and off <= LIMITS[numbers] and bundle.source is not None:
                keep(cache_of(bundle, kind) / _FILES[kind], _of(kind, numbers), off)
        _judged[key] = other.backend, off
    return *_judged[key], LIMITS["int8" if kind == "int8" else numbers]


def _agreed(bundle: Bundle, kind: Kind, numbers: Precision) -> float | None:
    """Return how far off a backend was when another process found that it agrees.

    8 bits are compared again on each slide.
    """
    if bundle.source is None or kind not in _FILES:
        return None
    with suppress(PackageNotFoundError):  # what converts or computes is not installed
        return known(cache_of(bundle, kind) / _FILES[kind], _of(kind, numbers))
    return None


def _is_ready(bundle: Bundle, precision: Precision) -> bool:
    """Whether OpenVINO's network is converted and known to agree."""
    return _agreed(bundle, "openvino", _numbers(bundle, precision)) is not None


def _of(kind: Kind, numbers: Precision) -> str:
    """Say what was compared, beside what the folder's name says already."""
    return f"{numbers}-{version('onnxruntime')}" if kind == "onnxruntime" else numbers


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
    if not fit or backend in ("torch", "int8"):
        return bundle.built()
    kind: Kind = "openvino" if backend == "auto" else backend
    numbers = "fp32" if kind == "onnxruntime" else _numbers(bundle, "auto")
    agreed = _agreed(bundle, kind, numbers) is not None
    if bundle.coarse is not None:  # in single precision (`infer.cascade`)
        agreed &= _agreed(bundle.coarse, kind, "fp32") is not None
    return bundle if agreed else bundle.built()


def is_installed(kind: Kind) -> bool:
    """Whether the package that computes is there."""
    return importlib.util.find_spec(_PACKAGES[kind]) is not None


def _told(kind: str, off: float) -> str:
    return f"{kind} differs from PyTorch by {off:.4f} on tiles of this slide"


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
    return "bf16" if numbers_on(bundle.device, precision) == "bf16" else "fp32"
