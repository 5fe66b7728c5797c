"""Export a bundle: convert, compare with PyTorch, write the card; all of it or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import OutputError, SettingsError
from slidemask.base.files import folder_written_whole, write_json, write_text
from slidemask.export.card import describe, write_card
from slidemask.export.formats import FORMATS, find_format
from slidemask.export.metadata import metadata_of
from slidemask.export.parity import Parity, compare
from slidemask.export.tiles import read_tiles
from slidemask.export.wanted import Precision, Predict, Wanted
from slidemask.models.bundle import Bundle

_LEAST_CALIBRATION = 4


@dataclass(frozen=True)
class Options:
    """How to export.

    Parameters
    ----------
    precision : {"fp32", "fp16", "int8"}
    size : (int, int), optional
        Rows and columns of a tile; None: the bundle's own tiles.
    fixed : bool
        Whether to fix batch and size also where the format could leave them open.
    tiles : sequence of Path
        Slides, pictures or cohorts whose tiles are compared, and calibrate "int8".
    count : int
        Tiles to compare; as many others calibrate.
    mpp : float, optional
        µm per full-resolution pixel of those, where files are silent.
    converter : Path, optional
        Python of another environment, for "litert".
    overwrite : bool
        Whether what is there may be replaced.
    """

    precision: Precision = "fp32"
    size: tuple[int, int] | None = None
    fixed: bool = False
    tiles: Sequence[Path] = ()
    count: int = 16
    mpp: float | None = None
    converter: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Exported:
    """What an export gave.

    Parameters
    ----------
    folder, path : Path
        The folder, and in it what a runtime opens.
    megabytes : float
        Of the network's files, without card and description.
    parity : Parity
    notes : tuple of str
    """

    folder: Path
    path: Path
    megabytes: float
    parity: Parity
    notes: tuple[str, ...]


def export(bundle: Bundle, target: str, out: Path, options: Options) -> Exported:
    """Export a bundle to a format into the folder `out`.

    Parameters
    ----------
    bundle : Bundle
        Loaded on the CPU.
    target : str
        One of `FORMATS`.
    out : Path
        Folder; written beside and renamed when all is well.
    options : Options

    Raises
    ------
    SettingsError
        If the format's packages are missing, or tiles for calibration, or the size cannot be.
    OutputError
        If `out` is there, the network cannot be converted, or what came of it says something else
        than PyTorch. Nothing is left then.
    """
    if out.exists() and not options.overwrite:
        raise OutputError(f"{out} exists; choose another --out or pass --overwrite.")
    form = find_format(target)
    size = _size(bundle, options.size)
    calibration, compared = _tiles(bundle, options, size)
    wanted = Wanted(
        bundle=bundle,
        precision=options.precision,
        size=size,
        fixed=options.fixed,
        calibration=calibration,
        metadata=metadata_of(bundle, options.precision),
        converter=options.converter,
    )
    with folder_written_whole(out) as beside:
        written = form.convert(wanted, beside)
        megabytes = _bytes(beside) / 1e6
        pictures = _pictures(compared, written.dynamic)
        parity = compare(form.start(written.path), _reference(bundle), pictures)
        parity.require(options.precision, FORMATS[target])
        about = describe(wanted, target, written, parity=parity, megabytes=megabytes)
        write_json(beside / "export.json", about)
        write_text(beside / "card.md", write_card(about))
        name = written.path.name
    return Exported(out, out / name, megabytes, parity, tuple(about["notes"]))


def _size(bundle: Bundle, asked: tuple[int, int] | None) -> tuple[int, int]:
    side = bundle.info.tiling.tile_px
    if asked is None or asked == (side, side):
        return side, side
    if min(asked) < 8 or max(asked) > 8192:
        raise SettingsError(f"--size {asked[0]} {asked[1]}: sides must lie in 8..8192.")
    if bundle.segmenter.votes:
        raise SettingsError(
            f"--size {asked[0]} {asked[1]}: {bundle.info.name} says one class for tiles of "
            f"{side} x {side} px and knows no other size; leave --size out."
        )
    return asked


def _tiles(
    bundle: Bundle, options: Options, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return tiles that calibrate and others that are compared."""
    int8 = options.precision == "int8"
    count = options.count * (2 if int8 else 1)
    tiles = read_tiles(options.tiles, bundle.info, size, count, mpp=options.mpp)
    if not int8:
        return tiles[:0], tiles
    if len(tiles) < 2 * _LEAST_CALIBRATION:
        raise SettingsError(
            f"int8 learns the ranges of activations from half of the tiles given; {len(tiles)} "
            f"tiles are too few, give slides or pictures with {2 * _LEAST_CALIBRATION} or more."
        )
    return tiles[::2], tiles[1::2]


def _pictures(tiles: NDArray[np.uint8], dynamic: str) -> list[NDArray[np.uint8]]:
    """Return the batches that are compared: tiles one by one, then what else may vary."""
    batches = [tile[None] for tile in tiles]
    if "batch" in dynamic:
        batches.append(tiles[:3])
    if "height" in dynamic:  # odd sides, so that the padding inside is tried as well
        rows, columns = tiles.shape[1:3]
        batches.append(tiles[:1, : max(8, rows * 2 // 3) | 1, : max(8, columns - 5)])
    return batches


def _reference(bundle: Bundle) -> Predict:
    return lambda tiles: bundle.predict(np.ascontiguousarray(tiles), "fp32")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
