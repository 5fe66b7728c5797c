"""Where slide pictures come from: the user's files, or phantoms."""

import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from slidemask.base.errors import SettingsError, SlideError
from slidemask.base.types import Rgb
from slidemask.data.phantom.settings import PhantomSettings
from slidemask.data.phantom.slide import PhantomSlide
from slidemask.data.photo.restain import STAINS, restain
from slidemask.data.photo.smears import draw_smear
from slidemask.data.photo.views import files_in
from slidemask.geometry.box import Box
from slidemask.io.array import ArraySlide
from slidemask.io.open import open_slide
from slidemask.io.slide import Slide

log = logging.getLogger(__name__)

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff"),
        *("svs", "ndpi", "mrxs", "scn"),
    )
)
PHANTOMS = 24
_TRIES = 6
_COARSEST, _WHOLE_SLIDE_PX = 6, 6000  # of a whole slide, parts up to this downsample
_TISSUE_CONTRAST = 18  # grey levels; glass and pale smears stay below


class Source(NamedTuple):
    """A picture of a slide; `path` is None for the phantom of that number.

    Parameters
    ----------
    path : Path or None
    name : str
        Shown in `photos.json`.
    patient : str
        Sources of one patient stay in one group.
    stain : str
    phantom : int
    weight : float
        How often it is drawn: small pictures seldom, since they are blurred when enlarged.
    """

    path: Path | None
    name: str
    patient: str
    stain: str = "H&E"
    phantom: int = 0
    weight: float = 1.0


class Picture(NamedTuple):
    """Pixels of (a part of) a slide, and where they are from."""

    pixels: Rgb
    source: str
    stain: str


@dataclass(frozen=True)
class Shelf:
    """Sources dealt into groups, and the user's scenes.

    Parameters
    ----------
    groups : tuple of tuple of Source
        None is empty.
    scenes : tuple of Path
    """

    groups: tuple[tuple[Source, ...], ...]
    scenes: tuple[Path, ...] = ()


def find_sources(
    paths: Iterable[Path], *, patient_pattern: str | None = None, phantoms: int = PHANTOMS
) -> tuple[Source, ...]:
    """Find slide pictures in files and folders; phantoms stand in where there is none.

    Label images lie beside pictures in many data sets: folders called labels, masks or annotations
    and pictures in one channel are passed over, and files that cannot be opened, with a warning.

    Parameters
    ----------
    paths : iterable of Path
    patient_pattern : str, optional
        Regular expression on the file name; its first group is the patient. Without it, or where
        it does not match, every file is a patient of its own.
    phantoms : int
        Phantoms added, besides the files; every third is a blood smear.

    Raises
    ------
    SettingsError
        If a path does not exist, the pattern is none, or nothing at all was found.
    """
    pattern = _compiled(patient_pattern)
    found = [_source(path, pattern) for path in picture_files(paths)]
    found += [_phantom(number) for number in range(phantoms)]
    if not found:
        raise SettingsError("No slide picture was found and no phantoms were asked for.")
    return tuple(found)


def picture_files(paths: Iterable[Path]) -> list[Path]:
    """List the slide pictures under `paths` that can be opened, sorted; no label images."""
    files = files_in(paths, SUFFIXES)
    return [file for file in files if not _labels(file) and _readable(file)]


def deal(sources: Sequence[Source], groups: int) -> tuple[tuple[Source, ...], ...]:
    """Deal sources into at most `groups` groups, each patient's into one.

    >>> a, b, c = (Source(None, name, name[0]) for name in ("x1", "x2", "y"))
    >>> [[source.name for source in group] for group in deal([a, b, c], 5)]
    [['x1', 'x2'], ['y']]
    """
    patients = sorted({source.patient for source in sources}, key=_scrambled)
    count = min(groups, len(patients))
    number = {patient: index % count for index, patient in enumerate(patients)}
    dealt = [
        tuple(source for source in sources if number[source.patient] == index)
        for index in range(count)
    ]
    return tuple(sorted(dealt, key=lambda group: group[0].name))


def draw_picture(
    group: Sequence[Source], shape: tuple[int, int], rng: np.random.Generator, restained: float
) -> Picture:
    """Cut a random part, turned and perhaps restained, of `shape` (height, width) pixels.

    Where there are files too, phantoms get 20 %.
    """
    files = [source for source in group if source.path is not None]
    drawn = [source for source in group if source.path is None]
    kind = files if files and (not drawn or rng.uniform() < 0.8) else drawn
    weights = np.cumsum([source.weight for source in kind])
    source = kind[int(np.searchsorted(weights, rng.uniform(0, weights[-1])))]
    turned = bool(rng.integers(2))
    pixels = _cut(source, (shape[1], shape[0]) if turned else shape, rng)
    pixels = np.rot90(pixels, int(rng.choice([1, 3]))) if turned else pixels
    pixels = pixels[:: 1 if rng.integers(2) else -1, :: 1 if rng.integers(2) else -1]
    pixels, stain = np.ascontiguousarray(pixels), source.stain
    if stain == "H&E" and rng.uniform() < restained:
        stain = str(rng.choice(STAINS))
        pixels = restain(pixels, stain, rng)
    return Picture(pixels, source.name, stain)


@lru_cache(maxsize=512)
def opened(path: Path) -> Slide:
    """Open a file once; small pictures are kept decoded."""
    slide = open_slide(path)
    if slide.size.width * slide.size.height > 2_000_000:
        return slide
    with slide:
        return ArraySlide(path.stem, slide.read(Box(0, 0, *slide.size)))


@lru_cache(maxsize=64)
def painted(number: int) -> Slide:
    """Paint a phantom of 1 mm², or a smear, once."""
    if _is_smear(number):
        return ArraySlide(f"smear-{number}", draw_smear(np.random.default_rng(number)))
    share = 1.0 if number % 3 else 0.6
    size = PhantomSettings(width_px=1024, height_px=1024, mpp=1.0, tissue_share=share, pens=0)
    phantom = PhantomSlide(size, number, number)
    return ArraySlide(phantom.id, phantom.read(Box(0, 0, *phantom.size)))


def _cut(source: Source, shape: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """Read a part with tissue in it, or the one with most of a few tries; the last is the whole."""
    slide = opened(source.path) if source.path else painted(source.phantom)
    height, width = shape
    largest = min(slide.size.width / width, slide.size.height / height)
    most = min(1.0, _COARSEST / largest) if slide.size.width > _WHOLE_SLIDE_PX else 1.0
    best, contrast = np.empty((0, 0, 3), np.uint8), -1.0
    for attempt in range(_TRIES):
        share = rng.uniform(0.45 * most, most) if attempt < _TRIES - 1 else 1.0
        downsample = largest * float(share)
        x = rng.uniform(0, max(0.0, slide.size.width - width * downsample))
        y = rng.uniform(0, max(0.0, slide.size.height - height * downsample))
        pixels = slide.read(Box(x, y, width * downsample, height * downsample), downsample)
        found = float(pixels[::4, ::4].std(axis=(0, 1)).max())
        if found > contrast:
            best, contrast = pixels, found
        if contrast > _TISSUE_CONTRAST:
            break
    if best.shape[:2] != shape:
        best = np.asarray(cv2.resize(best, (width, height)), np.uint8)
    return best


def _phantom(number: int) -> Source:
    if _is_smear(number):
        return Source(
            None, f"smear-{number}", f"smear-{number}", "Giemsa (synthetic)", phantom=number
        )
    return Source(None, f"phantom-{number}", f"phantom-{number}", phantom=number)


def _is_smear(number: int) -> bool:
    return number % 3 == 2


def _source(path: Path, pattern: re.Pattern[str] | None) -> Source:
    match = pattern.search(path.name) if pattern else None
    patient = match.group(1) if match and match.group(1) else path.stem
    name = path.as_posix()
    parts = name.casefold()
    stain = "H&E"
    if "giemsa" in parts or "wbc" in parts:
        stain = "Giemsa"
    elif "ihc" in path.stem.casefold():
        stain = "IHC"
    return Source(path, "/".join(path.parts[-3:]), patient, stain, weight=_weight(path))


def _weight(path: Path) -> float:
    with open_slide(path) as slide:
        width, height = slide.size
    return float(np.clip(width * height / 250_000, 0.12, 1))


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SettingsError(f"patient pattern {pattern!r} is no expression: {error}") from error
    if compiled.groups < 1:
        raise SettingsError(f"patient pattern {pattern!r} needs a (group) around the patient")
    return compiled


def _labels(file: Path) -> bool:
    """Whether a file is a label image by where it lies or what lies beside it."""
    if {part.casefold() for part in file.parts[:-1]} & {"labels", "masks", "annotations"}:
        return True
    return file.suffix == ".png" and file.with_suffix(".bmp").exists()


def _readable(file: Path) -> bool:
    try:
        with open_slide(file) as slide:
            if min(slide.size) < 64:
                return False
            side = max(slide.size) / 256
            slide.read(Box(0, 0, *slide.size), max(side, 1.0))
    except SlideError as error:
        log.warning("%s is left out: %s", file, error)
        return False
    return True


def _scrambled(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
