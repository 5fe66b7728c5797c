"""Files that are either whole or not there, also after a power cut.

A file's bytes are flushed to the disk, then it gets its name, then the folder with that name is
flushed: whoever finds the name finds the whole file, and what was written before it is there too.
On Windows folders cannot be flushed; there a file written last may vanish, but never be half
there. What a disk itself holds back when it is told to flush, nobody here can know.

Network shares answer some calls in ways of their own: they flush no folders, or keep a name busy
while somebody reads the file. What passes is tried again for a moment; docs/scale.md says what
holds there and what does not.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

from slidemask.base.errors import OutputError

_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What file systems answer that flush when they like."""
_NO_FOLDER_SYNC = _NO_SYNC | {errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR}
"""What network shares answer that keep names in their own way, or let nobody list a folder."""
_PASSING = {errno.EBUSY, errno.ETXTBSY, errno.ESTALE, errno.EACCES, errno.ENOTEMPTY}
"""What a share answers while somebody reads a file that is to be replaced or removed."""
_PAUSES_S = (0.05, 0.2, 0.5, 1.0)
_GONE = {
    errno.ENOENT, errno.EIO, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT,
    errno.ECONNABORTED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH,
}  # fmt: skip
"""What is answered where a disk or a share went away; over SFTP a full disk says EIO, too."""
_ADVICE = (
    (
        {errno.EACCES},
        "Check the folder's rights, and that no other program or machine has it open.",
    ),
    (_PASSING, "Another program, or another machine, has it open: end that, and try again."),
    (
        {errno.ENOSPC, errno.EDQUOT},
        "Free some space and run the same command again: it goes on where it stopped.",
    ),
    (
        {errno.EXDEV},
        "Its folder lies on several devices, between which nothing can be renamed: choose another "
        "--out.",
    ),
    (
        _GONE,
        "Look whether its folder, disk or network share is still there and has free space, and run "
        "the same command again.",
    ),
)
"""What to do about an error."""
T = TypeVar("T")
log = logging.getLogger(__name__)


@contextmanager
def written_whole(path: Path) -> Generator[Path]:
    """Give a path beside `path` to write to; rename it to `path` when all went well.

    When the block has ended, `path` outlasts a power cut; until then, what stood there before does.

    Raises
    ------
    OutputError
        If the folder cannot be written to, or the disk is full. What stood there stays, but where
        an SMB share has removed it under its readers; the error then says where the new file is.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield beside
        with beside.open("r+b") as file:  # Windows flushes only what may be written to
            _sync(file.fileno())
        _rename(beside, path)
        sync_folder(path.parent)
    except OSError as error:
        raise not_done(f"{path} could not be written", error) from error
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
        If no folder can be made there, or the older one stays in its place.
    """
    output_folder(path.parent)
    mark = uuid.uuid4().hex[:8]
    beside, old = (path.with_name(f".{path.name}.{mark}.{what}") for what in ("part", "old"))
    beside.mkdir()
    try:
        yield beside
        try:
            if path.exists():
                _patiently(lambda: path.rename(old))
            _patiently(lambda: beside.rename(path))
        except OSError as error:
            raise not_done(f"{path} could not be replaced", error) from error
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
            _sync(file.fileno())
    except OSError as error:
        raise not_done(f"{path} could not be written", error) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlast a power cut; on Windows there is no way to."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written to, but not listed
        return
    try:
        _sync(descriptor, _NO_FOLDER_SYNC)
    finally:
        os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Remove a folder and all in it; what is not there is removed already.

    Raises
    ------
    OutputError
        If something stays, such as what another machine has open on a network share.
    """
    try:
        _patiently(lambda: shutil.rmtree(folder))
    except FileNotFoundError:
        if folder.exists():  # somebody else removed what was in it meanwhile
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise not_done(f"{folder} could not be removed", error) from error


def _sync(descriptor: int, unable: Collection[int] = _NO_SYNC) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in unable:
            raise
        log.debug("no fsync here: %s", error)


def _rename(beside: Path, path: Path) -> None:
    """Give a file its name, for good when this returns.

    An answer of a share may be lost and the call sent again: then it says that there is no such
    file, and the name is the new file's already.
    """
    inode, stood = beside.stat().st_ino, path.exists()
    try:
        _patiently(lambda: beside.replace(path))
    except FileNotFoundError:
        if not (path.exists() and path.stat().st_ino == inode):
            raise
    except OSError as error:
        if stood and (kept := _kept(beside, path)):
            lost = "and the share removes the old one when nobody reads it any more"
            raise not_done(f"{path} could not be written, {lost}: use {kept}", error) from error
        raise


def _kept(beside: Path, path: Path) -> str:
    """Keep the new file, whole, where the old one is lost; return its name, else "".

    Linux' SMB client removes what it may not replace, as the server allows that: what somebody
    reads then has no links any more, and goes with its name when it is closed.
    """
    kept = path.with_name(f"{path.stem}.new{path.suffix}")
    with suppress(OSError):
        if not path.exists() or (path.stat().st_nlink == 0 and beside.stat().st_nlink):
            beside.replace(kept)
            sync_folder(path.parent)
            return kept.name
    return ""


def _patiently(step: Callable[[], T]) -> T:
    """Return what `step` gives, tried again for a moment where what ails it may pass."""
    for pause in _PAUSES_S:
        try:
            return step()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            log.debug("tried again in %g s: %s", pause, error)
            time.sleep(pause)
    return step()


def not_done(what: str, error: OSError) -> OutputError:
    """Return the error that says what was not done, why, and what to do about it."""
    otherwise = "Check the folder's rights and the free space on its disk."
    advice = next((words for codes, words in _ADVICE if error.errno in codes), otherwise)
    return OutputError(f"{what} ({error.strerror or error}). {advice}")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one step.

    Bytes of file names that are no UTF-8 become escapes, which JSON reads back.
    """
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write indented JSON in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def cache_folder() -> Path:
    """Return where what can be made again is kept for this user; it need not be there.

    Where the user has no home, as in a container under any number, it is in the system's folder for
    temporary files.
    """
    try:
        return platformdirs.user_cache_path("slidemask", appauthor=False)
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"slidemask-{os.getuid()}"


def output_folder(path: Path) -> Path:
    """Make `path` and prove that it can be written to; a new one outlasts a power cut.

    Raises
    ------
    OutputError
        If it is a file, or cannot be made or written to.
    """
    probe = path / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        if path.is_symlink() and not path.exists():
            raise OutputError(
                f"Output folder {path} is a link to {path.readlink()}, which does not exist. Make "
                "that folder, or choose another with --out."
            )
        missing = [one for one in (path, *path.parents) if not one.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for made in reversed(missing):
            sync_folder(made.parent)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        if error.errno in _GONE:
            raise not_done(f"Output folder {path} cannot be written to", error) from error
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
