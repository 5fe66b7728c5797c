"""A bundle's network in 8 bits: the folder `int8/` in it, and whether it still is that network.

`slidemask quantise` makes it. `int8.json` says of which weights it was made and what it costs in
Dice; of other weights it is not used.
"""

import hashlib
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from slidemask.base.errors import BundleError
from slidemask.base.settings import Settings, digest
from slidemask.models.bundle import INT8, Bundle, has_file, read_file
from slidemask.models.machine import capabilities

GRAPH = ("model.xml", "model.bin")
_MULTIPLIES = ("avx512_vnni", "avx_vnni", "amx_int8", "dotprod", "i8mm")


class Dice(Settings):
    """Dice of one class on the same slides; None where it is not defined.

    Parameters
    ----------
    pooled_fp32, pooled_int8 : float, optional
        From the pixels of all slides together.
    slides_fp32, slides_int8 : float, optional
        Mean over the slides that have one.
    """

    pooled_fp32: float | None
    pooled_int8: float | None
    slides_fp32: float | None
    slides_int8: float | None

    @property
    def fall(self) -> float:
        """How far it falls, the larger of both; infinite where it ceases to be defined.

        Where neither network finds any of a class that is not there either, nothing falls.

        >>> Dice(pooled_fp32=0.9, pooled_int8=0.89, slides_fp32=0.8, slides_int8=0.82).fall
        0.01
        """
        pairs = (self.pooled_fp32, self.pooled_int8), (self.slides_fp32, self.slides_int8)
        return max(_fall(single, byte) for single, byte in pairs)


class Int8Info(Settings):
    """What `int8.json` says.

    Parameters
    ----------
    network : str
        `fingerprint` of the bundle that it was made of.
    files : dict of str to str
        SHA-256 of the graph's files.
    tile_px : int
        Side of the tiles that it takes.
    left : str
        What of the network stays in other numbers.
    max_fall : float
        How far Dice was allowed to fall; it fell less, for every class.
    dice : dict of str to Dice
        By class, on annotated slides, in single precision and in 8 bits.
    measured : dict
        Slides, tiles, differences, versions, date.
    """

    format: Literal[1] = 1
    network: str
    files: dict[str, str]
    tile_px: int
    left: str
    max_fall: float = Field(gt=0)
    dice: dict[str, Dice]
    measured: dict[str, Any] = Field(default_factory=dict)


class Int8(NamedTuple):
    """A graph in 8 bits, read and found to be of the bundle's own network."""

    info: Int8Info
    xml: bytes
    weights: bytes


def has_int8(bundle: Bundle) -> bool:
    """Whether the bundle brings a graph in 8 bits, sound or not."""
    return bundle.source is not None and has_file(bundle.source, f"{bundle.under}{INT8}/int8.json")


def read_int8(bundle: Bundle) -> Int8:
    """Read the graph in 8 bits.

    Raises
    ------
    BundleError
        If there is none, it is damaged, or of other weights than the bundle has now.
    """
    source = bundle.source
    if source is None or not has_int8(bundle):
        raise BundleError(
            f"Model {bundle.info.name} has no network in 8 bits. Make one with `slidemask "
            f"quantise {source or 'BUNDLE'} --cohort …`."
        )
    again = f"Make it anew with `slidemask quantise {source} --cohort … --overwrite`."
    try:
        info = Int8Info.model_validate_json(read_file(source, f"{bundle.under}{INT8}/int8.json"))
    except ValidationError as error:
        raise BundleError(
            f"{INT8}/int8.json of bundle {source} is not of format 1. {again}"
        ) from error
    if info.network != fingerprint(bundle):
        raise BundleError(
            f"The network in 8 bits of bundle {source} was made of other weights than it has now. "
            f"{again}"
        )
    if info.tile_px != bundle.info.tiling.tile_px:
        raise BundleError(
            f"The network in 8 bits of bundle {source} takes tiles of {info.tile_px} px, and "
            f"tiling.tile_px is {bundle.info.tiling.tile_px}."
        )
    xml, weights = (read_file(source, f"{bundle.under}{INT8}/{name}") for name in GRAPH)
    if info.files != hashes(xml, weights):
        raise BundleError(f"The network in 8 bits of bundle {source} is damaged. {again}")
    return Int8(info, xml, weights)


def hashes(xml: bytes, weights: bytes) -> dict[str, str]:
    """Return the SHA-256 of each of a graph's files, by name."""
    return {
        name: hashlib.sha256(data).hexdigest()
        for name, data in zip(GRAPH, (xml, weights), strict=True)
    }


def fingerprint(bundle: Bundle) -> str:
    """Return what changes with a network's weights or its settings, and with nothing else.

    Raises
    ------
    BundleError
        If the bundle has no files.
    """
    if bundle.source is None:
        raise BundleError(f"Model {bundle.info.name} was never saved; save it first.")
    weights = hashlib.sha256(
        read_file(bundle.source, f"{bundle.under}weights.safetensors")
    ).hexdigest()
    # Settings that a later version adds have defaults that change nothing.
    network = bundle.info.model.model_dump(mode="json", exclude_defaults=True)
    return digest(
        {"weights": weights, "network": network, "classes": len(bundle.info.classes.classes)}
    )


def multiplies_int8() -> bool:
    """Whether this processor has instructions that make 8 bits the faster ones."""
    there = capabilities()
    return any(there.get(name, False) for name in _MULTIPLIES)


def _fall(single: float | None, byte: float | None) -> float:
    if single is None:
        return 0.0 if byte is None else float("inf")
    return float("inf") if byte is None and single > 0 else round(single - (byte or 0.0), 9)
