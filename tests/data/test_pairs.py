"""Folders of pictures and label images."""

from pathlib import Path

import pytest

from slidemask.base.errors import CohortError
from slidemask.data.cohort import PatientTable, pair_folders


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_two_folders_pair_by_stem_whatever_the_suffix(tmp_path: Path) -> None:
    images = touch(tmp_path / "i", "GT12-a.webp", "GTx7-b.TIF", "notes.txt", ".hidden.png")
    labels = touch(tmp_path / "l", "GT12-a.png", "GTx7-b.bmp")
    cases = pair_folders(images, labels, patient_pattern=r"GT\D*(\d+)-", group="g", mpp=0.5)
    found = [(c.slide.name, c.annotations and c.annotations.name, c.patient) for c in cases]
    assert found == [("GT12-a.webp", "GT12-a.png", "12"), ("GTx7-b.TIF", "GTx7-b.bmp", "7")]
    assert {(case.group, case.mpp) for case in cases} == {("g", 0.5)}


@pytest.mark.parametrize("name", ["labels", "masks"])
def test_nested_folders_become_groups(tmp_path: Path, name: str) -> None:
    for group in ("polyp", "normal"):
        touch(tmp_path / group / "images", f"{group}1.png")
        touch(tmp_path / group / name, f"{group}1.png")
    touch(tmp_path / "papers", "a.pdf")
    cases = pair_folders(tmp_path)
    assert [(case.group, case.slide.name, case.patient) for case in cases] == [
        ("normal", "normal1.png", None),
        ("polyp", "polyp1.png", None),
    ]
    (own,) = pair_folders(tmp_path / "polyp")
    assert own.group is None


def test_table_names_patient_and_group(tmp_path: Path) -> None:
    touch(tmp_path / "images", "v1.2.png", "b.png")
    touch(tmp_path / "labels", "v1.2.png", "b.png")
    table = tmp_path / "Grade.csv"
    table.write_text("Name, patient_id, grade\nv1.2,3,benign\nb.png,4,\nother,5,x\n")
    cases = pair_folders(tmp_path, table=PatientTable(table, "name", "patient_id", "grade"))
    assert [(case.patient, case.group) for case in cases] == [("4", None), ("3", "benign")]
    with pytest.raises(CohortError, match=r"no column patient.*patient_id"):
        pair_folders(tmp_path, table=PatientTable(table))


def test_unpaired_files_are_named(tmp_path: Path) -> None:
    touch(tmp_path / "images", "a.png", "b.png")
    touch(tmp_path / "labels", "b.png", "c.png")
    with pytest.raises(CohortError, match=r"1 pictures.*no label image.*: a; 1 label images.*: c"):
        pair_folders(tmp_path)


def test_other_faults_are_errors(tmp_path: Path) -> None:
    images, labels = touch(tmp_path / "i", "a.png"), touch(tmp_path / "l", "a.png")
    with pytest.raises(CohortError, match=r"names no patient for a\.png"):
        pair_folders(images, labels, patient_pattern=r"(\d+)")
    with pytest.raises(CohortError, match="no regular expression"):
        pair_folders(images, labels, patient_pattern="(")
    with pytest.raises(CohortError, match="one of the two"):
        pair_folders(images, labels, patient_pattern=".", table=PatientTable(Path("t.csv")))
    with pytest.raises(CohortError, match="images"):
        pair_folders(tmp_path)
    with pytest.raises(CohortError, match="not a folder"):
        pair_folders(tmp_path / "none")
    touch(images, "a.tif")
    with pytest.raises(CohortError, match="which one"):
        pair_folders(images, labels)
    with pytest.raises(CohortError, match="holds no picture"):
        pair_folders(touch(tmp_path / "empty"), labels)


def test_real_folders_pair(shared_data: Path) -> None:
    ebhi = pair_folders(shared_data / "ebhi_seg", patient_pattern=r"(\d+)")
    assert len(ebhi) == 233
    assert len({case.group for case in ebhi}) == 6
    grades = PatientTable(shared_data / "glas" / "Grade.csv", "name", "patient_id", "grade_glas")
    glas = pair_folders(shared_data / "glas", table=grades, mpp=0.62005)
    assert len(glas) == 85
    assert {case.group for case in glas} == {"benign", "malignant"}
