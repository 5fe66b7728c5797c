"""Files are whole or not there, and what stood there before stays."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from slidemask.base import files
from slidemask.base.errors import OutputError
from slidemask.base.files import output_folder, sha256, write_json, write_text, written_whole


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


@pytest.mark.parametrize("code", ["EINVAL", "ENOTSUP"])
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
