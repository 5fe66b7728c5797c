"""Which tiles are worth looking at: tissue, grey background, standard deviation."""

import cv2
import numpy as np
from pydantic import Field, field_serializer, field_validator

from slidemask.base.settings import Settings
from slidemask.base.types import Rgb
from slidemask.tiles.tissue import TissueFilter


class Filters(Settings):
    """Rules that a tile must pass; None switches a rule off.

    Parameters
    ----------
    tissue : TissueFilter, optional
        How tissue is found at low resolution, before any tile is read. TOML knows no None:
        there `false` switches it off.
    min_tissue_share : float
        A tile is kept when more than nothing and at least this share of it is tissue.
    max_background_share : float, optional
        Drop a tile when more than this share of its 8-bit grey pixels is background, that is
        > `light` or < `dark`; "most" (0.5) in Frank 2022, rs-122564/v3.
    light, dark : int
        Grey values of that rule, 235 and 15 in the paper.
    min_std : float, optional
        Drop a tile whose RGB values have a lower standard deviation; 12.5 in Nguyen et al. 2024.
    """

    tissue: TissueFilter | None = TissueFilter()
    min_tissue_share: float = Field(default=0.02, ge=0, le=1)
    max_background_share: float | None = Field(default=None, ge=0, le=1)
    light: int = Field(default=235, ge=0, le=255)
    dark: int = Field(default=15, ge=0, le=255)
    min_std: float | None = Field(default=None, ge=0)

    @field_validator("tissue", mode="before")
    @classmethod
    def _false_is_none(cls, value: object) -> object:
        return None if value is False else value

    @field_serializer("tissue")
    def _none_is_false(self, value: TissueFilter | None) -> dict[str, object] | bool:
        return False if value is None else value.model_dump()


def keep_pixels(tile: Rgb, filters: Filters) -> bool:
    """Say whether a tile that was read passes the rules on pixels.

    >>> white = np.full((8, 8, 3), 240, np.uint8)
    >>> keep_pixels(white, Filters()), keep_pixels(white, Filters(min_std=12.5))
    (True, False)
    """
    if filters.max_background_share is not None:
        share = background_share(tile, filters.light, filters.dark)
        if share > filters.max_background_share:
            return False
    return filters.min_std is None or rgb_std(tile) >= filters.min_std


def background_share(tile: Rgb, light: int = 235, dark: int = 15) -> float:
    """Return the share of grey pixels (ITU-R BT.601 weights) above `light` or below `dark`."""
    grey = np.asarray(cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY), np.uint8)
    counts = np.bincount(grey.ravel(), minlength=256)
    return float(counts[light + 1 :].sum() + counts[:dark].sum()) / grey.size


def rgb_std(tile: Rgb) -> float:
    """Return the standard deviation of all values of all three channels together."""
    counts = np.bincount(tile.ravel(), minlength=256)
    values = np.arange(256)
    mean = counts @ values / tile.size
    return float(np.sqrt(counts @ (values - mean) ** 2 / tile.size))
