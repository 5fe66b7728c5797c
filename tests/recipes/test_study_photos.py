"""The study of photos: cases from a cohort, what is kept and taken up again, tables, report."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import Polygon

from drawn import save_pink_bundle, write_drawn
from pages import Page, needs_nothing
from slidemask.base.errors import CohortError, OutputError, SettingsError
from slidemask.data.cohort import read_cohort, write_cohort
from slidemask.recipes.photo import store
from slidemask.recipes.photo.cases import PhotoCase, read_photo_cases
from slidemask.recipes.photo.scoring import PhotoJob, PhotoStudy, jobs_of, score_model, study_photos
from slidemask.recipes.study.photos import gaps_of, lines_of, write_photo_study

SIZES = ((400, 300), (300, 400), (420, 320))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    path = write_drawn(folder, SIZES, slides=2)
    notes = [_note(case) for case in read_photo_cases(path)[0]]
    told = {"note": "SYNTHETIC: drawn.", "photos": notes}
    (folder / "photos.json").write_text(json.dumps(told), encoding="utf-8")
    return path


def _note(case: PhotoCase) -> dict[str, object]:
    number = int(case.photo.stem)
    corners = [np.asarray(shape.polygon.exterior.coords)[:4].tolist() for shape in case.true]
    return {
        "photo": case.photo.name, "width": SIZES[number][0], "height": SIZES[number][1],
        "kind": "desk" if number else "page",
        "slides": [
            {"corners": four, "stain": stain, "touching": False, "cut": False}
            for four, stain in zip(corners, ("H&E", "PAS"), strict=True)
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    good = save_pink_bundle(folder / "good")
    blind = save_pink_bundle(folder / "blind", least=2.0)
    return [str(good), str(blind)]


def job(model: str, out: Path) -> PhotoJob:
    return PhotoJob("good", model, out / "good", "cpu")


def test_drawn_slides_are_found_where_they_are(
    cohort: Path, models: list[str], tmp_path: Path
) -> None:
    cases, note = read_photo_cases(cohort)
    assert note == "SYNTHETIC: drawn."
    steps = list(study_photos(_jobs(models, tmp_path), cases))
    study = steps[-1][1]
    assert not study.failures
    good, blind = ({line.group: line for line in lines_of(row)} for row in study.rows)
    whole = good["all photos"]
    assert (whole.photos, whole.slides, whole.patients) == (3, 6, 3)
    assert whole.cells["iou"].value > 0.97
    assert whole.cells["corner error"].value < 0.01
    assert whole.cells["false finds"].value == 0
    assert blind["all photos"].cells["missed"].value == 1
    assert blind["all photos"].cells["iou"].text == "0.000"
    assert set(good) == {"all photos", "scene: desk", "scene: page", "stain: H&E", "stain: PAS"}
    assert (good["scene: desk"].photos, good["stain: PAS"].slides) == (2, 3)
    assert good["stain: PAS"].cells["false finds"].text == "–"
    (gap,) = gaps_of(study.rows)
    assert gap.label == "blind less good"
    assert gap.cells["missed"].text == "+100.0 %"
    assert gap.cells["iou"].value == pytest.approx(-whole.cells["iou"].value)


def _jobs(models: list[str], out: Path) -> list[PhotoJob]:
    return jobs_of(models, out, device="cpu", changes=(), overwrite=False)


def test_everything_is_written_and_the_page_needs_nothing(
    cohort: Path, models: list[str], tmp_path: Path
) -> None:
    study = PhotoStudy()
    for _, study in study_photos(_jobs(models, tmp_path), read_photo_cases(cohort)[0]):
        write_photo_study(tmp_path, study, {"cohort": "drawn <b>"}, pictures=2)
    table = lines_in(tmp_path / "study.csv")
    assert [row["model"] for row in table if row["group"] == "all photos"] == ["good", "blind"]
    assert float(table[0]["iou low"]) <= float(table[0]["iou"]) <= float(table[0]["iou high"])
    slides = lines_in(tmp_path / "slides.csv")
    assert len(slides) == 12
    assert {row["state"] for row in slides if row["model"] == "blind"} == {"missed"}
    plain = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert {row["label"] for row in plain["models"]} == {"good", "blind"}
    needs_nothing(tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert "drawn <b>" in page.text
    assert len(page.pictures) == 2 + 1 + 2 + 1, "two worst and one best of each"
    assert len(list((tmp_path / "pictures").glob("*.jpg"))) == 6


def lines_in(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_what_was_found_is_not_searched_again(
    cohort: Path, models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, _ = read_photo_cases(cohort)
    first, _ = score_model(job(models[0], tmp_path), cases[:2])
    searched: list[str] = []
    plain = store.search

    def counted(photo: Path, *rest: object) -> store.FoundIn:
        searched.append(photo.name)
        return plain(photo, *rest)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(store, "search", counted)
    second, _ = score_model(job(models[0], tmp_path), cases)
    assert searched == [cases[2].photo.name]
    for before, after in zip(first.scores, second.scores[:2], strict=True):
        assert [fate.iou for fate in after.slides] == pytest.approx(
            [fate.iou for fate in before.slides], abs=1e-4
        ), "kept to a thousandth of a pixel"
    cases[0].photo.touch()
    score_model(job(models[0], tmp_path), cases)
    assert searched[1:] == [cases[0].photo.name], "a photo that changed is searched again"


def test_another_model_does_not_mix_with_what_is_there(
    cohort: Path, models: list[str], tmp_path: Path
) -> None:
    cases, _ = read_photo_cases(cohort)
    score_model(job(models[0], tmp_path), cases[:1])
    other = replace(job(models[1], tmp_path), label="other")
    with pytest.raises(OutputError, match=r"another model.*--overwrite"):
        score_model(other, cases[:1])
    changed = replace(job(models[0], tmp_path), changes=("photo.min_confidence=0.9",))
    with pytest.raises(OutputError, match="other settings"):
        score_model(changed, cases[:1])
    row, _ = score_model(replace(other, overwrite=True), cases[:1])
    assert row.scores[0].slides[0].state == "missed"
    (tmp_path / "good" / "found.json").write_text("{", encoding="utf-8")
    with pytest.raises(OutputError, match="damaged"):
        score_model(other, cases[:1])


def test_a_photo_that_cannot_be_read_is_told_and_the_rest_goes_on(
    cohort: Path, models: list[str], tmp_path: Path
) -> None:
    cases, _ = read_photo_cases(cohort)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    ((_, study),) = study_photos(
        [job(models[0], tmp_path)], [replace(cases[0], photo=broken), *cases[1:]]
    )
    assert list(study.failures) == ["good: broken.jpg"]
    assert len(study.rows[0].scores) == 2
    ((said, study),) = study_photos([job("nowhere", tmp_path)], cases)
    assert re.match(r"good: FAILED: Model 'nowhere' does not exist", said)
    assert not study.rows


def test_corners_outside_the_photo_are_not_asked_for(cohort: Path, tmp_path: Path) -> None:
    told = json.loads((cohort.parent / "photos.json").read_text(encoding="utf-8"))
    told["photos"][0]["slides"][0]["corners"][0] = [-30, 20]
    copy = tmp_path / "cohort.csv"
    write_cohort(copy, read_cohort(cohort))
    (tmp_path / "photos.json").write_text(json.dumps(told), encoding="utf-8")
    first = read_photo_cases(copy)[0][0]
    assert [shape.corners is None for shape in first.true] == [True, False]


def test_without_notes_the_corners_are_those_of_quadrilaterals(
    cohort: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "cohort.csv"
    write_cohort(copy, read_cohort(cohort))
    cases, note = read_photo_cases(copy)
    assert note == ""
    for case in cases:
        for shape in case.true:
            assert shape.corners is not None
            assert Polygon(shape.corners).equals(shape.polygon)


def test_photos_say_whether_they_hold_slides(cohort: Path, tmp_path: Path) -> None:
    case = replace(read_cohort(cohort)[0], annotations=None)
    copy = tmp_path / "cohort.csv"
    write_cohort(copy, [case])
    with pytest.raises(CohortError, match=r"no outlines.*`complete`"):
        read_photo_cases(copy)
    write_cohort(copy, [replace(case, complete=True)])
    assert read_photo_cases(copy)[0][0].true == ()
    with pytest.raises(CohortError, match="no photo of the test part"):
        read_photo_cases(copy, "test")
    (tmp_path / "photos.json").write_text("[]", encoding="utf-8")
    with pytest.raises(CohortError, match=r"photos\.json is not what `slidemask compose` writes"):
        read_photo_cases(copy)


def test_models_are_named_once_and_apart() -> None:
    out = Path("out")
    jobs = jobs_of(["a/run", "b/run", "c/m.zip"], out, device="cpu", changes=(), overwrite=False)
    assert [one.label for one in jobs] == ["a/run", "b/run", "m"]
    assert jobs[0].folder == out / "a-run"
    with pytest.raises(SettingsError, match="given twice"):
        jobs_of(["a", "a"], out, device="cpu", changes=(), overwrite=False)
