"""What is on disk when: a band, its line in the journal, the names of both."""

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


@pytest.mark.parametrize("damaged", ['{"job": ', "", "[1]", "1"])
def test_a_damaged_job_is_named(tmp_path: Path, damaged: str) -> None:
    BandStore(tmp_path, {"job": 1}, SHAPE)
    (tmp_path / "job.json").write_text(damaged)
    with pytest.raises(OutputError, match=r"job\.json is damaged .*--overwrite"):
        BandStore(tmp_path, {"job": 1}, SHAPE)
