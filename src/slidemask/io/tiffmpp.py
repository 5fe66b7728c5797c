"""What a TIFF says of its pixel size: OME-XML, Aperio's description, resolution tags."""

import re
from xml.etree import ElementTree as ET

import tifffile

from slidemask.io.mpp import HIGHEST_FROM_TAGS, NOTHING, PixelSize, from_power, judged

_UM = {
    "pm": 1e-6,
    "nm": 1e-3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "Å": 1e-4,
    "in": 25_400.0,
}
"""Micrometres per unit; OME's own µm is written with either of two Greek letters."""

_UM_PER_TAG_UNIT = {2: 25_400.0, 3: 10_000.0}


def tiff_pixel_size(page: tifffile.TiffPage, series: tifffile.TiffPageSeries) -> PixelSize:
    """Return the pixel size of a TIFF's first page; the most particular statement counts."""
    if series.kind == "svs":
        return _aperio(page.description)
    return (_ome(page) if page.description.rstrip().endswith("OME>") else None) or _tags(page)


def _aperio(description: str) -> PixelSize:
    fields = dict(re.findall(r"\|\s*(MPP|AppMag)\s*=\s*([-+.\deE]+)", description))
    try:
        if "MPP" in fields:
            mpp = float(fields["MPP"])
            return judged(mpp, mpp, "Aperio's MPP")
        if "AppMag" in fields:
            return from_power(float(fields["AppMag"]))
    except ValueError:
        return PixelSize(None, f"Aperio's description holds no number in {fields}")
    return NOTHING


def _ome(page: tifffile.TiffPage) -> PixelSize | None:
    size = {"SizeX": str(page.imagewidth), "SizeY": str(page.imagelength)}
    try:
        root = ET.fromstring(page.description)  # noqa: S314 - expat refuses entity bombs
    except ET.ParseError:
        return None
    for image in root.findall("{*}Image/{*}Pixels"):
        if size.items() <= image.attrib.items():
            try:
                x, y = (_length(image.attrib, axis) for axis in "XY")
            except (KeyError, ValueError):
                return None
            return judged(x, y, "OME PhysicalSize")
    return None


def _length(pixels: dict[str, str], axis: str) -> float:
    unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
    return float(pixels[f"PhysicalSize{axis}"]) * _UM[unit]


def _tags(page: tifffile.TiffPage) -> PixelSize:
    unit = _UM_PER_TAG_UNIT.get(int(page.tags.valueof(296, default=2)))
    x, y = (_ratio(page.tags.valueof(code)) for code in (282, 283))
    if unit is None or not x or not y:
        return NOTHING
    return judged(unit / x, unit / y, "the TIFF resolution tags", HIGHEST_FROM_TAGS)


def _ratio(value: tuple[int, int] | None) -> float | None:
    return value[0] / value[1] if value and value[1] else None
