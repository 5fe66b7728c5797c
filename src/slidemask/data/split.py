"""Train, validation and test parts that share no patient and no file."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from slidemask.base.errors import CohortError, LeakError
from slidemask.base.files import sha256
from slidemask.base.settings import Settings
from slidemask.data.case import PARTS, Case, require_patients
from slidemask.data.table import listed

log = logging.getLogger(__name__)

Parts = dict[str, tuple[Case, ...]]


class Split(Settings):
    """Shares of the cases in each part, and the seed of the draw.

    Parameters
    ----------
    train, validation, test : float
        Shares, which add up to 1.
    seed : int
        Another seed, another split.
    """

    train: float = Field(default=0.7, ge=0, le=1)
    validation: float = Field(default=0.15, ge=0, le=1)
    test: float = Field(default=0.15, ge=0, le=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _whole(self) -> "Split":
        if abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"train, validation and test must add up to 1, got {self.shares}")
        return self

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares in the order of `PARTS`."""
        return self.train, self.validation, self.test


def split_cases(cases: Sequence[Case], split: Split | None = None) -> Parts:
    """Return the parts 'train', 'validation' and 'test', patients kept together.

    Where the cohort states a split, that one is kept. Otherwise the largest patients are dealt
    first, each to the part that then stands nearest to its share, of all cases and of each
    group; the order of the rows does not matter.

    Raises
    ------
    CohortError
        If a patient is missing, some rows state a split and others do not, or there are fewer
        patients than parts.
    LeakError
        If a patient or a file's content stands in two parts.
    """
    require_patients(cases)
    stated = [case for case in cases if case.split is not None]
    if stated and len(stated) < len(cases):
        silent = [case.slide.name for case in cases if case.split is None]
        raise CohortError(
            f"{len(stated)} cases state a split and {len(silent)} do not ({listed(silent)}). "
            "Fill the cohort's `split` column for all of them, or for none."
        )
    split = split or Split()
    if stated:
        chosen = [case.split for case in cases]
    else:
        names = [name for name, share in zip(PARTS, split.shares, strict=True) if share > 0]
        shares = np.array([share for share in split.shares if share > 0])
        chosen = [names[part] for part in _deal(cases, shares, split.seed)]
    parts = {
        name: tuple(case for case, part in zip(cases, chosen, strict=True) if part == name)
        for name in PARTS
    }
    check_leaks(parts)
    log.info("split: %s", {name: _counts(part) for name, part in parts.items()})
    return parts


def folds(cases: Sequence[Case], k: int, seed: int = 0) -> tuple[Parts, ...]:
    """Return k pairs of 'train' and 'validation'; every patient is in one validation part.

    Raises
    ------
    CohortError
        If a patient is missing, k is below 2, or there are fewer patients than folds.
    LeakError
        If a file's content stands in two folds.
    """
    require_patients(cases)
    if k < 2:
        raise CohortError(f"{k} folds were asked for; at least 2 are needed.")
    fold = _deal(cases, np.full(k, 1 / k), seed)
    check_leaks(
        {
            f"fold {number + 1}": [
                case for case, own in zip(cases, fold, strict=True) if own == number
            ]
            for number in range(k)
        }
    )
    return tuple(
        {
            "train": tuple(case for case, own in zip(cases, fold, strict=True) if own != number),
            "validation": tuple(
                case for case, own in zip(cases, fold, strict=True) if own == number
            ),
        }
        for number in range(k)
    )


def check_leaks(parts: Mapping[str, Sequence[Case]]) -> None:
    """Make sure that no patient and no file content stands in two parts.

    Only files of equal size are read, by SHA-256; cases without a patient are checked by
    content alone.

    Raises
    ------
    LeakError
        Naming patients or files, and both parts.
    """
    for (one, first), (other, second) in combinations(parts.items(), 2):
        both = {case.patient for case in first} & {case.patient for case in second} - {None}
        if both:
            names = sorted(str(patient) for patient in both)
            raise LeakError(
                f"Patients of {one} also stand in {other}: {listed(names)}. "
                "A patient's slides belong to one part."
            )
    _check_contents(parts)


def _check_contents(parts: Mapping[str, Sequence[Case]]) -> None:
    by_size: dict[int, list[tuple[str, Case]]] = defaultdict(list)
    for name, part in parts.items():
        for case in part:
            by_size[case.slide.stat().st_size].append((name, case))
    for alike in by_size.values():
        if len({name for name, _ in alike}) < 2:
            continue
        seen: dict[str, tuple[str, Case]] = {}
        for name, case in alike:
            before, twin = seen.setdefault(sha256(case.slide), (name, case))
            if before != name:
                raise LeakError(
                    f"{twin.slide} of {before} and {case.slide} of {name} are the same file, "
                    f"said to be of patients {twin.patient} and {case.patient}. "
                    "Remove one, or give both the same patient."
                )


@dataclass(frozen=True)
class _Patients:
    """Patients and how many of their cases belong to which group."""

    owner: NDArray[np.int64]  # per case, index of its patient
    counts: NDArray[np.int64]  # (patients, 1 + groups), all cases first


def _deal(cases: Sequence[Case], shares: NDArray[np.float64], seed: int) -> list[int]:
    """Return the part of each case; every part gets a patient.

    The cost of a state is the sum over all cases and over each group of (count - wanted)^2 /
    wanted, as in Pearson's chi-squared.
    """
    patients = _patients(cases)
    number = len(patients.counts)
    if number < len(shares):
        raise CohortError(
            f"{number} patients cannot fill {len(shares)} parts; "
            "give more patients, or set a part's share to 0."
        )
    wanted = shares[:, None] * patients.counts.sum(axis=0)
    filled = np.zeros_like(wanted)
    part_of = np.zeros(number, np.int64)
    # Roughly by size: strictly so, the seed would change nothing where all sizes differ.
    luck = np.random.default_rng(seed).uniform(0.5, 1, number)
    for place, patient in enumerate(np.argsort(-luck * patients.counts[:, 0])):
        count = patients.counts[patient]
        growth = ((2 * (filled - wanted) + count) * count / wanted).sum(axis=1)
        empty = filled[:, 0] == 0
        if empty.sum() >= number - place:  # the last patients go where nobody is yet
            growth[~empty] = np.inf
        part_of[patient] = int(np.argmin(growth))
        filled[part_of[patient]] += count
    return part_of[patients.owner].tolist()


def _patients(cases: Sequence[Case]) -> _Patients:
    people, owner = np.unique([str(case.patient) for case in cases], return_inverse=True)
    groups, group = np.unique([case.group or "" for case in cases], return_inverse=True)
    counts = np.zeros((len(people), 1 + len(groups)), np.int64)
    counts[:, 0] = np.bincount(owner)
    np.add.at(counts[:, 1:], (owner, group), 1)
    return _Patients(owner, counts)


def _counts(part: Sequence[Case]) -> str:
    return f"{len(part)} cases of {len({case.patient for case in part})} patients"
