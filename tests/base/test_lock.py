"""One process at a time, and nobody waits for the dead."""

import errno
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from slidemask.base.errors import OutputError
from slidemask.base.lock import locked, seems_locked

HOLD = """
import sys
from pathlib import Path
from slidemask.base.lock import locked
with locked(Path(sys.argv[1])) as holder:
    print(holder or "mine", flush=True)
    sys.stdin.read()
"""


def holding(path: Path) -> subprocess.Popen[str]:
    """Start a process that takes the lock, says who has it, and waits."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_lock_dies_with_the_process_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with holding(path) as process:
        assert said(process) == "mine"
        with locked(path) as holder:
            assert holder is not None
            assert f"process {process.pid} on " in holder
        with holding(path) as other:
            assert f"process {process.pid} on " in said(other)
            other.communicate()
        process.kill()
        process.wait()
    assert seems_locked(path)  # what it wrote is still there, but it is only a hint
    with locked(path) as holder:
        assert holder is None
    assert not seems_locked(path)


def test_a_lock_is_free_again_after_its_block(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    for _ in range(2):
        with locked(path) as first:
            assert first is None
            assert seems_locked(path)
            with locked(path) as second:
                assert second is not None
    with pytest.raises(KeyError), locked(path):
        raise KeyError
    with holding(path) as process:
        assert said(process) == "mine"
        process.communicate()


def test_another_thread_may_free_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    stack = ExitStack()
    assert stack.enter_context(locked(path)) is None
    with ThreadPoolExecutor(1) as pool:
        pool.submit(stack.close).result()
    with holding(path) as process:
        assert said(process) == "mine"
        process.communicate()


def test_an_unreadable_signature_is_still_somebody(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with locked(path):
        path.with_suffix(".json").write_text('{"host": ')
        with locked(path) as holder:
            assert holder == "another process"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL])
def test_where_there_are_no_locks_a_marker_stands_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refused(_descriptor: int, _operation: int) -> None:
        raise OSError(code, "refused")

    path = tmp_path / "a.lock"
    monkeypatch.setattr(fcntl, "flock", refused)
    for _ in range(2):
        with locked(path) as first, locked(path) as second:
            assert first is None
            assert second is not None


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(OutputError, match=r"file.*cannot be written"),
        locked(tmp_path / "file" / "a.lock"),
    ):
        pass


def test_a_folder_that_went_away_is_not_made_again(tmp_path: Path) -> None:
    """Else the results would go to the disk below a share that is not mounted any more."""
    with (
        pytest.raises(OutputError, match=r"a\.lock cannot be made .* share is still there"),
        locked(tmp_path / "share" / ".locks" / "a.lock"),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO, errno.ENOTCONN])
def test_a_lock_of_a_share_that_went_away_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Linux' SMB client says EINVAL after its server was gone; the block's own error is told."""
    fcntl = pytest.importorskip("fcntl")
    flock = fcntl.flock

    def gone(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_UN:
            raise OSError(code, "gone")
        flock(descriptor, operation)

    with monkeypatch.context() as away:
        away.setattr(fcntl, "flock", gone)
        with locked(tmp_path / "a.lock") as holder:
            assert holder is None
        with pytest.raises(KeyError), locked(tmp_path / "b.lock"):
            raise KeyError
    for name in ("a.lock", "b.lock"):  # the share is back, and nobody holds anything
        with locked(tmp_path / name) as holder:
            assert holder is None


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EACCES])
def test_a_share_may_say_held_in_two_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def held(_descriptor: int, _operation: int) -> None:
        raise OSError(code, "held")

    monkeypatch.setattr(fcntl, "flock", held)
    with locked(tmp_path / "a.lock") as holder:
        assert holder == "another process"


def test_a_share_that_cannot_ask_is_no_lock_and_no_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def broken(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.EIO, "the lock daemon is gone")

    monkeypatch.setattr(fcntl, "flock", broken)
    with (
        pytest.raises(OutputError, match=r"the lock daemon is gone.*--out"),
        locked(tmp_path / "a.lock"),
    ):
        pass
    assert not list(tmp_path.glob("*.marker"))


def test_a_file_that_the_share_has_forgotten_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    flock, answers = fcntl.flock, iter([errno.ESTALE])

    def stale(descriptor: int, operation: int) -> None:
        if code := next(answers, 0):
            raise OSError(code, "stale")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", stale)
    with locked(tmp_path / "a.lock") as first, locked(tmp_path / "a.lock") as second:
        assert first is None
        assert second is not None


def test_who_can_lock_sees_the_marker_of_one_who_could_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock service that comes back does not let a second one in; a marker of the dead does."""
    fcntl = pytest.importorskip("fcntl")

    def refused(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "refused")

    path = tmp_path / "a.lock"
    with ExitStack() as marked:
        with monkeypatch.context() as patched:
            patched.setattr(fcntl, "flock", refused)
            assert marked.enter_context(locked(path)) is None
        for _ in range(2):
            with locked(path) as second:
                assert second is not None
    with locked(path) as third:
        assert third is None
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    path.with_suffix(".marker").write_text(f"{gone.pid}\n{socket.gethostname()}\n")
    with locked(path) as fourth:
        assert fourth is None
