"""Tiles come from where the model would look, at its resolution."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from journey import discs, write_png
from slidemask.base.errors import SettingsError
from slidemask.data.case import Case
from slidemask.data.cohort import write_cohort
from slidemask.export.tiles import read_tiles
from slidemask.models.bundle import Bundle
from slidemask.tiles.filters import Filters


def pixels_of(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path))
    assert pixels is not None
    return pixels[..., ::-1]


def test_tiles_are_pixels_of_the_picture(
    make_bundle: Callable[[str], Bundle], picture: Path
) -> None:
    info = make_bundle("unet").info
    pixels = pixels_of(picture)
    tiles = read_tiles([picture], info, (40, 40), 100)
    assert tiles.shape == (30, 40, 40, 3)  # 5 rows of 6
    assert np.array_equal(tiles[7], pixels[40:80, 40:80])
    some = read_tiles([picture], info, (24, 64), 5)
    assert some.shape == (5, 24, 64, 3)
    assert np.array_equal(some[0], pixels[:24, :64])


def test_surroundings_come_along(make_bundle: Callable[[str], Bundle], picture: Path) -> None:
    tiles = read_tiles([picture], make_bundle("context").info, (40, 40), 4)
    assert tiles.shape == (4, 40, 40, 6)
    assert not np.array_equal(tiles[..., :3], tiles[..., 3:])


def test_every_slide_of_a_cohort_gives_some(
    make_bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    paths = [write_png(tmp_path / f"{n}.png", discs(80, 80, seed=n)[0]) for n in range(3)]
    write_cohort(tmp_path / "cohort.csv", [Case(path) for path in paths])
    info = make_bundle("unet").info
    tiles = read_tiles([tmp_path / "cohort.csv"], info, (40, 40), 3)
    firsts = [pixels_of(path)[:40, :40] for path in paths]
    assert np.array_equal(tiles, np.stack(firsts))


def test_a_slide_without_tissue_is_an_error(
    make_bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    blank = write_png(tmp_path / "blank.png", np.full((90, 90, 3), 250, np.uint8))
    info = make_bundle("unet").info.model_copy(update={"filters": Filters()})
    with pytest.raises(SettingsError, match="None of 1 slides has a tile with tissue"):
        read_tiles([blank], info, (40, 40), 3, mpp=1.0)
