"""A bundle's network as a file of another library, kept in the user's cache folder.

A bundle is converted once; the cache names the versions that did it.
"""

import logging
import shutil
import uuid
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slidemask.base.files import cache_folder
from slidemask.models.bundle import Bundle
from slidemask.models.compiled import say_multiple
from slidemask.models.unreported import import_openvino

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_PACKAGES = {"openvino": "openvino", "layers": "openvino", "onnxruntime": "onnx"}
_FORMS = {"openvino": "-3", "layers": "-2", "onnxruntime": "-2"}
"""What was once written otherwise is not taken any more."""
_NAMED = "slidemask.multiple"
"""Where an ONNX graph says of what a picture's sides must be multiples."""
log = logging.getLogger(__name__)


def converted(bundle: Bundle, *, as_trained: bool = False) -> Path:
    """Return the network as OpenVINO's .xml, converted once.

    It is for tiles of the bundle's side; of a bundle for photos, for pictures of any size.

    Parameters
    ----------
    bundle : Bundle
    as_trained : bool
        Layer by layer as it was trained; otherwise `doubled` makes it compute the same sooner.
    """
    if as_trained:
        return _kept(bundle, "layers", "model.xml", _write_layers)
    return _kept(bundle, "openvino", "model.xml", _write_openvino)


def converted_to_onnx(bundle: Bundle) -> Path:
    """Return the network as .onnx, of such tiles or pictures, converted once."""
    return _kept(bundle, "onnxruntime", "model.onnx", _write_onnx)


def _kept(bundle: Bundle, kind: str, name: str, write: Callable[[Bundle, Path], None]) -> Path:
    """Return the converted network's path, converting it first where it is not in the cache."""
    folder = cache_of(bundle, kind)
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


def cache_of(bundle: Bundle, kind: str) -> Path:
    """Return where a converted network is kept."""
    side = "any" if any_size(bundle) else bundle.info.tiling.tile_px
    stem = f"{bundle.digest}-{side}px-torch{version('torch')}-{kind}{version(_PACKAGES[kind])}"
    return cache_folder() / "networks" / f"{stem}{_FORMS.get(kind, '')}"


def _write_openvino(bundle: Bundle, path: Path) -> None:
    _write(bundle, path, doubled=True)


def _write_layers(bundle: Bundle, path: Path) -> None:
    _write(bundle, path, doubled=False)


def _write(bundle: Bundle, path: Path, *, doubled: bool) -> None:
    openvino = import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    exported, silenced = _exported(bundle, doubled=doubled), logging.root.manager.disable
    logging.disable(logging.WARNING)  # of operations that it need not take apart
    try:  # not openvino.convert_model, which reports its use over the network
        decoder = TorchFXPythonDecoder.from_exported_program(exported)
    finally:
        logging.disable(silenced)
    front = FrontEndManager().load_by_framework("pytorch")
    model = front.convert(front.load(decoder))
    if any_size(bundle):  # the frontend cannot work out a padding that depends on the size
        say_multiple(model, bundle.segmenter.multiple)
    openvino.save_model(model, path, compress_to_fp16=False)


def multiple_in(metadata: Mapping[str, str]) -> int:
    """Return that multiple from what a graph says of itself.

    >>> multiple_in({"slidemask.multiple": "16"})
    16
    """
    return int(metadata[_NAMED])


def padded(tiles: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """Pad as `Segmenter` does, by repeating the last row and column."""
    below, right = -tiles.shape[1] % multiple, -tiles.shape[2] % multiple
    if not (below or right):
        return tiles
    return np.pad(tiles, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")


def _write_onnx(bundle: Bundle, path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages
        program = torch.onnx.export(
            _exported(bundle, doubled=False), (), dynamo=True, verbose=False
        )
    assert program is not None  # noqa: S101 - None is what the older way of exporting gives
    multiple = bundle.segmenter.multiple if any_size(bundle) else 1
    program.model.metadata_props[_NAMED] = str(multiple)
    program.save(path, external_data=False)


def any_size(bundle: Bundle) -> bool:
    """Whether the network sees whole photos, each of its own size, rather than tiles."""
    return "photo" in bundle.info.use


def _exported(bundle: Bundle, *, doubled: bool) -> "ExportedProgram":
    """Return the network as a graph of any number of tiles of one size, or of photos of any."""
    import torch

    from slidemask.models.doubled import with_doubling
    from slidemask.models.graph import Graph

    graph = Graph(bundle.segmenter)
    side = bundle.info.tiling.tile_px
    varying: dict[int, Any] = {0: torch.export.Dim("tiles", min=1, max=1024)}
    if any_size(bundle):
        multiple = bundle.segmenter.multiple
        side = 4 * multiple
        varying |= {axis: multiple * torch.export.Dim(f"side{axis}", max=256) for axis in (1, 2)}
    tiles = torch.zeros((2, side, side, bundle.segmenter.channels), dtype=torch.uint8)
    graph.see_only(side)
    if doubled:
        with_doubling(graph.segmenter, tiles)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(graph, (tiles,), dynamic_shapes=(varying,))
