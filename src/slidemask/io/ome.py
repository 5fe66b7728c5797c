"""OME-XML for our masks: channel names, pixel size, and the class table as map annotations."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

from slidemask.geometry.box import Size

_OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
CLASSES = "slidemask/classes"
COLOURS = "slidemask/colours"


class ClassTable(NamedTuple):
    """Names by label, and colours as #rrggbb."""

    names: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()


NO_TABLE = ClassTable()


def ome_xml(
    name: str,
    size: Size,
    channels: Sequence[str],
    *,
    mpp: float | None,
    table: ClassTable = NO_TABLE,
) -> bytes:
    """Describe a (C, H, W) uint8 image, one plane per channel, that lies in the same file.

    >>> xml = ome_xml("a", Size(3, 2), ["gland"], mpp=0.5)
    >>> b'PhysicalSizeX="0.5"' in xml, class_table(xml.decode())
    (True, ClassTable(names=(), colours=()))
    """
    root = ET.Element(
        "OME",
        {
            "xmlns": _OME,
            "xmlns:xsi": _XSI,
            "xsi:schemaLocation": f"{_OME} {_OME}/ome.xsd",
            "Creator": "slidemask",
        },
    )
    image = ET.SubElement(root, "Image", ID="Image:0", Name=name)
    image.append(_pixels(size, channels, mpp))
    notes = {CLASSES: table.names, COLOURS: table.colours}
    notes = {namespace: values for namespace, values in notes.items() if values}
    for number in range(len(notes)):
        ET.SubElement(image, "AnnotationRef", ID=f"Annotation:{number}")
    if notes:
        root.append(_annotations(notes))
    return b'<?xml version="1.0" encoding="UTF-8"?>' + ET.tostring(root, encoding="utf-8")


def class_table(xml: str) -> ClassTable:
    """Read the class table back; empty where the file holds none."""
    try:
        root = ET.fromstring(xml)  # noqa: S314 - expat refuses entity bombs
    except ET.ParseError:
        return ClassTable()
    found = {
        note.get("Namespace"): tuple(entry.text or "" for entry in note.iterfind("{*}Value/{*}M"))
        for note in root.iterfind("{*}StructuredAnnotations/{*}MapAnnotation")
    }
    return ClassTable(found.get(CLASSES, ()), found.get(COLOURS, ()))


def channel_names(xml: str) -> tuple[str, ...]:
    """Read the channels' names back; empty where the text is no OME-XML.

    >>> channel_names(ome_xml("a", Size(3, 2), ["gland", "stroma"], mpp=None).decode())
    ('gland', 'stroma')
    """
    try:
        root = ET.fromstring(xml)  # noqa: S314 - expat refuses entity bombs
    except ET.ParseError:
        return ()
    return tuple(
        channel.get("Name", "") for channel in root.iterfind("{*}Image/{*}Pixels/{*}Channel")
    )


def _pixels(size: Size, channels: Sequence[str], mpp: float | None) -> ET.Element:
    physical = {}
    for axis in "XY" if mpp is not None else "":
        physical |= {f"PhysicalSize{axis}": repr(float(mpp or 0)), f"PhysicalSize{axis}Unit": "µm"}
    pixels = ET.Element(
        "Pixels",
        {
            "ID": "Pixels:0",
            "DimensionOrder": "XYCZT",
            "Type": "uint8",
            "SignificantBits": "8",
            "Interleaved": "false",
            "BigEndian": "false",
            "SizeX": str(size.width),
            "SizeY": str(size.height),
            "SizeC": str(len(channels)),
            "SizeZ": "1",
            "SizeT": "1",
            **physical,
        },
    )
    for number, channel in enumerate(channels):
        ET.SubElement(
            pixels, "Channel", ID=f"Channel:0:{number}", Name=channel, SamplesPerPixel="1"
        )
    for number in range(len(channels)):
        ET.SubElement(pixels, "TiffData", FirstC=str(number), IFD=str(number), PlaneCount="1")
    return pixels


def _annotations(notes: Mapping[str, Sequence[str]]) -> ET.Element:
    root = ET.Element("StructuredAnnotations")
    for number, (namespace, values) in enumerate(notes.items()):
        note = ET.SubElement(root, "MapAnnotation", ID=f"Annotation:{number}", Namespace=namespace)
        table = ET.SubElement(note, "Value")
        for index, value in enumerate(values):
            ET.SubElement(table, "M", K=str(index)).text = value
    return root
