"""Pictures come back as they were, whoever reads them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from slidemask.base.errors import OutputError
from slidemask.io.png import write_png


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (2, 2), (37, 53)])
def test_other_libraries_read_the_same_pixels(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3), np.uint8)
    write_png(tmp_path / "a.png", pixels)
    with Image.open(tmp_path / "a.png") as image:
        image.verify()  # the checks of all parts
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), pixels)
    found = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert np.array_equal(found[..., ::-1], pixels)


def test_a_view_is_written_as_it_looks(tmp_path: Path) -> None:
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    write_png(tmp_path / "a.png", pixels[::-1, ::2])
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), pixels[::-1, ::2])


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="gone"):
        write_png(tmp_path / "gone" / "a.png", np.zeros((2, 2, 3), np.uint8))


def test_an_empty_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="0 x 5"):
        write_png(tmp_path / "a.png", np.zeros((5, 0, 3), np.uint8))
    assert not list(tmp_path.iterdir())
