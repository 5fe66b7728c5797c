"""Files that are either whole or not there, also after a power cut.

A file's bytes are flushed to the disk, then it gets its name, then the folder with that name is
flushed: whoever finds the name finds the whole file, and what was written before it is there too.
On Windows folders cannot be flushed; there a file written last may vanish, but never be half
there. What a disk itself holds back when it is told to flush, nobody here can know.
"""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from slidemask.base.errors import OutputError

_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}
"""What some network shares answer, which keep names in their own way."""


@contextmanager
def written_whole(path: Path) -> Generator[Path]:
    """Give a path beside `path` to write to; rename it to `path` when all went well.

    When the block has ended, `path` outlasts a power cut; until then, what stood there before does.

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
        sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"{path} could not be written ({error.strerror or error}). "
            "Check the folder's rights and the free space on its disk."
        ) from error
    finally:
        with suppress(OSError):  # where nothing could be written there is nothing to remove
            beside.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: Path) -> Generator[Path]:
    """Give a new folder beside `path`; it takes the place of `path` when all went well.

    Whatever happens there is no half-written folder of that name: else the new one goes and an
    older one stays.

    Raises
    ------
    OutputError
        If no folder can be made there.
    """
    output_folder(path.parent)
    mark = uuid.uuid4().hex[:8]
    beside, old = (path.with_name(f".{path.name}.{mark}.{what}") for what in ("part", "old"))
    beside.mkdir()
    try:
        yield beside
        if path.exists():
            path.rename(old)
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if old.exists():
            shutil.rmtree(old, ignore_errors=True) if path.exists() else old.rename(path)


def append_synced(path: Path, data: bytes) -> None:
    """Append to a file; when this returns they outlast a power cut, if the file's name does.

    Raises
    ------
    OutputError
        If that fails; some of the bytes may then be there.
    """
    try:
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(
            f"{path} could not be written ({error.strerror or error}). Free some space and run "
            "the same command again: it goes on where it stopped."
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlast a power cut; on Windows there is no way to."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


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
    """Make `path` and prove that it can be written to; a new one outlasts a power cut.

    Raises
    ------
    OutputError
        If it is a file, or cannot be made or written to.
    """
    if path.is_symlink() and not path.exists():
        raise OutputError(
            f"Output folder {path} is a link to {path.readlink()}, which does not exist. Make that "
            "folder, or choose another with --out."
        )
    probe = path / f".probe-{uuid.uuid4().hex[:8]}"
    missing = [one for one in (path, *path.parents) if not one.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        for made in reversed(missing):
            sync_folder(made.parent)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"Output folder {path} cannot be written to ({error.strerror or error}). "
            "Choose another with --out, or change its rights."
        ) from error
    return path


def require_free(*paths: Path) -> None:
    """Prove that files of these names can be written into a folder that can be written to.

    Raises
    ------
    OutputError
        If something that is no file has one of the names, or a file that is not to be replaced.
    """
    for path in paths:
        if path.is_dir():
            raise OutputError(
                f"{path} is a folder, and a file of that name is to be written. Move it away, or "
                "choose another --out."
            )
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(
                f"{path} must not be written to. Change its rights, or choose another --out."
            )


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
