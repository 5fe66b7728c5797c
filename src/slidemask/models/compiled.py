"""OpenVINO's compiled network, kept beside the converted one: compiling takes longer than reading.

OpenVINO's own cache does not notice when a weight in it has changed. What is kept here begins with
the sums of itself and of the files that it was made of; where one is another it is made again.
"""

import hashlib
import io
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from slidemask.base.errors import OutputError
from slidemask.base.files import written_whole
from slidemask.base.settings import digest
from slidemask.models.machine import capabilities
from slidemask.models.unreported import import_openvino

_MULTIPLE = ("slidemask", "multiple")
"""Where a graph for pictures of any size says of what their sides must be multiples."""
_HEAD_BYTES = 512
log = logging.getLogger(__name__)


def compiled(path: Path, told: Mapping[str, Any]) -> tuple[Any, int]:
    """Return a network compiled for the processor, and of what a picture's sides must be multiples.

    Parameters
    ----------
    path : Path
        OpenVINO's .xml, with its .bin beside it.
    told : mapping
        Properties to compile with.
    """
    core, of = import_openvino().Core(), sum_of(path)
    key = digest({"told": dict(told), "processor": capabilities()})
    kept = path.with_name(f"compiled-{key}.blob")
    head, blob = _read(kept)
    if head.get("of") == of:
        try:
            return core.import_model(io.BytesIO(blob), "CPU", dict(told)), int(head["multiple"])
        except RuntimeError as error:
            log.debug("%s is made again: %s", kept, error)
    model = core.read_model(path)
    multiple = multiple_of(model)
    made = core.compile_model(model, "CPU", dict(told))
    _keep(kept, made, of=of, multiple=multiple)
    return made, multiple


def multiple_of(model: Any) -> int:  # noqa: ANN401 - OpenVINO may be missing
    """Return of what a picture's sides must be multiples before a graph sees it."""
    return (
        int(model.get_rt_info([*_MULTIPLE]).astype(int)) if model.has_rt_info([*_MULTIPLE]) else 1
    )


def say_multiple(model: Any, multiple: int) -> None:  # noqa: ANN401 - OpenVINO may be missing
    """Write into a graph what `multiple_of` reads there."""
    model.set_rt_info(multiple, [*_MULTIPLE])


def sum_of(path: Path) -> str:
    """Return the SHA-256 of a network's file and, where there is one, of its .bin."""
    return " ".join(
        _sum(file, file.stat().st_size, file.stat().st_mtime_ns)
        for file in (path, path.with_suffix(".bin"))
        if file.exists()
    )


@lru_cache(maxsize=64)
def _sum(path: Path, size: int, modified_ns: int) -> str:
    del size, modified_ns  # a file that was written again is read again
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return what was kept, as far as it is whole; nothing otherwise."""
    with suppress(OSError, ValueError):
        data = path.read_bytes()
        head, blob = json.loads(data[:_HEAD_BYTES]), data[_HEAD_BYTES:]
        if isinstance(head, dict) and head.get("sum") == hashlib.sha256(blob).hexdigest():
            return head, blob
    return {}, b""


def _keep(path: Path, made: Any, *, of: str, multiple: int) -> None:  # noqa: ANN401 - as above
    with suppress(OSError, OutputError, RuntimeError):  # then it is compiled each time
        blob = made.export_model()
        blob = blob if isinstance(blob, bytes) else blob.getvalue()
        head = {"of": of, "multiple": multiple, "sum": hashlib.sha256(blob).hexdigest()}
        with written_whole(path) as beside:
            beside.write_bytes(json.dumps(head).encode().ljust(_HEAD_BYTES) + blob)
