"""Which tiles are worth looking at: tissue, background, standard deviation, entropy."""

from itertools import repeat
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_serializer, field_validator, model_validator

from slidemask.base.errors import SettingsError
from slidemask.base.settings import Settings
from slidemask.base.types import Rgb
from slidemask.tiles.canvas import Canvas
from slidemask.tiles.histograms import background_shares, entropies, peak_shares, tile_counts
from slidemask.tiles.rails import Rails
from slidemask.tiles.tissue import TissueFilter

Counts = NDArray[np.int64]


class Filters(Settings):
    """Rules that a tile must pass; None switches a rule off.

    Parameters
    ----------
    tissue : TissueFilter, optional
        How tissue is found at low resolution, before any tile is read. TOML knows no None:
        there `false` switches it off, as any other rule that may be None.
    min_tissue_share : float
        A tile is kept when more than nothing and at least this share of it is tissue.
    max_background_share : float, optional
        Drop a tile when more than this share of its 8-bit grey pixels is background, that is
        > `light` or < `dark`; "most" (0.5) in Frank 2022, rs-122564/v3.
    light, dark : int
        Grey values of that rule, 235 and 15 in the paper.
    max_common_share : float, optional
        Drop a tile when its `common_values` most frequent grey values make up more than this share
        of it: Frank's rule for slides whose stain was normalised and whose glass is not white.
    common_values : int
        How many values that rule adds up.
    min_std : float, optional
        Drop a tile whose RGB values have a lower standard deviation; 12.5 in Nguyen et al. 2024.
    rails : Rails, "learn" or None
        Keep the tiles whose entropy lies between two rails, given in bits or, by training,
        learned from its tiles of the object; TOML: `{ low, high }`, "learn" or `false`.
    entropy : {"grey", "rgb"}
        Of the histogram of grey values, or of red, green and blue values together.

    Examples
    --------
    >>> Filters(rails={"low": 6.42, "high": 7.46}).rails
    Rails(low=6.42, high=7.46)
    >>> Filters.model_validate({"rails": False}).rails is None
    True
    """

    tissue: TissueFilter | None = TissueFilter()
    min_tissue_share: float = Field(default=0.02, ge=0, le=1)
    max_background_share: float | None = Field(default=None, ge=0, le=1)
    light: int = Field(default=235, ge=0, le=255)
    dark: int = Field(default=15, ge=0, le=255)
    max_common_share: float | None = Field(default=None, ge=0, le=1)
    common_values: int = Field(default=3, ge=1, le=256)
    min_std: float | None = Field(default=None, ge=0)
    rails: Rails | Literal["learn"] | None = None
    entropy: Literal["grey", "rgb"] = "grey"

    @field_validator("tissue", "max_background_share", "max_common_share", "min_std", mode="before")
    @classmethod
    def _false_is_none(cls, value: object) -> object:
        if value is True:  # pydantic would read the number 1
            raise ValueError("a rule is switched on by its settings, and off by false")
        return None if value is False else value

    @field_validator("rails", mode="before")
    @classmethod
    def _one_of_three(cls, value: object) -> object:
        """Say in one message what is wrong, where each member of the union would say its own."""
        if isinstance(value, dict):
            try:
                return Rails.model_validate(value)
            except ValidationError as error:
                raise ValueError(_in_words(error)) from error
        if value is False:
            return None
        if value is None or value == "learn" or isinstance(value, Rails):
            return value
        raise ValueError('rails are { low, high } in bits, "learn", or false for none')

    @model_validator(mode="after")
    def _in_order(self) -> "Filters":
        if self.light < self.dark:
            raise ValueError(
                f"light = {self.light} is below dark = {self.dark}, so that every grey value would "
                "be background: exchange them"
            )
        return self

    @field_serializer("tissue", "rails")
    def _none_is_false(
        self, value: TissueFilter | Rails | str | None
    ) -> dict[str, object] | str | bool:
        if isinstance(value, Settings):
            return value.model_dump()
        return False if value is None else value

    @property
    def reads_pixels(self) -> bool:
        """Whether there are rules for which a tile must be read."""
        return _wants_grey(self) or _wants_rgb(self)


def keep_pixels(tile: Rgb, filters: Filters) -> bool:
    """Say whether a tile that was read passes the rules on pixels.

    Raises
    ------
    SettingsError
        If the rails are yet to be learned.

    Examples
    --------
    >>> white = np.full((8, 8, 3), 240, np.uint8)
    >>> keep_pixels(white, Filters()), keep_pixels(white, Filters(min_std=12.5))
    (True, False)
    """
    _require_learned(filters)
    kept, bits = judge_pixels(tile, filters)
    return bool(kept & _between(np.array(bits), filters))


def judge_pixels(tile: Rgb, filters: Filters) -> tuple[bool, float]:
    """Say whether a tile passes all rules on pixels but the rails, and its entropy in bits.

    It is NaN where no rails are asked for. The rails themselves may be yet to be learned.
    """
    grey = _counts(cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)) if _wants_grey(filters) else None
    rgb = _counts(tile) if _wants_rgb(filters) else None
    kept, bits = _judged(grey, rgb, filters)
    return bool(kept), float(bits)


def keep_tiles(canvas: Canvas, filters: Filters) -> NDArray[np.bool_]:
    """Return which tiles of a grid pass the rules on pixels, (rows, columns) bool.

    It is what `keep_pixels` says of each, from histograms that count every pixel of the canvas
    once, however much tiles overlap. Without such rules nothing is read. (Rules on grey values and
    on colours together read the canvas twice.)

    Raises
    ------
    SettingsError
        If the rails are yet to be learned.

    Examples
    --------
    >>> from slidemask.tiles.canvas import canvas_of
    >>> halves = np.zeros((8, 16, 3), np.uint8)
    >>> halves[:, ::2] = 180
    >>> halves[:, 8:] = 240
    >>> keep_tiles(canvas_of(halves, 8, 4), Filters(max_background_share=0.5, dark=0)).tolist()
    [[True, True, False]]
    """
    _require_learned(filters)
    kept, bits = judge_tiles(canvas, filters)
    return kept & _between(bits, filters)


def judge_tiles(canvas: Canvas, filters: Filters) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return what `judge_pixels` says of each tile of a grid, from histograms as in `keep_tiles`.

    Returns
    -------
    kept : (rows, columns) bool
    bits : (rows, columns) float64
    """
    rows, columns = canvas.grid.shape
    if not filters.reads_pixels:
        return np.ones((rows, columns), bool), np.full((rows, columns), np.nan)
    grey = tile_counts(canvas) if _wants_grey(filters) else repeat(None, rows)
    rgb = tile_counts(canvas, pooled=True) if _wants_rgb(filters) else repeat(None, rows)
    lines = [_judged(one, other, filters) for one, other in zip(grey, rgb, strict=True)]
    kept = np.stack([np.broadcast_to(kept, (columns,)) for kept, _ in lines])
    return kept, np.stack([np.broadcast_to(bits, (columns,)) for _, bits in lines])


def _in_words(error: ValidationError) -> str:
    """Say what is wrong with rails in one sentence."""
    found = [
        ": ".join((*map(str, each["loc"]), each["msg"].removeprefix("Value error, ")))
        for each in error.errors()
    ]
    return f"rails want low and high in bits; {'; '.join(found)}"


def _wants_grey(filters: Filters) -> bool:
    shares = filters.max_background_share, filters.max_common_share
    by_entropy = filters.rails is not None and filters.entropy == "grey"
    return by_entropy or any(share is not None for share in shares)


def _wants_rgb(filters: Filters) -> bool:
    by_entropy = filters.rails is not None and filters.entropy == "rgb"
    return by_entropy or filters.min_std is not None


def _require_learned(filters: Filters) -> None:
    if filters.rails == "learn":
        raise SettingsError(
            'filters.rails is "learn", and only a training learns them: use the bundle that it '
            "wrote, give { low, high } in bits, or false for none."
        )


def _judged(
    grey: Counts | None, rgb: Counts | None, filters: Filters
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return of histograms (..., 256) whether the rules but the rails keep them; and entropies."""
    kept, bits = np.ones((), bool), np.array(np.nan)
    if grey is not None and filters.max_background_share is not None:
        background = background_shares(grey, filters.light, filters.dark)
        kept = kept & (background <= filters.max_background_share)
    if grey is not None and filters.max_common_share is not None:
        kept = kept & (peak_shares(grey, filters.common_values) <= filters.max_common_share)
    if rgb is not None and filters.min_std is not None:
        kept = kept & (_deviations(rgb) >= filters.min_std)
    if filters.rails is not None:
        counts = rgb if filters.entropy == "rgb" else grey
        bits = np.asarray(entropies(np.asarray(counts)))
    return kept, bits


def _between(bits: NDArray[np.float64], filters: Filters) -> NDArray[np.bool_]:
    return filters.rails.within(bits) if isinstance(filters.rails, Rails) else np.ones((), bool)


def _counts(values: NDArray[np.generic]) -> Counts:
    return np.bincount(np.asarray(values, np.uint8).ravel(), minlength=256)


def _deviations(counts: Counts) -> NDArray[np.float64]:
    """Return the standard deviations of the values that histograms (..., 256) count."""
    values, total = np.arange(256), np.maximum(counts.sum(axis=-1), 1)
    mean = (counts * values).sum(axis=-1) / total
    squares = (values - mean[..., None]) ** 2
    return np.sqrt((counts * squares).sum(axis=-1) / total)
