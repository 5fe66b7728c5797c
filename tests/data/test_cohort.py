"""Cohort manifests and folders of pairs."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.errors import CohortError
from slidemask.data.cohort import (
    Case,
    one_slide_one_patient,
    read_cohort,
    require_patients,
    write_cohort,
)


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "sub").mkdir(exist_ok=True)
    for name in ("a.svs", "b.svs", "a.geojson"):
        (folder / name).touch()
    path = folder / "cohort.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_dialect_reads_alike(
    tmp_path: Path, encoding: str, separator: str, newline: str
) -> None:
    lines = [
        ["slide", "annotations", "patient", "split", "mpp", "group", "complete"],
        ["a.svs", "a.geojson", "Müller", "val", "0.25", "", "yes"],
        ["", "", "", "", "", "", ""],
        ["b.svs", "", "", "", "", "x", "No"],
    ]
    text = newline.join(separator.join(line) for line in lines) + newline
    assert read_cohort(written(tmp_path, text, encoding)) == (
        Case(tmp_path / "a.svs", tmp_path / "a.geojson", "Müller", "validation", 0.25, None, True),
        Case(tmp_path / "b.svs", group="x", complete=False),
    )


def test_decimal_comma(tmp_path: Path) -> None:
    assert read_cohort(written(tmp_path, "slide;mpp\na.svs;0,5\n"))[0].mpp == 0.5


def test_slide_alone_is_enough(tmp_path: Path) -> None:
    assert read_cohort(written(tmp_path, "Slide\na.svs\n")) == (Case(tmp_path / "a.svs"),)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["empty", "columns"]),
        ("slide,patient\n", ["empty", "no row"]),
        ("slide,pateint\na.svs,1\n", ["line 1", "column 2", "'pateint'", "'patient'"]),
        ("patient\n1\n", ["'slide'"]),
        ("slide,slide\na.svs,b.svs\n", ["twice"]),
        ("slide,mpp\na.svs,0.25\nb.svs,40x\n", ["line 3", "column mpp", "'40x'"]),
        ("slide,mpp\na.svs,nan\n", ["line 2", "column mpp"]),
        ("slide,mpp\na.svs,-1\n", ["line 2", "column mpp"]),
        ("slide,split\na.svs,holdout\n", ["line 2", "column split", "'holdout'", "validation"]),
        ("slide,complete\na.svs,maybe\n", ["line 2", "column complete", "yes"]),
        ("slide\na.svs\nsub/../a.svs\n", ["line 3", "line 2", "a.svs"]),
        ("slide,patient\n,1\n", ["line 2", "column slide"]),
        ("slide,patient\na.svs,1,2\n", ["line 2", "3 cells"]),
        ("slide,annotations\na.svs,x.json\nc.svs,\n", ["2 files", "line 2", "line 3", "x.json"]),
    ],
)
def test_bad_manifests_say_where(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(CohortError) as error:
        read_cohort(written(tmp_path, text))
    for part in parts:
        assert part in str(error.value)


def test_missing_files_are_listed_up_to_ten(tmp_path: Path) -> None:
    rows = "".join(f"missing{n}.svs\n" for n in range(13))
    with pytest.raises(CohortError, match=r"13 files.*missing9\.svs and 3 more"):
        read_cohort(written(tmp_path, "slide\n" + rows))


def test_other_encodings_and_absent_manifests(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="UTF-8"):
        read_cohort(written(tmp_path, "slide,patient\na.svs,Müller\n", "latin-1"))
    with pytest.raises(CohortError, match=r"none\.csv"):
        read_cohort(tmp_path / "none.csv")


words = st.none() | st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(
        st.builds(
            Case,
            slide=st.just(Path()),
            patient=words,
            split=st.sampled_from([None, "train", "validation", "test"]),
            mpp=st.none() | st.floats(1e-3, 1e3),
            group=words,
            complete=st.sampled_from([None, True, False]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_written_and_read_again_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Case]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    (folder / "lists").mkdir()
    cases = []
    for number, row in enumerate(rows):  # above the list, beside it, below it
        home = [folder, folder / "lists", folder / "lists" / "ä; b"][number % 3]
        home.mkdir(exist_ok=True)
        (home / f"{number}.png").touch()
        cases.append(replace(row, slide=home / f"{number}.png"))
    write_cohort(folder / "lists" / "cohort.csv", cases)
    again = read_cohort(folder / "lists" / "cohort.csv")
    for before, after in zip(cases, again, strict=True):
        assert before.slide.resolve() == after.slide.resolve()
        assert not after.slide.relative_to(folder / "lists").is_absolute()
        for field in fields(Case)[1:]:
            assert getattr(before, field.name) == getattr(after, field.name)


def test_patients_are_required_and_can_be_stated() -> None:
    cases = (Case(Path("a.png"), patient="1"), Case(Path("b.png")), Case(Path("c/b.png")))
    with pytest.raises(CohortError, match=r"2 of 3 cases.*--one-slide-one-patient"):
        require_patients(cases)
    stated = one_slide_one_patient(cases)
    require_patients(stated)
    assert [case.patient for case in stated] == ["1", "b.png", "c/b.png"]
