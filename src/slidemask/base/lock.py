"""One process at a time: locks that die with who holds them.

The operating system holds the lock and frees it when the process ends, however it ends; nobody
has to take over anything. On a network share it holds between machines where the share passes
locks on. Where a file system knows no locks, a marker file stands for one; a marker whose process
is gone is taken over on the same machine, but one that another machine left must be removed by
hand. All machines must find the same: one that locks does not see another's marker, so before it
relies on its lock it looks for one.
"""

import errno
import json
import logging
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from slidemask.base.errors import OutputError
from slidemask.base.files import not_done, output_folder

log = logging.getLogger(__name__)
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@contextmanager
def locked(path: Path) -> Generator[str | None]:
    """Hold the lock `path` while the block runs, or say who does.

    The block may end in another thread than it began in. The lock's file stays: to remove it
    would let two processes hold files of one name.

    Parameters
    ----------
    path : Path
        Of the lock's file; its folder is there. Who holds it stands beside it, in a file that ends
        in `.json`.

    Yields
    ------
    str or None
        None: it is ours. Else who holds it, in words; the block then runs without it.

    Raises
    ------
    OutputError
        If the file cannot be made, or its folder is not there: where a share went away, what is
        written below its folder would fill the disk beneath, and nobody would look for it there.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a.lock"
    ...     with locked(path) as first, locked(path) as second:
    ...         print(first, "/", second)
    None / process ... on ... since ...
    """
    lock = _taken(in_its_folder(path))
    if lock is None:
        yield _holder(path)
        return
    try:
        _sign(path)
        yield None
    finally:
        with suppress(OSError):
            path.with_suffix(".json").unlink()
        _released(lock)


def seems_locked(path: Path) -> bool:
    """Whether somebody signed as holder, dead or alive: a hint before costly preparations."""
    return path.with_suffix(".json").exists()


def _released(lock: BaseFileLock) -> None:
    """Give a lock back; where a share that went away does not take it, closing its file does."""
    descriptor: object = getattr(getattr(lock, "_context", None), "lock_file_fd", None)
    try:
        lock.release()
    except OSError as error:
        log.debug("a lock could not be given back: %s", error)
        if isinstance(descriptor, int):
            with suppress(OSError):
                os.close(descriptor)


def in_its_folder(path: Path) -> Path:
    """Return the path of a lock whose folder is there.

    Raises
    ------
    OutputError
        If it is not.
    """
    try:
        path.parent.stat()
    except OSError as error:
        raise not_done(f"Lock {path} cannot be made", error) from error
    return output_folder(path.parent) / path.name


def _taken(path: Path) -> BaseFileLock | None:
    marker = SoftFileLock(path.with_suffix(".marker"), timeout=0, thread_local=False)
    lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        try:
            _acquired(lock)
        except OSError as error:
            if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
                raise
            marker.acquire()
            return marker
        if not Path(marker.lock_file).exists():
            return lock
        try:  # from a time or a machine without locks: is anybody still behind it?
            marker.acquire()
            marker.release()
        except BaseException:
            lock.release()
            raise
    except Timeout:
        return None
    except OSError as error:
        raise OutputError(
            f"Lock {path} cannot be made ({error.strerror or error}). Check the folder's rights, "
            "or choose another --out."
        ) from error
    return lock


def _acquired(lock: BaseFileLock) -> None:
    """Take a lock; a share may have forgotten the file that it knew by this name."""
    try:
        lock.acquire()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        lock.acquire()


def _sign(path: Path) -> None:
    """Say beside the lock who holds it; only messages need that."""
    who = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with suppress(OSError):
        path.with_suffix(".json").write_text(json.dumps(who), encoding="utf-8")


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return f"process {who['process']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # not yet written
        return "another process"
