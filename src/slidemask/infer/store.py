"""Finished bands on disk, and the journal by which a killed run goes on.

`bands.bin` holds compressed bands one after another; `journal.jsonl` a line for each, written
and fsynced only after the band itself is. What the journal does not name does not exist; what it
names is checked against its checksum before it is used. The folder is fsynced once, when both
files are in it and before the first band, so that a power cut takes at most the band that was
being written.
"""

import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np

from slidemask.base.errors import OutputError
from slidemask.base.files import (
    append_synced,
    not_done,
    output_folder,
    sync_folder,
    write_json,
)
from slidemask.base.types import Quantised
from slidemask.geometry.squeezed import blank, runs, zeros

JOB = "job.json"
"""File that says what a folder's bands are of."""


@dataclass(frozen=True)
class Entry:
    """One finished band: which rows of the canvas, where its bytes are, and of which columns.

    What lies beside the columns is 0; None: all are there.
    """

    top: int
    rows: int
    offset: int
    length: int
    crc: int
    columns: Sequence[Sequence[int]] | None = None


class BandStore:
    """Bands of a (K, height, width) uint8 map, from the top down.

    Parameters
    ----------
    folder : Path
        Made if it is not there. What an earlier run of the same job left is taken up.
    job : dict
        All that decides the result; JSON values only.
    shape : (K, height, width)
        Of the whole map.

    Raises
    ------
    OutputError
        If the folder holds another job's bands.
    """

    def __init__(self, folder: Path, job: dict[str, object], shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self._bands, self._journal = output_folder(folder) / "bands.bin", folder / "journal.jsonl"
        _claim(folder / JOB, job)
        self.entries = self._sound_entries()
        self._cut_off_the_rest()

    @property
    def rows(self) -> int:
        """Finished rows of the canvas."""
        return self.entries[-1].top + self.entries[-1].rows if self.entries else 0

    @property
    def complete(self) -> bool:
        """Whether every row is there."""
        return self.rows == self.shape[1]

    def append(self, band: Quantised) -> None:
        """Write the next rows; when this returns they outlast a power cut."""
        held = runs(band)
        data = bytes(imagecodecs.zstd_encode(_in_one_piece(band, held), level=1)) if held else b""
        columns = [[run.start, run.stop] for run in held]
        offset = self._end()
        entry = Entry(self.rows, band.shape[1], offset, len(data), zlib.crc32(data), columns)
        if data:
            append_synced(self._bands, data)
        append_synced(self._journal, (json.dumps(asdict(entry)) + "\n").encode())
        self.entries.append(entry)

    def bands(self, top: int = 0, bottom: int | None = None) -> Iterator[tuple[int, Quantised]]:
        """Yield (top row, (K, rows, width) uint8) of all bands that touch rows top..bottom.

        Raises
        ------
        OutputError
            If a band is not as it was written: another machine writes there, too.
        """
        bottom = self.shape[1] if bottom is None else bottom
        with self._bands.open("rb") as file:
            for entry in self.entries:
                if entry.top < bottom and entry.top + entry.rows > top:
                    yield entry.top, self._unpacked(entry, self._whole(entry, file))

    def _whole(self, entry: Entry, file: BinaryIO) -> bytes:
        file.seek(entry.offset)
        data = file.read(entry.length)
        if zlib.crc32(data) != entry.crc:
            raise OutputError(
                f"{self._bands} is not as it was written: another machine is at this slide, on a "
                "share that passes no locks on, or the disk is faulty. Once no other is at it, run "
                "the same command again on one machine."
            )
        return data

    def _unpacked(self, entry: Entry, data: bytes) -> Quantised:
        classes, _, width = self.shape
        shape = classes, entry.rows, width
        columns = [(0, width)] if entry.columns is None else entry.columns
        if not columns:
            return blank(shape)
        raw, at = np.frombuffer(imagecodecs.zstd_decode(data), np.uint8), 0
        if raw.size == math.prod(shape):
            return raw.reshape(shape)
        band = zeros(shape)
        for start, stop in columns:
            part = band[:, :, start:stop]
            part[:] = raw[at : at + part.size].reshape(part.shape)
            at += part.size
        return band

    def _end(self) -> int:
        return self.entries[-1].offset + self.entries[-1].length if self.entries else 0

    def _sound_entries(self) -> list[Entry]:
        """Return the entries before the first that is torn, out of order or unlike its bytes."""
        if not (self._journal.exists() and self._bands.exists()):
            return []
        sound: list[Entry] = []
        with self._bands.open("rb") as file:
            for line in self._journal.read_bytes().splitlines(keepends=True):
                top = sound[-1].top + sound[-1].rows if sound else 0
                entry = _parse(line)
                if entry is None or entry.top != top:
                    break
                file.seek(entry.offset)
                if zlib.crc32(file.read(entry.length)) != entry.crc:
                    break
                sound.append(entry)
        return sound

    def _cut_off_the_rest(self) -> None:
        """Leave in both files exactly what the sound entries name."""
        lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in self.entries).encode()
        try:
            for path, length in ((self._journal, len(lines)), (self._bands, self._end())):
                with path.open("ab") as file:  # some shares cut off only what is open
                    file.truncate(length)
            sync_folder(self._journal.parent)
        except OSError as error:
            raise not_done(f"{self._journal.parent} cannot be written to", error) from error


def _in_one_piece(band: Quantised, held: Sequence[slice]) -> bytearray:
    """Return the values of some columns, run by run."""
    parts = [band[:, :, columns] for columns in held]
    piece, at = bytearray(sum(part.size for part in parts)), 0
    values = np.frombuffer(piece, np.uint8)
    for part in parts:
        values[at : at + part.size].reshape(part.shape)[:] = part
        at += part.size
    return piece


def _claim(path: Path, job: dict[str, object]) -> None:
    if not path.exists():
        write_json(path, job)
        return
    try:
        there: dict[str, object] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise OutputError(
            f"{path} is damaged ({error}). Pass --overwrite to start this slide again."
        ) from error
    differing = sorted(key for key in there | job if there.get(key) != job.get(key))
    if differing:
        raise OutputError(
            f"{path.parent} holds a half-done result of other settings ({', '.join(differing)} "
            "differ). Choose another --out, or pass --overwrite to start again."
        )


def _parse(line: bytes) -> Entry | None:
    """Return the entry of a whole journal line; a torn one has no end of line."""
    if not line.endswith(b"\n"):
        return None
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError):
        return None
