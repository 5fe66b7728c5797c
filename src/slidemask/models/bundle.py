"""The bundle: weights and everything needed to use them, as a folder or that folder zipped.

`weights.safetensors`, `bundle.json`, `card.md`, `scores.json`. There is no pickle in it, so a
stranger's bundle cannot run code.
"""

import hashlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from slidemask.base.classes import ClassMap
from slidemask.base.errors import BundleError
from slidemask.base.files import output_folder, write_json, write_text, written_whole
from slidemask.base.settings import Settings
from slidemask.base.types import Probs
from slidemask.models.devices import LANES, Device, Precision, find_device, numbers_on
from slidemask.models.late import Late
from slidemask.models.spec import ModelSpec
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling

if TYPE_CHECKING:
    from slidemask.models.segmenter import Segmenter

FORMAT = 1
SHIPPED = Path(__file__).parent / "shipped"
COARSE = "coarse"
INT8 = "int8"
FILES = ("weights.safetensors", "bundle.json", "card.md", "scores.json")
INT8_FILES = ("model.xml", "model.bin", "int8.json", "card.md")
"""Of the same network in 8 bits, where there is one (`models.int8`)."""


class BundleInfo(Settings):
    """All of a bundle but weights, card and scores: the text of `bundle.json`.

    Parameters
    ----------
    name : str
        What users call it.
    model : ModelSpec
        Network.
    classes : ClassMap
        What its channels mean.
    tiling, filters : Tiling, Filters
        How a slide is cut and which tiles are kept.
    use : dict
        Settings of later stages (blend, post), by stage, as their rooms understand them.
    provenance : dict
        Recipe digest, cohort, versions, date, licence: where it comes from.
    """

    format: Literal[1] = FORMAT
    name: str
    model: ModelSpec
    classes: ClassMap
    tiling: Tiling
    filters: Filters = Filters()
    use: dict[str, dict[str, Any]] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)


class Backend(Protocol):
    """Another way to compute the network than PyTorch's."""

    name: str
    streams: int
    """Threads that may call it at once."""

    def __call__(self, tiles: NDArray[np.uint8], precision: Precision) -> Probs:
        """Compute as `Bundle.predict` does."""
        ...


@dataclass(frozen=True)
class Bundle:
    """A trained network that is ready to use.

    Parameters
    ----------
    info : BundleInfo
        What it is.
    network : Segmenter or Late
        The network, in evaluation mode, or what builds it when it is first asked for.
    digest : str
        16 hex digits over weights and `bundle.json`.
    device : torch.device or its name
        Where it runs.
    source : Path, optional
        The folder or zip that it was loaded from.
    under : str
        Folder of it in which this network lies, with a slash; "": the source itself.
    backend : Backend, optional
        What computes instead of PyTorch (`models.backends`).
    coarse : Bundle, optional
        Of a cascade: the network that says where this one has to look; it lies in `coarse/`.
    """

    info: BundleInfo
    network: "Segmenter | Late"
    digest: str
    device: Device
    source: Path | None = None
    under: str = ""
    backend: Backend | None = None
    coarse: "Bundle | None" = None

    @classmethod
    def load(cls, name: str | Path, device: str = "auto", *, later: bool = False) -> "Bundle":
        """Load a shipped model by name, or a bundle folder, a run folder or a zip by path.

        With `later`, networks are built when they are first asked for.

        Raises
        ------
        BundleError
            If nothing of that name exists, weights or `bundle.json` are missing, or do not fit;
            with `later` that they do not fit is raised when they are asked for.
        """
        bundle = cls._load(find_bundle(name), "", find_device(device))
        return bundle if later else bundle.built()

    @classmethod
    def _load(cls, source: Path, under: str, where: Device) -> "Bundle":
        """Load what lies in the folder `under` of a bundle, "" being the bundle itself."""
        info = read_info(source, under)
        blob = read_file(source, f"{under}weights.safetensors")
        coarse = None
        if not under and has_file(source, f"{COARSE}/bundle.json"):
            coarse = cls._load(source, f"{COARSE}/", where)
        told = json.loads(read_file(source, f"{under}bundle.json"))
        digest = _digest(blob, told, coarse.digest if coarse else "")
        network = Late(lambda: _segmenter(source, info, blob, where))
        return cls(info, network, digest, where, source, under, coarse=coarse)

    @property
    def segmenter(self) -> "Segmenter":
        """The network, built now if it was not yet."""
        return self.network() if isinstance(self.network, Late) else self.network

    def built(self) -> "Bundle":
        """Return the bundle with its networks built."""
        coarse = self.coarse and self.coarse.built()
        return replace(self, network=self.segmenter, coarse=coarse)

    @property
    def streams(self) -> int:
        """Threads beside the caller's that are to predict; 0: the caller itself, on all cores."""
        if self.backend is not None:
            return self.backend.streams
        return {"cpu": 0, "cuda": LANES}.get(self.device.type, 1)

    def predict(self, tiles: NDArray[np.uint8], precision: Precision = "auto") -> Probs:
        """(N, H, W, 3 or 6) uint8 -> (N, K + 1, H, W) float32, background first, sums to 1.

        Of a network that votes H and W are 1.
        """
        numbers = numbers_on(self.device, precision)
        if self.backend is not None:
            return self.backend(tiles, "bf16" if numbers == "bf16" else "fp32")
        from slidemask.models.network import probabilities

        return probabilities(self.segmenter, tiles, self.device, numbers)


def _segmenter(source: Path, info: BundleInfo, blob: bytes, where: Device) -> "Segmenter":
    """Build a bundle's network and give it its weights."""
    from slidemask.models.network import with_weights
    from slidemask.models.segmenter import Segmenter

    tiling, classes = info.tiling, len(info.classes.classes)
    segmenter = Segmenter(without_weights(info.model), classes, tiling.context, tiling.tile_px)
    return with_weights(segmenter, blob, where, of=str(source))


def parameters_count(
    spec: ModelSpec, classes: int, context: float | None = None, tile_px: int | None = None
) -> int:
    """Return how many trainable numbers a network has; arguments are those of `Segmenter`.

    >>> parameters_count(ModelSpec(width=16, depth=4), classes=1)
    1942594
    """
    from slidemask.models.network import count

    return count(without_weights(spec), classes, context, tile_px)


def without_weights(spec: ModelSpec) -> ModelSpec:
    """Return the same network with no weights to be loaded."""
    return spec.model_copy(update={"encoder_weights": None, "start": None})


def save_bundle(
    folder: Path, info: BundleInfo, segmenter: "Segmenter", *, card: str, scores: Mapping[str, Any]
) -> None:
    """Write a bundle folder; an older one of that name is replaced when the new one is whole.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """
    beside = output_folder(folder.with_name(f".{folder.name}.part"))
    save_weights(beside / "weights.safetensors", segmenter)
    write_json(beside / "bundle.json", info.model_dump(mode="json"))
    write_text(beside / "card.md", card)
    write_json(beside / "scores.json", dict(scores))
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def save_weights(path: Path, segmenter: "Segmenter") -> None:
    """Write a network's weights as a bundle holds them; folders on the way are made.

    Convolution weights are stored in half precision (their error is far below that of training);
    normalisation statistics stay in single precision.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from slidemask.models.network import weights_of

    output_folder(path.parent)
    with written_whole(path) as beside:
        beside.write_bytes(weights_of(segmenter))


def zip_bundle(folder: Path, path: Path) -> None:
    """Pack a bundle folder into one file."""
    with written_whole(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        for name in bundle_files():
            if (folder / name).exists() or name in FILES:
                archive.write(folder / name, name)


def bundle_files() -> tuple[str, ...]:
    """Return the names of all files that a bundle may have; those in FILES it must have."""
    inner = ((COARSE, FILES), (INT8, INT8_FILES))
    return FILES + tuple(f"{under}/{name}" for under, names in inner for name in names)


def find_bundle(name: str | Path) -> Path:
    """Return the folder or zip that `name` stands for: a path, a run folder, a shipped model."""
    path = Path(name)
    for candidate in (path / "bundle", path, SHIPPED / str(name)):
        if (candidate / "bundle.json").is_file() or (candidate / "weights.safetensors").is_file():
            return candidate
    if zipfile.is_zipfile(path):
        return path
    found = "is no bundle" if path.exists() else "does not exist"
    raise BundleError(
        f"Model {str(name)!r} {found}. Give a run folder of `slidemask train`, a bundle folder or "
        f"zip with {', '.join(FILES)}, or one of the shipped models: {', '.join(shipped_names())}."
    )


def shipped_names() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/bundle.json"))


def read_info(source: Path, under: str = "") -> BundleInfo:
    """Read `bundle.json` of a bundle folder or zip, or of the folder `under` in it."""
    try:
        return BundleInfo.model_validate_json(read_file(source, f"{under}bundle.json"))
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(
            f"bundle.json of {source} is not of format {FORMAT}: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}."
        ) from error


def read_file(source: Path, name: str) -> bytes:
    """Read a file of a bundle folder or zip.

    Raises
    ------
    BundleError
        If it is not there or cannot be read.
    """
    try:
        if source.is_dir():
            return (source / name).read_bytes()
        with zipfile.ZipFile(source) as archive:
            return archive.read(_entry(archive, name))
    except (FileNotFoundError, StopIteration) as error:
        raise BundleError(
            f"Bundle {source} lacks {name}; a bundle has {', '.join(FILES)}. "
            "Copy it again as a whole, or train it anew."
        ) from error
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(
            f"{name} of bundle {source} cannot be read ({error}). Copy it again."
        ) from error


def has_file(source: Path, name: str) -> bool:
    """Whether a bundle folder or zip holds a file."""
    if source.is_dir():
        return (source / name).is_file()
    with zipfile.ZipFile(source) as archive, suppress(StopIteration):
        return bool(_entry(archive, name))
    return False


def _entry(archive: zipfile.ZipFile, name: str) -> str:
    """Return the entry of that name; all may lie in one folder of any name."""
    heads = sorted({entry.partition("/")[0] for entry in archive.namelist()})
    wanted = {name, *(f"{head}/{name}" for head in heads if head not in (COARSE, INT8))}
    return next(entry for entry in sorted(archive.namelist(), key=len) if entry in wanted)


def _digest(blob: bytes, told: Mapping[str, Any], coarse: str = "") -> str:
    """Return what the weights and what `bundle.json` itself says come to.

    Not what is read from it: settings that later versions add have their defaults there, and an
    unchanged bundle would become another.
    """
    text = json.dumps(told, sort_keys=True).encode()
    return hashlib.sha256(blob + text + coarse.encode()).hexdigest()[:16]
