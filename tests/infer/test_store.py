"""What is on disk when: a band, its line in the journal, the names of both."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from slidemask.base.errors import OutputError
from slidemask.infer.store import BandStore

SHAPE = (1, 30, 20)


def band(value: int) -> np.ndarray:
    return np.full((1, 10, 20), value, np.uint8)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc to tell files apart")
def test_data_come_before_the_journal_and_names_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, int]] = []
    fsync = os.fsync

    def flush(descriptor: int) -> None:
        file = Path(f"/proc/self/fd/{descriptor}").readlink()
        journal = tmp_path / "work" / "journal.jsonl"
        flushed.append((file.name, journal.stat().st_size if journal.exists() else -1))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    store = BandStore(tmp_path / "work", {"job": 1}, SHAPE)
    made = [name for name, _ in flushed]
    assert made[0] == tmp_path.name  # where the new folder's name is
    assert made[-1] == "work"
    assert flushed[-1][1] == 0  # with both files in it, before the first band
    flushed.clear()
    store.append(band(1))
    store.append(band(2))
    assert [name for name, _ in flushed] == ["bands.bin", "journal.jsonl"] * 2
    sizes = [size for _, size in flushed]
    assert sizes[0] == 0, "the journal named a band that was not yet on disk"
    assert sizes[1] == sizes[2] < sizes[3]


def test_a_band_that_the_journal_does_not_name_is_cut_off(tmp_path: Path) -> None:
    store = BandStore(tmp_path, {"job": 1}, SHAPE)
    store.append(band(1))
    length = (tmp_path / "bands.bin").stat().st_size
    with (tmp_path / "bands.bin").open("ab") as file:
        file.write(b"half a band")
    again = BandStore(tmp_path, {"job": 1}, SHAPE)
    assert again.rows == 10
    assert (tmp_path / "bands.bin").stat().st_size == length


def test_on_a_share_that_cuts_off_only_what_is_open_a_store_begins_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A WebDAV folder that rclone has mounted answers EIO where a file is named by its path."""

    def refused(path: Path | int, length: int) -> None:
        if not isinstance(path, int):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.ftruncate(path, length)

    monkeypatch.setattr(os, "truncate", refused)
    BandStore(tmp_path, {"job": 1}, SHAPE).append(band(1))
    assert BandStore(tmp_path, {"job": 1}, SHAPE).rows == 10


def test_what_another_machine_wrote_between_is_no_result(tmp_path: Path) -> None:
    """Over SFTP both hold the lock and append; the same command goes on behind what is sound."""
    one = BandStore(tmp_path, {"job": 1}, SHAPE)
    other = BandStore(tmp_path, {"job": 1}, SHAPE)
    one.append(band(1))
    other.append(band(1))
    one.append(band(2))
    with pytest.raises(OutputError, match=r"bands\.bin is not as it was written: another machine"):
        list(one.bands())
    again = BandStore(tmp_path, {"job": 1}, SHAPE)
    assert [int(values[0, 0, 0]) for _, values in again.bands()] == [1]


@pytest.mark.parametrize("damaged", ['{"job": ', "", "[1]", "1"])
def test_a_damaged_job_is_named(tmp_path: Path, damaged: str) -> None:
    BandStore(tmp_path, {"job": 1}, SHAPE)
    (tmp_path / "job.json").write_text(damaged)
    with pytest.raises(OutputError, match=r"job\.json is damaged .*--overwrite"):
        BandStore(tmp_path, {"job": 1}, SHAPE)


def test_only_columns_that_hold_something_are_stored(tmp_path: Path) -> None:
    """Bands come back as they were, empty ones without a byte; journals of before are read."""
    rng = np.random.default_rng(0)
    sparse = np.zeros((3, 2, 10, 500), np.uint8)
    sparse[0, :, :, 100:120] = rng.integers(0, 256, (2, 10, 20))
    sparse[0, 1, 3, 400] = 7
    sparse[2] = rng.integers(0, 256, (2, 10, 500))
    store = BandStore(tmp_path, {"job": 1}, (2, 30, 500))
    for one in sparse:
        store.append(one)
    assert store.entries[1].length == 0
    assert store.entries[0].columns == [[100, 120], [400, 401]]
    journal = tmp_path / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert lines[2].pop("columns") == [[0, 500]]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = BandStore(tmp_path, {"job": 1}, (2, 30, 500))
    assert again.complete
    np.testing.assert_array_equal([one for _, one in again.bands()], sparse)
