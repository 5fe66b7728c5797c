"""Parts that share no patient and no file."""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from slidemask.base.errors import CohortError, LeakError
from slidemask.data.case import PARTS, Case
from slidemask.data.split import Split, check_leaks, folds, split_cases

MANY = 40


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Different files, in pairs of equal size."""
    folder = tmp_path_factory.mktemp("slides")
    paths = [folder / f"{number:02}.png" for number in range(MANY)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number] * (1 + number // 2)))
    return paths


def cohort(slides: list[Path], people: list[tuple[int, str]]) -> list[Case]:
    return [
        Case(path, patient=f"p{person}", group=group or None)
        for path, (person, group) in zip(slides, people, strict=False)
    ]


people = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["", "a", "b"])), min_size=3, max_size=MANY
)


@settings(deadline=None, max_examples=150)
@given(people=people, seed=st.integers(0, 5), shares=st.sampled_from([(6, 2, 2), (8, 2, 0)]))
def test_no_patient_stands_on_two_sides(
    slides: list[Path], people: list[tuple[int, str]], seed: int, shares: tuple[int, int, int]
) -> None:
    wanted = sum(share > 0 for share in shares)
    assume(len({person for person, _ in people}) >= wanted)
    cases = cohort(slides, people)
    train, validation, test = (share / 10 for share in shares)
    split = Split(train=train, validation=validation, test=test, seed=seed)
    parts = split_cases(cases, split)
    assert tuple(parts) == PARTS
    assert Counter(case for part in parts.values() for case in part) == Counter(cases)
    sides = defaultdict(set)
    for name, part in parts.items():
        for case in part:
            sides[case.patient].add(name)
    assert all(len(names) == 1 for names in sides.values())
    assert sum(bool(part) for part in parts.values()) == wanted
    shuffled = [cases[n] for n in np.random.default_rng(seed).permutation(len(cases))]
    again = split_cases(shuffled, split)
    assert all(set(again[name]) == set(parts[name]) for name in PARTS)


def test_shares_and_groups_are_met_where_patients_allow(slides: list[Path]) -> None:
    cases = cohort(slides, [(number, "ab"[number % 4 == 0]) for number in range(MANY)])
    for seed in range(5):
        parts = split_cases(cases, Split(train=0.5, validation=0.25, test=0.25, seed=seed))
        counts = {name: Counter(case.group for case in part) for name, part in parts.items()}
        assert counts == {
            "train": {"a": 15, "b": 5},
            "validation": pytest.approx({"a": 7.5, "b": 2.5}, abs=0.5),
            "test": pytest.approx({"a": 7.5, "b": 2.5}, abs=0.5),
        }


def test_shares_are_of_cases_not_of_patients(slides: list[Path]) -> None:
    cases = cohort(slides, [(max(0, number - 19), "") for number in range(MANY)])  # 20 + 20 x 1
    for seed in range(10):
        parts = split_cases(cases, Split(train=0.5, validation=0.3, test=0.2, seed=seed))
        assert [len(parts[name]) for name in PARTS] == [20, 12, 8]


def test_another_seed_is_another_split(slides: list[Path]) -> None:
    cases = cohort(slides, [(int(number**0.7), "") for number in range(MANY)])
    found = {split_cases(cases, Split(seed=seed))["test"] for seed in range(8)}
    assert len(found) > 3
    assert split_cases(cases, Split(seed=3)) == split_cases(cases, Split(seed=3))


def test_stated_split_is_kept_and_checked(slides: list[Path]) -> None:
    cases = [
        replace(case, split=PARTS[number % 3])
        for number, case in enumerate(cohort(slides, [(n, "") for n in range(9)]))
    ]
    parts = split_cases(cases, Split(train=1, validation=0, test=0))
    assert parts == {name: tuple(cases[n::3]) for n, name in enumerate(PARTS)}
    leaky = [*cases[:8], replace(cases[8], patient="p0")]
    with pytest.raises(LeakError, match="Patients of train also stand in test: p0"):
        split_cases(leaky)
    with pytest.raises(CohortError, match=r"8 cases state a split and 1 do not \(08\.png\)"):
        split_cases([*cases[:8], replace(cases[8], split=None)])


def test_same_content_on_two_sides_is_a_leak(tmp_path: Path, slides: list[Path]) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(slides[5].read_bytes())
    parts = {"train": [Case(slides[5], patient="1")], "test": [Case(copy, patient="2")]}
    with pytest.raises(LeakError, match=r"05\.png of train and .*copy\.png of test are the same"):
        check_leaks(parts)
    check_leaks({"train": [*parts["train"], *parts["test"]]})
    check_leaks({"train": [Case(slides[4])], "test": [Case(slides[5])]})  # equal size, other bytes
    alone = cohort(slides, [(n, "") for n in range(8)])
    with pytest.raises(LeakError, match="Remove one, or give both the same patient"):
        folds([alone[5], Case(copy, patient="other")], 2)


def test_too_few_patients_and_no_patients(slides: list[Path]) -> None:
    with pytest.raises(CohortError, match="2 patients cannot fill 3 parts"):
        split_cases(cohort(slides, [(0, ""), (1, ""), (1, "")]))
    with pytest.raises(CohortError, match="--one-slide-one-patient"):
        split_cases([Case(path) for path in slides])
    with pytest.raises(ValidationError, match="add up to 1"):
        Split(train=0.9)


@settings(deadline=None, max_examples=50)
@given(people=people, k=st.integers(2, 5))
def test_folds_validate_every_patient_once(
    slides: list[Path], people: list[tuple[int, str]], k: int
) -> None:
    cases = cohort(slides, people)
    assume(len({case.patient for case in cases}) >= k)
    made = folds(cases, k, seed=1)
    assert len(made) == k
    assert Counter(case for fold in made for case in fold["validation"]) == Counter(cases)
    for fold in made:
        assert fold["validation"]
        assert set(fold["train"]) == set(cases) - set(fold["validation"])
        assert not {c.patient for c in fold["train"]} & {c.patient for c in fold["validation"]}


def test_one_fold_is_an_error(slides: list[Path]) -> None:
    with pytest.raises(CohortError, match="at least 2"):
        folds(cohort(slides, [(0, "")]), 1)
