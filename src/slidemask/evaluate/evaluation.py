"""Scores of many slides in one place."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import SettingsError
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.figures import ALL_CLASSES, ALL_FOREGROUND, LEVELS, Figure, pool
from slidemask.evaluate.histogram import Histogram
from slidemask.evaluate.levels import (
    object_level,
    pixel_levels,
    probability_levels,
    tile_levels,
)
from slidemask.evaluate.measures import Level, Measured, measured
from slidemask.evaluate.objects import ObjectCounts
from slidemask.evaluate.tilecounts import TileCounts


@dataclass(frozen=True, eq=False)
class SlideScore:
    """What was counted on one slide.

    Parameters
    ----------
    slide : str
        The slide's name.
    confusion : Confusion
        Pixels of known truth.
    patient, group : str, optional
        As in the cohort.
    picture : Path, optional
        A picture of the errors, shown in the report.
    tiles : TileCounts, optional
        Pixels of each tile.
    objects : mapping of class name to ObjectCounts
        Whole objects, of the classes that were counted so.
    histogram : Histogram, optional
        Pixels by probability.
    """

    slide: str
    confusion: Confusion
    patient: str | None = None
    group: str | None = None
    picture: Path | None = None
    tiles: TileCounts | None = None
    objects: Mapping[str, ObjectCounts] = field(default_factory=dict)
    histogram: Histogram | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of a model on a cohort.

    Parameters
    ----------
    names : tuple of str
        Class names by index, background first.
    slides : tuple of SlideScore
    about : mapping
        What was evaluated, on what, where truth and prediction met: shown as it is.

    Raises
    ------
    SettingsError
        If two slides carry the same name (one would hide the other), or a slide's counts are of
        other classes.

    Examples
    --------
    >>> found, missed = Confusion(np.array([[5, 0], [0, 5]])), Confusion(np.array([[9, 0], [1, 0]]))
    >>> slides = (SlideScore("a", found, "Ann"), SlideScore("b", missed, "Bob"))
    >>> for figure in Evaluation(("background", "gland"), slides, {}).figures[:3]:
    ...     print(figure)
    Dice of gland: 0.909 [0.000, 1.000] (slide, pooled, n = 2)
    Dice of gland: 0.500 [0.000, 1.000] (slide, mean of slides, n = 2)
    Dice of gland: 0.500 [0.000, 1.000] (slide, mean of patients, n = 2)
    """

    names: tuple[str, ...]
    slides: tuple[SlideScore, ...]
    about: Mapping[str, str]

    def __post_init__(self) -> None:
        slides = [score.slide for score in self.slides]
        twice = sorted({name for name in slides if slides.count(name) > 1})
        if twice:
            raise SettingsError(f"slides {twice} are scored twice; give each slide its own name")
        for score in self.slides:
            _check_classes(score, self.names)

    @property
    def pooled(self) -> Confusion:
        """Counts of all slides added up."""
        return pool((score.confusion for score in self.slides), len(self.names))

    @property
    def patients(self) -> tuple[str, ...]:
        """Who is resampled, in order: patients, or the slide's name where none is named."""
        return tuple(name for _, name in self._owners)

    @property
    def resampled(self) -> str:
        """What stands behind the intervals, for a report: "patients", or that slides stand in."""
        named = [score.patient is not None for score in self.slides]
        if all(named):
            return "patients"
        return "patients, and slides where no patient is named" if any(named) else "slides"

    def owner_of(self, score: SlideScore) -> int:
        """Return the place in `patients` of a slide."""
        return self._owners[_owner(score)]

    @cached_property
    def figures(self) -> list[Figure]:
        """All figures of all levels that were counted: by level, class, figure, average."""
        every = [figure for one in self.measured for figure in one.figures()]
        return sorted(every, key=lambda figure: self.place_of(figure.level, figure.class_name))

    def place_of(self, level: str, class_name: str) -> tuple[int, int]:
        """Return by what figures are sorted: level, then class, means of classes last."""
        classes = (*self.names, ALL_FOREGROUND, ALL_CLASSES)
        return LEVELS.index(level), classes.index(class_name)

    @cached_property
    def measured(self) -> list[Measured]:
        """The figures with what is needed to resample them; row p of their parts is patient p."""
        named = any(score.patient is not None for score in self.slides)
        count = len(self._owners)
        return [one for level in self._levels() for one in measured(level, count, named=named)]

    def figures_by_group(self) -> dict[str, list[Figure]]:
        """Return the figures of each group of the cohort, by name; empty without groups."""
        return dict(self._by_group)

    def where(self, chosen: Callable[[SlideScore], bool]) -> "Evaluation":
        """Return the scores of the slides for which `chosen` says yes."""
        return replace(self, slides=tuple(score for score in self.slides if chosen(score)))

    @cached_property
    def _owners(self) -> dict[tuple[bool, str], int]:
        """Patients, then slides without one, each sorted: the cohort's order changes nothing."""
        owners = sorted({_owner(score) for score in self.slides})
        return {owner: place for place, owner in enumerate(owners)}

    @cached_property
    def _by_group(self) -> dict[str, list[Figure]]:
        groups = sorted({score.group for score in self.slides if score.group})
        return {name: self.where(lambda s, name=name: s.group == name).figures for name in groups}

    def _owner_of(self, slides: Sequence[SlideScore]) -> NDArray[np.intp]:
        return np.array([self.owner_of(score) for score in slides], np.intp)

    def _levels(self) -> list[Level]:
        classes = len(self.names)
        confusions = [score.confusion.counts for score in self.slides]
        counts = np.array(confusions, np.int64).reshape(-1, classes, classes)
        pixels, overall = pixel_levels(counts, self._owner_of(self.slides), self.names)
        return [pixels, *self._probabilities(), overall, *self._tiles(), *self._objects()]

    def _tiles(self) -> list[Level]:
        slides = [(score, score.tiles) for score in self.slides]
        scored = [(score, tiles.counts) for score, tiles in slides if tiles is not None]
        if not scored:
            return []
        each = [len(counts) for _, counts in scored]
        owner = np.repeat(self._owner_of([score for score, _ in scored]), each)
        return tile_levels(np.concatenate([counts for _, counts in scored]), owner, self.names)

    def _objects(self) -> list[Level]:
        scored = [score for score in self.slides if score.objects]
        if not scored:
            return []
        counts = [[score.objects.get(name) for name in self.names[1:]] for score in scored]
        return [object_level(counts, self._owner_of(scored), self.names)]

    def _probabilities(self) -> list[Level]:
        slides = [(score, score.histogram) for score in self.slides]
        scored = [(score, counts) for score, counts in slides if counts is not None]
        if not scored:
            return []
        owner = self._owner_of([score for score, _ in scored])
        return probability_levels([counts for _, counts in scored], owner, self.names)


def figure_rows(figures: Iterable[Figure]) -> list[dict[str, Any]]:
    """Return figures as plain rows for JSON or CSV; what is not defined is None.

    >>> figure_rows([Figure("dice", "gland", float("nan"), "pooled", 0)])[0]["value"] is None
    True
    """
    return [
        {
            **asdict(figure),
            **{key: none_if_nan(getattr(figure, key)) for key in ("value", "low", "high")},
        }
        for figure in figures
    ]


def none_if_nan(value: float) -> float | None:
    """Return None for NaN: JSON knows no NaN."""
    return None if math.isnan(value) else float(value)


def _owner(score: SlideScore) -> tuple[bool, str]:
    """Say whose a slide is; a slide without a patient is its own and comes after patients."""
    return score.patient is None, score.slide if score.patient is None else score.patient


def _check_classes(score: SlideScore, names: tuple[str, ...]) -> None:
    """Refuse counts of another number of classes, and objects of unknown ones."""
    found = {score.confusion.counts.shape[-1]}
    if score.tiles is not None:
        found.add(score.tiles.counts.shape[-1])
    if score.histogram is not None:
        found.add(len(score.histogram.counts))
    strange = sorted(set(score.objects) - set(names[1:]))
    if found != {len(names)} or strange:
        raise SettingsError(
            f"slide {score.slide!r} was counted with {sorted(found)} classes and objects of "
            f"{sorted(score.objects)}, but the classes are {list(names)}; score all slides with "
            "one class map"
        )
