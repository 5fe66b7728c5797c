"""What a study of maps varies: how tiles make a map, and how the map's edges are smoothed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from slidemask.base.errors import SettingsError
from slidemask.models.bundle import Bundle
from slidemask.post.clean import Post
from slidemask.recipes.recipe import checked
from slidemask.recipes.segment import use_of

Unit = Literal["px", "um"]
AS_TRAINED = "as trained"
COMBINES = ("mean", "max", "median", "union")


@dataclass(frozen=True)
class MapSetting:
    """One way to make a slide's map; each needs the network once, but for those of equal rails.

    Parameters
    ----------
    rails : "on", "off" or None
        Whether tiles outside the entropy rails are dropped; None as the bundle says.
    combine : str, optional
        How the tiles over a pixel vote together.
    dominant : "on", "off" or None
        Whether only the class with most positive tiles is drawn.

    Examples
    --------
    >>> MapSetting("off", "max").label, MapSetting("off", "max").changes
    ('rails off, max', ('filters.rails=false', 'blend.votes.combine="max"'))
    >>> MapSetting().label
    'as trained'
    """

    rails: str | None = None
    combine: str | None = None
    dominant: str | None = None

    @property
    def label(self) -> str:
        """As tables and folders write it."""
        parts = [
            self.rails and f"rails {self.rails}",
            self.combine,
            self.dominant and f"dominant {self.dominant}",
        ]
        return ", ".join(part for part in parts if part) or AS_TRAINED

    @property
    def changes(self) -> tuple[str, ...]:
        """What it changes of the bundle's settings; the bundle's own rails are never changed."""
        changes = []
        if self.rails == "off":
            changes.append("filters.rails=false")
        if self.combine:
            changes.append(f'blend.votes.combine="{self.combine}"')
        if self.dominant:
            changes.append(f"blend.votes.dominant={'true' if self.dominant == 'on' else 'false'}")
        return tuple(changes)

    def of_equal_votes(self) -> "Iterator[MapSetting]":
        """Yield the other settings with these rails: their tiles vote the same."""
        for combine, dominant in product((None, *COMBINES), (None, "on", "off")):
            other = MapSetting(self.rails, combine, dominant)
            if other != self:
                yield other


@dataclass(frozen=True)
class Edge:
    """How a map's edges are treated after the threshold.

    Parameters
    ----------
    smooth : float
        Radius of the disc; 0 leaves them.
    shrink : float
        Share by which each part is made smaller about its centroid.
    unit : {"px", "um"}
        Of the radius: pixels of the canvas, or µm.

    Examples
    --------
    >>> Edge(50, 0.05, "px").label, Edge(0, 0, "um").label
    ('smooth 50 px, shrink 0.05', 'smooth 0 µm, shrink 0')
    """

    smooth: float
    shrink: float
    unit: Unit = "px"

    @property
    def label(self) -> str:
        """As tables write it."""
        return f"smooth {self.smooth:g} {self.unit_text}, shrink {self.shrink:g}"

    @property
    def unit_text(self) -> str:
        """The unit as it is written."""
        return "px" if self.unit == "px" else "µm"

    def of(self, post: Post) -> Post:
        """Return the bundle's own cleaning with these edges in place of its own."""
        table: dict[str, Any] = post.model_dump(exclude_none=True)
        for name in ("smooth_px", "smooth_um", "shrink"):
            table.pop(name, None)
        if self.smooth:
            table[f"smooth_{self.unit}"] = self.smooth
        if self.shrink:
            table["shrink"] = self.shrink
        return checked(Post, table, self.label)


def parse_edges(smooth: str, shrink: str, unit: str) -> list[Edge]:
    """Return every smoothing with every shrinking.

    Raises
    ------
    SettingsError
        If a number or the unit is wrong.

    Examples
    --------
    >>> [edge.label for edge in parse_edges("0,50", "0", "px")]
    ['smooth 0 px, shrink 0', 'smooth 50 px, shrink 0']
    """
    if unit not in ("px", "um"):
        raise SettingsError(f"--unit {unit!r} is none of px, um.")
    radii, shares = _numbers("--smooth", smooth), _numbers("--shrink", shrink)
    if max(shares) >= 1:
        raise SettingsError(f"--shrink {shrink!r}: a share below 1 is wanted, e.g. 0.05.")
    return [Edge(radius, share, unit) for radius, share in product(radii, shares)]


def parse_map_settings(
    bundle: Bundle, *, rails: str | None, combine: str | None, dominant: str | None
) -> list[MapSetting]:
    """Return every combination of what was asked for, those of equal rails one after another.

    Raises
    ------
    SettingsError
        If a value is unknown, or the bundle has no rails or no votes that could be varied.
    """
    axes = (
        _words("--rails", rails, ("on", "off")),
        _words("--combine", combine, COMBINES),
        _words("--dominant", dominant, ("on", "off")),
    )
    name = bundle.info.name
    if rails and bundle.info.filters.rails is None:
        raise SettingsError(
            f"--rails {rails}: model {name} has no entropy rails. Train it with "
            'filters.rails = "learn", or leave --rails out.'
        )
    if (combine or dominant) and not bundle.info.model.votes:
        raise SettingsError(
            f"--combine and --dominant are for networks that say one class a tile; model {name} "
            "says one for each pixel. Leave them out."
        )
    return [MapSetting(*values) for values in product(*axes)]


def require_maps(bundle: Bundle, edges: Sequence[Edge], changes: Sequence[Sequence[str]]) -> None:
    """Make sure that all settings can be made: before the network runs for hours.

    Raises
    ------
    SettingsError
        If one is wrong.
    """
    for some in changes:
        post = use_of(bundle, some).post
        for edge in edges:
            edge.of(post)


def _words(option: str, text: str | None, known: Sequence[str]) -> list[str | None]:
    if text is None:
        return [None]
    words = [part.strip() for part in text.split(",")]
    if not all(word in known for word in words) or len(set(words)) < len(words):
        raise SettingsError(f"{option} {text!r}: give some of {', '.join(known)}, each once.")
    return [*words]


def _numbers(option: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [-1.0]
    if not all(0 <= number < float("inf") for number in numbers) or len({*numbers}) < len(numbers):
        raise SettingsError(f"{option} {text!r}: give numbers from 0 up, each once, e.g. 0,50,100.")
    return numbers
