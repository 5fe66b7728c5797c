"""Files that are either whole or not there."""

import hashlib
import json
import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from slidemask.base.errors import OutputError


@contextmanager
def written_whole(path: Path) -> Generator[Path]:
    """Give a path beside `path` to write to; rename it to `path` when all went well.

    Raises
    ------
    OutputError
        If the folder cannot be written to, or the disk is full.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield beside
        with beside.open("r+b") as file:  # Windows flushes only what may be written to
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} could not be written ({error.strerror or error}). "
            "Check the folder's rights and the free space on its disk."
        ) from error
    finally:
        with suppress(OSError):  # where nothing could be written there is nothing to remove
            beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one step.

    Bytes of file names that are no UTF-8 become escapes, which JSON reads back.
    """
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write indented JSON in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def output_folder(path: Path) -> Path:
    """Make `path` and prove that it can be written to.

    Raises
    ------
    OutputError
        If it is a file, or cannot be made or written to.
    """
    probe = path / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"Output folder {path} cannot be written to ({error.strerror or error}). "
            "Choose another with --out, or change its rights."
        ) from error
    return path


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
