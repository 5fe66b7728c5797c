"""A bundle's network in 8 bits: calibrated on a cohort, judged by Dice, kept where it loses little.

Ranges of activations are learnt from tissue tiles, of other slides than those that judge where
the cohort has others. PyTorch in single precision and the network in 8 bits then segment the same
annotated slides whole, as `segment` would. Where that costs too much, less of the network is put
into 8 bits, and they segment again.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import CohortError, OutputError, SettingsError
from slidemask.base.files import folder_written_whole, output_folder, write_json, write_text
from slidemask.base.record import machine, versions
from slidemask.data.case import Case
from slidemask.evaluate.confusion import Confusion
from slidemask.export.eightbits import LEFT, in_8_bits
from slidemask.export.formats import find_format
from slidemask.export.parity import compare
from slidemask.export.tiles import tiles_of_slides
from slidemask.models.backends import OpenVinoInt8
from slidemask.models.bundle import FILES, INT8, SHIPPED, Bundle, bundle_files, has_file, read_file
from slidemask.models.devices import Precision
from slidemask.models.int8 import GRAPH, Dice, Int8, Int8Info, fingerprint, hashes
from slidemask.recipes.use import use_of
from slidemask.train.wholeslides import WholeSlides

MAX_FALL = 0.005
COMPARED = 16
"""Tiles on which probabilities are compared one by one, at most."""
log = logging.getLogger(__name__)
_CARD = """\
# {name} in 8 bits

Made of this bundle's weights by `slidemask quantise`: weights in 8 bits per channel, activations
in 8 bits; in other numbers stays {left}. `segment` uses it on processors that multiply in 8 bits,
as long as the weights are the same.

**Research use only. Not for diagnosis.**

Dice on {slides} annotated slides ({part}):

| class | average | single precision | 8 bits | falls by |
| --- | --- | --- | --- | --- |
{rows}

Kept because none falls by {max_fall:g} or more. On {tiles} tiles of these slides probabilities
differ by {largest:.3f} at most and {mean:.5f} on average; {agreement:.3%} of the pixels are of the
same class. Ranges of activations were learnt from {calibration} tissue tiles of {calibrated_on}.
Made {made}.
"""


@dataclass(frozen=True)
class Options:
    """How to quantise.

    Parameters
    ----------
    tiles : int
        Tissue tiles that calibrate, at most.
    max_fall : float
        Dice must fall by less, for every class, pooled and as the mean of slides.
    threads : int
        Reading threads.
    overwrite : bool
        Whether what is there may be replaced.
    """

    tiles: int = 100
    max_fall: float = MAX_FALL
    threads: int = 2
    overwrite: bool = False


@dataclass(frozen=True)
class Quantised:
    """What came of it.

    Parameters
    ----------
    folder : Path
        The network in 8 bits: `int8/` of a bundle.
    info : Int8Info
        Dice of each class, and what else was measured.
    megabytes : float
        Of its files.
    """

    folder: Path
    info: Int8Info
    megabytes: float


def quantise(
    bundle: Bundle,
    cases: Sequence[Case],
    part: str | None,
    *,
    out: Path | None = None,
    options: Options,
) -> Quantised:
    """Put the network in 8 bits into a bundle, if it says what the network says.

    Parameters
    ----------
    bundle : Bundle
        As loaded, on the CPU.
    cases : sequence of Case
        The cohort. Annotated cases of `part` judge; those of other parts calibrate, or the same
        where there are no others.
    part : str, optional
        None: all cases judge.
    out : Path, optional
        Folder for a copy of the bundle with it; None: the bundle's own folder.
    options : Options

    Raises
    ------
    OutputError
        If Dice falls too far, saying how far, or something is in the way. Nothing has changed
        then.
    SettingsError
        If the network is none for it, or packages are missing.
    CohortError
        If no case of the part has annotations.
    """
    target = _target(bundle, out, overwrite=options.overwrite)
    judges = [
        case for case in cases
        if part in (None, case.split) and (case.annotations or case.complete)
    ]  # fmt: skip
    if not judges:
        raise CohortError(
            f"No case{f' of the {part} part' if part else ''} has annotations to judge 8 bits by; "
            "fill the annotations column, or choose another --split."
        )
    others = [case for case in cases if part is not None and case.split not in (None, part)]
    with folder_written_whole(target) as beside:
        folder = output_folder(beside / INT8) if out is not None else beside
        calibration = _tiles(bundle, others or judges, options.tiles)
        graph = _first_that_keeps(bundle, calibration, judges, beside / ".judged", options=options)
        measured = {
            "slides": len(judges),
            "part": part or "all",
            "calibration_tiles": len(calibration),
            "calibrated_on": "other parts of the cohort" if others else "the same slides",
            **_parity(bundle, graph, _tiles(bundle, judges, COMPARED)),
            "versions": versions() | {name: version(name) for name in ("openvino", "nncf")},
            "machine": machine(),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        info = graph.info.model_copy(update={"measured": measured})
        if out is not None:
            _copy(bundle, beside)
        for name, data in zip(GRAPH, (graph.xml, graph.weights), strict=True):
            (folder / name).write_bytes(data)
        write_json(folder / "int8.json", info.model_dump(mode="json"))
        write_text(folder / "card.md", _card(bundle.info.name, info))
    megabytes = (len(graph.xml) + len(graph.weights)) / 1e6
    return Quantised(target if out is None else target / INT8, info, megabytes)


def _target(bundle: Bundle, out: Path | None, *, overwrite: bool) -> Path:
    """Return the folder that is to be written: a whole bundle, or `int8/` of the bundle's own.

    Raises
    ------
    SettingsError
        If the network votes.
    OutputError
        If it is there already, or the bundle is not to be written to.
    """
    if bundle.info.model.votes:
        raise SettingsError(
            f"{bundle.info.name} votes for tiles: it shares work between tiles that overlap, which "
            "saves more than 8 bits would. Give a network that says a class for each pixel."
        )
    home = bundle.source
    if out is None and (home is None or not home.is_dir() or SHIPPED in home.parents):
        what = "comes with slidemask" if home and home.is_dir() else "is no folder"
        raise OutputError(
            f"Bundle {home} {what}, so nothing is put into it; give a folder for a copy with --out."
        )
    target = out if out is not None or home is None else home / INT8
    assert target is not None  # noqa: S101 - a bundle without a home was refused
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists; choose another --out or pass --overwrite.")
    return target


def _tiles(bundle: Bundle, cases: Sequence[Case], count: int) -> NDArray[np.uint8]:
    side = bundle.info.tiling.tile_px
    slides = [(case.slide, case.mpp) for case in cases]
    return tiles_of_slides(slides, bundle.info, (side, side), count)


def _first_that_keeps(
    bundle: Bundle,
    calibration: NDArray[np.uint8],
    judges: Sequence[Case],
    folder: Path,
    *,
    options: Options,
) -> Int8:
    """Return the graph with the most in 8 bits that keeps Dice; `folder` is for predictions.

    Raises
    ------
    OutputError
        If none does, or the slides hold none of the classes.
    """
    find_format("openvino")  # or it says what to install
    names = bundle.info.classes.names
    single = _counts(bundle, judges, "fp32", folder, threads=options.threads)
    if all(_pooled(single, index) is None for index in range(1, len(names))):
        raise OutputError(
            "The annotated slides hold none of the classes, so they cannot judge 8 bits. "
            "Nothing was written. Choose another --split."
        )
    told: list[str] = []
    for left in LEFT:
        graph = _graph(bundle, calibration, left)
        if graph is None:
            continue
        ours = replace(bundle, backend=OpenVinoInt8(bundle, graph))
        byte = _counts(ours, judges, None, folder, threads=options.threads)
        dice = {name: _dice(single, byte, index) for index, name in enumerate(names) if index}
        if all(one.fall < options.max_fall for one in dice.values()):
            update = {"dice": dice, "max_fall": options.max_fall}
            return graph._replace(info=graph.info.model_copy(update=update))
        told.append(f"with {graph.info.left} left out: {_told(dice)}")
        log.warning("Dice falls by %g or more %s", options.max_fall, told[-1])
    raise OutputError(
        f"In 8 bits Dice falls by {options.max_fall:g} or more, {'; '.join(told)}. Nothing was "
        "written. Give more calibration tiles with --tiles, of slides like those it will see, or "
        "stay with the other backends."
    )


def _graph(bundle: Bundle, calibration: NDArray[np.uint8], left: str) -> Int8 | None:
    """Return the graph in 8 bits but for what is left out; None where there is no such thing."""
    files = in_8_bits(bundle, calibration, left)
    if files is None:
        return None
    info = Int8Info(
        network=fingerprint(bundle),
        files=hashes(*files),
        tile_px=bundle.info.tiling.tile_px,
        left=left,
        max_fall=MAX_FALL,
        dice={},
    )
    return Int8(info, *files)


def _counts(
    bundle: Bundle,
    cases: Sequence[Case],
    precision: Precision | None,
    folder: Path,
    *,
    threads: int,
) -> list[Confusion]:
    """Segment slides whole, clean as the bundle says, and count; None: the bundle's precision."""
    use = use_of(bundle)
    blend = use.blend.model_copy(update={"precision": precision or use.blend.precision})
    slides = WholeSlides(cases, bundle.info, blend, folder=folder, threads=threads)
    try:
        return slides.cleaned(bundle, [use.post])[0]
    finally:
        slides.close()


def _parity(bundle: Bundle, graph: Int8, tiles: NDArray[np.uint8]) -> dict[str, Any]:
    """Compare probabilities tile by tile; PyTorch in single precision."""
    found = compare(
        replace(bundle, backend=OpenVinoInt8(bundle, graph)).predict,
        lambda some: bundle.predict(some, "fp32"),
        [tile[None] for tile in tiles],
    )
    named = ("tiles", "largest", "mean", "agreement", "ms_per_tile", "torch_ms_per_tile")
    return {name: value for name, value in asdict(found).items() if name in named}


def _dice(single: Sequence[Confusion], byte: Sequence[Confusion], index: int) -> Dice:
    return Dice(
        pooled_fp32=_pooled(single, index),
        pooled_int8=_pooled(byte, index),
        slides_fp32=_of_slides(single, index),
        slides_int8=_of_slides(byte, index),
    )


def _pooled(counts: Sequence[Confusion], index: int) -> float | None:
    return _number(sum(counts[1:], start=counts[0]).dice[index])


def _of_slides(counts: Sequence[Confusion], index: int) -> float | None:
    values = np.array([count.dice[index] for count in counts])
    defined = values[~np.isnan(values)]
    return _number(defined.mean()) if len(defined) else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _told(dice: dict[str, Dice]) -> str:
    return ", ".join(
        f"{name} {average} {_said(single)} -> {_said(byte)}"
        for name, one in dice.items()
        for average, single, byte in _figures(one)
    )


def _figures(dice: Dice) -> tuple[tuple[str, float | None, float | None], ...]:
    return (
        ("pooled", dice.pooled_fp32, dice.pooled_int8),
        ("mean of slides", dice.slides_fp32, dice.slides_int8),
    )


def _said(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _card(name: str, info: Int8Info) -> str:
    rows = [
        f"| {label} | {average} | {_said(single)} | {_said(byte)} | "
        f"{'' if single is None or byte is None else f'{single - byte:.4f}'} |"
        for label, dice in info.dice.items()
        for average, single, byte in _figures(dice)
    ]
    measured = info.measured
    part = "the whole cohort" if measured["part"] == "all" else f"the {measured['part']} part"
    return _CARD.format(
        **{key: measured[key] for key in ("slides", "tiles", "largest", "mean", "agreement")},
        **{key: measured[key] for key in ("calibrated_on", "made")},
        calibration=measured["calibration_tiles"],
        name=name,
        left=info.left,
        part=part,
        rows="\n".join(rows),
        max_fall=info.max_fall,
    )


def _copy(bundle: Bundle, folder: Path) -> None:
    """Copy all of a bundle but an older network in 8 bits."""
    source = bundle.source
    assert source is not None  # noqa: S101 - its fingerprint was taken
    for name in bundle_files():
        if name in FILES or (not name.startswith(f"{INT8}/") and has_file(source, name)):
            output_folder((folder / name).parent)
            (folder / name).write_bytes(read_file(source, name))
