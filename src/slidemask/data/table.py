"""Delimited text with a header, as spreadsheets save it."""

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from slidemask.base.errors import CohortError

_DELIMITERS = ",;\t"
_LISTED = 10


class Row(NamedTuple):
    """A line of a table: where it stands, and its cells by lower-case column name."""

    line: int
    cells: dict[str, str]


def read_table(path: Path) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Read comma-, semicolon- or tab-separated UTF-8 text; return its columns and rows.

    A byte order mark and blank lines are passed over, cells are stripped.

    Raises
    ------
    CohortError
        If the file cannot be read, is not UTF-8, has no header, or a row has more cells than it.
    """
    lines = _lines(path)
    header = next(lines, None)
    if header is None:
        raise CohortError(f"{path} is empty; its first line must name the columns.")
    columns = tuple(name.casefold() for name in header[1])
    rows = tuple(Row(line, _named(path, line, columns, cells)) for line, cells in lines)
    return columns, rows


def listed(names: list[str] | tuple[str, ...]) -> str:
    """Join names for a message, ten at most.

    >>> listed(["a", "b"]), listed(list("abcdefghijkl"))
    ('a, b', 'a, b, c, d, e, f, g, h, i, j and 2 more')
    """
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    text = _text(path)
    first = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    for cells in reader:
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield reader.line_num, stripped


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CohortError(f"{path} cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise CohortError(
            f"{path} is not UTF-8 text (byte {error.start}); in a spreadsheet choose 'CSV UTF-8'."
        ) from error


def _named(path: Path, line: int, columns: tuple[str, ...], cells: list[str]) -> dict[str, str]:
    while len(cells) > len(columns) and not cells[-1]:
        cells.pop()
    if len(cells) > len(columns):
        raise CohortError(
            f"{path}, line {line}: {len(cells)} cells for {len(columns)} columns; "
            "put quotes around a value that contains the separator."
        )
    return dict(zip(columns, cells, strict=False))
