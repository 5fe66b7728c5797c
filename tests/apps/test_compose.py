"""`slidemask compose` makes photos, and refuses what it cannot."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from slidemask.data.cohort import read_cohort

Command = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "pictures", np.random.default_rng(1)
    folder.mkdir()
    for name in ("p1_a", "p1_b", "p2_a"):
        cv2.imwrite(str(folder / f"{name}.png"), rng.integers(60, 255, (90, 120, 3), np.uint8))
    return folder


def test_composes_from_the_users_pictures(
    slidemask: Command, pictures: Path, tmp_path: Path
) -> None:
    options = ("--slides", pictures, "--phantoms", 0, "--longest", 256, "--set", "kinds={close=1}")
    pattern = ("--patient-pattern", "^(p[0-9]+)_")
    code, out, err = slidemask("compose", "--out", tmp_path / "made", "-n", 3, *options, *pattern)
    assert (code, err) == (0, "")
    cohort = read_cohort(Path(out.strip()))
    assert len(cohort) == 3
    assert {case.group for case in cohort} == {"close"}
    assert {case.patient for case in cohort} <= {"sources-00", "sources-01"}
    code, _, err = slidemask("compose", "--out", tmp_path / "made", *options)
    assert code == 2
    assert "--overwrite" in err


def test_wrong_wishes_are_explained(slidemask: Command, pictures: Path, tmp_path: Path) -> None:
    where = ("--out", tmp_path / "made", "--slides", pictures)
    code, _, err = slidemask("compose", *where, "--set", "touchin=0.5")
    assert code == 2
    assert "did you mean 'touching'?" in err
    code, _, err = slidemask("compose", *where, "--set", "kinds={book=1}")
    assert code == 2
    assert "there are page, prints" in err
    assert not (tmp_path / "made").exists()
