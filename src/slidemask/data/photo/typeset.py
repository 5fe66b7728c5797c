"""Real type: words, lines, paragraphs in fonts that Matplotlib ships."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from slidemask.base.types import Rgb

FACES: Final[dict[str, tuple[str, str]]] = {
    "times": ("STIXGeneral", "STIXGeneralBol"),
    "serif": ("DejaVuSerif", "DejaVuSerif-Bold"),
    "sans": ("DejaVuSans", "DejaVuSans-Bold"),
    "modern": ("cmr10", "cmb10"),
    "mono": ("DejaVuSansMono", "DejaVuSansMono-Bold"),
}
_WORDS: Final = """
    the of and in with is are from by at to for or an a this which show shows cells nuclei
    tissue gland glands stroma mucosa epithelium crypt lamina propria muscle vessel fibrous
    lymphocytes infiltrate tumour carcinoma adenoma lesion section stain biopsy specimen patient
    clinical features pattern diagnosis grade benign malignant mitotic figures cytoplasm basal
    membrane surface necrosis inflammation chronic acute active oedema hyperplasia metaplasia
    dysplasia low high moderate marked large small irregular regular round pale dark
    eosinophilic note arrow arrows left right upper lower panel field magnification original
    reported common rare usually often may be seen present absent between within around along
    adjacent normal differential treatment survival risk factors age years women men disease
    syndrome chapter therapy drug dose daily table values mean range study studies results
    however therefore although because when where most some other first second third liver
    kidney lung colon skin bone marrow brain heart
""".split()  # noqa: SIM905 - as a list it would take 180 lines


class Type(NamedTuple):
    """How text is set: face, size in pixels, bold, colour."""

    face: str
    size: int
    bold: bool = False
    colour: tuple[int, int, int] = (30, 28, 28)


def write_line(canvas: Rgb, text: str, at: tuple[int, int], type_: Type) -> int:
    """Write words from the left end of a baseline, in place; return the x where they end."""
    x, y = at
    for word in text.split():
        x = _put(canvas, word, (x, y), type_) + _space(type_)
    return x - _space(type_)


def write_paragraph(
    canvas: Rgb, box: tuple[int, int, int, int], type_: Type, rng: np.random.Generator
) -> int:
    """Fill (x, y, width, height) with justified lines of sentences; return the y below them."""
    left, top, width, height = box
    leading = round(type_.size * rng.uniform(1.2, 1.35))
    y = top
    indent = int(rng.integers(2)) * type_.size
    while y + leading <= top + height:
        last = y + 2 * leading > top + height
        room = width - indent
        words, used = _line_of_words(room, type_, rng)
        if last:
            words = words[: max(1, len(words) // 2)]
        gaps = max(1, len(words) - 1)
        spare = (room - used) / gaps if not last else 0.0
        x = float(left + indent)
        for word in words:
            x = _put(canvas, word, (round(x), y + type_.size), type_) + _space(type_) + spare
        y, indent = y + leading, 0
    return y


def sentence(rng: np.random.Generator, words: int) -> str:
    """Return so many words, the first with a capital letter.

    >>> len(sentence(np.random.default_rng(0), 7).split())
    7
    """
    drawn = [_WORDS[number] for number in rng.integers(len(_WORDS), size=words).tolist()]
    return " ".join(drawn).capitalize()


def width_of(text: str, type_: Type) -> int:
    """Return the width in pixels of a line of words."""
    words = text.split()
    return sum(_ink(word, *type_[:3])[0].shape[1] for word in words) + _space(type_) * (
        len(words) - 1
    )


def _line_of_words(room: int, type_: Type, rng: np.random.Generator) -> tuple[Sequence[str], int]:
    """Draw words until a line is full; return them and the pixels they take."""
    words: list[str] = []
    used = 0
    while True:
        word = _WORDS[int(rng.integers(len(_WORDS)))]
        if rng.uniform() < 0.12:
            word = word.capitalize() if rng.uniform() < 0.6 else str(rng.integers(1, 2000))
        if rng.uniform() < 0.1:
            word += str(rng.choice([",", ".", ";", ")"]))
        wide = _ink(word, *type_[:3])[0].shape[1]
        if words and used + _space(type_) + wide > room:
            return words, used
        used += wide + (_space(type_) if words else 0)
        words.append(word)
        if used >= room:
            return words, used


def _put(canvas: Rgb, word: str, at: tuple[int, int], type_: Type) -> int:
    """Blend one word in; parts beyond the canvas are cut off. Return the x behind it."""
    ink, rise = _ink(word, type_.face, type_.size, type_.bold)
    left, top = at[0], at[1] - rise
    height, width = canvas.shape[:2]
    x, y = max(0, left), max(0, top)
    right, bottom = min(width, left + ink.shape[1]), min(height, top + ink.shape[0])
    if right > x and bottom > y:
        part = canvas[y:bottom, x:right]
        cover = ink[y - top : bottom - top, x - left : right - left, None]
        part[:] = part + (np.array(type_.colour, np.float32) - part) * cover
    return left + ink.shape[1]


@lru_cache(maxsize=40_000)
def _ink(word: str, face: str, size: int, bold: bool) -> tuple[NDArray[np.float32], int]:  # noqa: FBT001 - hashed as the cache's key
    """Return a word's coverage, 0..1, and how far above the baseline it begins."""
    font = _font(face, size, bold)
    _, top, right, bottom = font.getbbox(word, anchor="ls")
    picture = Image.new("L", (max(1, round(right)), max(1, round(bottom - top))))
    ImageDraw.Draw(picture).text((0, -top), word, font=font, fill=255, anchor="ls")
    return np.asarray(picture, np.float32) / np.float32(255), round(-top)


@lru_cache(maxsize=256)
def _font(face: str, size: int, bold: bool) -> ImageFont.FreeTypeFont:  # noqa: FBT001 - hashed as the cache's key
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    file = folder / f"{FACES[face][bold]}.ttf"
    return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)


def _space(type_: Type) -> int:
    return max(2, round(type_.size * 0.27))
