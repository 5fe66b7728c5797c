"""Files are whole or not there, and what stood there before stays."""

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slidemask.base import files
from slidemask.base.errors import OutputError
from slidemask.base.files import (
    append_synced,
    cache_folder,
    folder_written_whole,
    output_folder,
    remove_folder,
    require_free,
    sha256,
    write_json,
    write_text,
    written_whole,
)


def test_without_a_home_caches_are_temporary_and_the_users_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def homeless(*_: object, **__: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))
    assert tmp_path not in cache_folder().parents
    monkeypatch.setattr(files.platformdirs, "user_cache_path", homeless)
    assert cache_folder() == tmp_path / f"slidemask-{os.getuid()}"


class PowerCutError(Exception):
    pass


def test_a_written_file_is_there_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.txt") as beside:
        assert beside.parent == tmp_path
        assert beside.suffix == ".txt"  # libraries choose a format by it
        beside.write_text("x")
        assert not (tmp_path / "a.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [PowerCutError, KeyboardInterrupt, ValueError])
def test_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with written_whole(path) as beside:
            beside.write_text("half of the n")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


def test_full_disk_is_an_output_error_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.txt could not be written \(No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["file/a.txt", "nothing/a.txt", "folder"])
def test_a_path_that_cannot_be_a_file_is_an_output_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("a file in place of a folder")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OutputError, match="could not be written"):
        write_text(tmp_path / name, "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_output_folder_is_made_with_its_parents_and_left_clean(tmp_path: Path) -> None:
    made = output_folder(tmp_path / "a b" / "ü")
    assert made.is_dir()
    assert not list(made.iterdir())
    assert output_folder(made) == made


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_in_place_of_the_output_folder_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=rf"{name} cannot be written to .*--out"):
        output_folder(tmp_path / name)
    assert (tmp_path / "file").read_text() == "x"


def test_an_output_folder_without_rights_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, _data: bytes) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "write_bytes", refused)  # root may write everywhere
    with pytest.raises(OutputError, match="Permission denied"):
        output_folder(tmp_path)


def test_json_keeps_letters_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"Gewebe": "Drüse 腺"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "Drüse 腺" in text
    assert json.loads(text) == {"Gewebe": "Drüse 腺"}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"dice": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_a_file_name_that_is_no_utf_8_survives_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"slide\xff.svs")
    write_json(tmp_path / "a.json", {"path": name})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"path": name}


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "abc") == expected


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be flushed there")
def test_a_file_gets_its_name_when_its_bytes_are_on_disk_and_then_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(monkeypatch)
    with written_whole(tmp_path / "a.txt") as beside:
        beside.write_text("x")
    part = beside.name
    assert calls == [f"fsync {part}", f"rename {part} a.txt", f"fsync {tmp_path.name}"]


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be flushed there")
def test_new_folders_are_entered_in_their_parents_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(monkeypatch)
    output_folder(tmp_path / "a" / "b")
    assert calls == [f"fsync {tmp_path.name}", "fsync a"]
    output_folder(tmp_path / "a" / "b")
    assert len(calls) == 2


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list into which every flush and every renaming is entered."""
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def flush(descriptor: int) -> None:
        calls.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def rename(old: Path, new: Path) -> Path:
        calls.append(f"rename {old.name} {new.name}")
        return replace(old, new)

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc to tell which file a descriptor is")
    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", rename)
    return calls


@pytest.mark.parametrize("code", ["EINVAL", "ENOTSUP", "EACCES", "EPERM", "EBADF"])
def test_a_share_that_flushes_no_folders_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    fsync = os.fsync

    def refused(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(getattr(errno, code), "refused")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refused)
    write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").read_text() == "x"


def failing(code: int, times: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call that fails so many times before it does what it should."""
    left = iter(range(times))

    def call(*arguments: Any, **named: Any) -> Any:
        if next(left, None) is not None:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **named)

    return call


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PAUSES_S", (0.0, 0.0))


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be flushed there")
def test_a_folder_that_may_not_be_listed_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", failing(errno.EACCES, 99, os.open))
    files.sync_folder(tmp_path)


@pytest.mark.parametrize("code", ["EINVAL", "ENOTSUP", "ENOSYS"])
def test_a_file_system_that_flushes_when_it_likes_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(os, "fsync", failing(getattr(errno, code), 99, os.fsync))
    write_text(tmp_path / "a.txt", "x")
    append_synced(tmp_path / "a.txt", b"y")
    assert (tmp_path / "a.txt").read_text() == "xy"


@pytest.mark.parametrize("code", ["EIO", "EDQUOT", "ENOSPC", "EROFS", "ESTALE"])
@pytest.mark.parametrize("appended", [False, True])
def test_what_did_not_reach_the_disk_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, *, appended: bool
) -> None:
    number = getattr(errno, code)
    monkeypatch.setattr(os, "fsync", failing(number, 99, os.fsync))
    with pytest.raises(OutputError, match=os.strerror(number)):
        append_synced(tmp_path / "a.txt", b"x") if appended else write_text(tmp_path / "a.txt", "x")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("code", ["EBUSY", "ETXTBSY", "ESTALE", "EACCES"])
def test_a_name_that_somebody_reads_is_taken_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    path, number = tmp_path / "a.txt", getattr(errno, code)
    path.write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", failing(number, 2, Path.replace))
        write_text(path, "new")
    assert path.read_text() == "new"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", failing(number, 3, Path.replace))
        with pytest.raises(OutputError, match=os.strerror(number)):
            write_text(path, "newer")
    assert path.read_text() == "new"
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.skipif(os.name == "nt", reason="nothing that is open can be removed there")
def test_what_a_share_removed_under_a_reader_is_not_lost_with_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux' SMB client: the old file has no links, its name stays until the reader is done."""
    path, status, replace = tmp_path / "last.ckpt", os.stat, Path.replace
    path.write_text("old")

    def refused(old: Path, new: Path) -> Path:
        if new == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return replace(old, new)

    def unlinked(which: Path, **named: Any) -> os.stat_result:
        found = list(status(which, **named))
        found[stat.ST_NLINK] -= which == path
        return os.stat_result(found)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(OutputError, match=r"Permission denied.* no other program"):
        write_text(path, "new")
    assert [found.name for found in tmp_path.iterdir()] == ["last.ckpt"]
    monkeypatch.setattr(Path, "stat", unlinked)
    for text in ("new", "newer"):
        with pytest.raises(OutputError, match=r"removes the old one .* use last\.new\.ckpt \("):
            write_text(path, text)
    with pytest.raises(OutputError, match="No space left"):
        half_written(path)
    assert (tmp_path / "last.new.ckpt").read_text() == "newer"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["last.ckpt", "last.new.ckpt"]


def half_written(path: Path) -> None:
    with written_whole(path) as beside:
        beside.write_text("hal")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.usefixtures("impatient")
def test_the_new_file_is_kept_where_the_old_one_vanishes_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replace = tmp_path / "last.ckpt", Path.replace
    path.write_text("old")

    def refused(old: Path, new: Path) -> Path:
        if new == path:
            path.unlink(missing_ok=True)  # its reader has ended
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return replace(old, new)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(OutputError, match=r"use last\.new\.ckpt"):
        write_text(path, "new")
    assert [found.name for found in tmp_path.iterdir()] == ["last.new.ckpt"]


@pytest.mark.parametrize("code", ["ENOENT", "EIO", "ENOTCONN", "EHOSTDOWN"])
def test_of_what_went_away_it_is_asked_whether_it_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """What FUSE, SFTP and SMB shares answer that were unmounted or whose server is gone."""
    monkeypatch.setattr(os, "fsync", failing(getattr(errno, code), 1, os.fsync))
    with pytest.raises(OutputError, match=r"share is still there .* same command again"):
        write_text(tmp_path / "a.txt", "new")


def test_an_output_folder_on_a_dead_share_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FUSE share whose process was killed answers every call so."""
    monkeypatch.setattr(os, "stat", failing(errno.ENOTCONN, 99, os.stat))
    with pytest.raises(OutputError, match=r"out cannot be written to .*not connected"):
        output_folder(tmp_path / "out")


@pytest.mark.parametrize(("code", "words"), [("EXDEV", "several devices"), ("EPERM", "rights")])
def test_what_does_not_pass_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    monkeypatch.setattr(Path, "replace", failing(getattr(errno, code), 1, Path.replace))
    with pytest.raises(OutputError, match=words):
        write_text(tmp_path / "a.txt", "new")
    assert not list(tmp_path.iterdir())


def test_a_renaming_whose_answer_was_lost_has_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS sends the call again and hears that there is no such file."""
    path, replace = tmp_path / "a.txt", Path.replace
    path.write_text("old")

    def twice(old: Path, new: Path) -> Path:
        replace(old, new)
        return replace(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", twice)
        write_text(path, "new")
    assert path.read_text() == "new"

    def lost(old: Path, new: Path) -> Path:
        old.unlink()
        return replace(old, new)

    monkeypatch.setattr(Path, "replace", lost)
    with pytest.raises(OutputError, match="No such file"):
        write_text(path, "newer")
    assert path.read_text() == "new"


@pytest.mark.usefixtures("impatient")
def test_a_folder_goes_when_nobody_has_anything_of_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is removed while it is open leaves a `.nfs…` file, so the folder is not empty."""
    folder = tmp_path / "work"
    (folder / "parts").mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", failing(errno.ENOTEMPTY, 2, os.rmdir))
        remove_folder(folder)
    assert not folder.exists()
    remove_folder(folder)
    folder.mkdir()
    monkeypatch.setattr(os, "rmdir", failing(errno.EBUSY, 99, os.rmdir))
    with pytest.raises(OutputError, match=r"work could not be removed .* has it open"):
        remove_folder(folder)


def test_names_that_are_taken_are_found_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("x")
    require_free(tmp_path / "b", tmp_path / "none")
    with pytest.raises(OutputError, match="a is a folder"):
        require_free(tmp_path / "b", tmp_path / "a")


def test_a_link_to_nowhere_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(OutputError, match=r"is a link to .*gone, which does not exist"):
        output_folder(tmp_path / "link")
    (tmp_path / "gone").mkdir()
    assert output_folder(tmp_path / "link") == tmp_path / "link"


@pytest.mark.usefixtures("impatient")
def test_a_folder_that_cannot_be_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers of a container's disk rename no folder of the image (EXDEV)."""
    folder = tmp_path / "bundle"
    for text in ("old", "new"):
        with folder_written_whole(folder) as beside:
            (beside / "a").write_text(text)
    monkeypatch.setattr(Path, "rename", failing(errno.EXDEV, 1, Path.rename))
    with (
        pytest.raises(OutputError, match=r"bundle could not be replaced .* another --out"),
        folder_written_whole(folder) as beside,
    ):
        (beside / "a").write_text("newer")
    assert (folder / "a").read_text() == "new"
    assert [found.name for found in tmp_path.iterdir()] == ["bundle"]
