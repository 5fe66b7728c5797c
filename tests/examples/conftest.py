"""Drawn photos with slides of known corners, and a tiny exported model that finds them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drawn import Quad, draw_photo, quad_in, save_pink_bundle
from slidemask.export.export import Options, export
from slidemask.models.bundle import Bundle

SIZE = (640, 480)


@pytest.fixture(scope="session")
def quads() -> list[Quad]:
    """Corners of two slides in a photo of `SIZE`."""
    rng = np.random.default_rng(4)
    boxes = [(60.0, 90.0, 290.0, 380.0), (350.0, 120.0, 590.0, 300.0)]
    return [quad_in(box, rng) for box in boxes]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory, quads: list[Quad]) -> Path:
    """Return a photo with them."""
    path = tmp_path_factory.mktemp("drawn") / "photo.jpg"
    photo = draw_photo(SIZE, quads, np.random.default_rng(5))
    Image.fromarray(photo).save(path, quality=95)
    return path


@pytest.fixture(scope="session")
def pink(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle that takes pink for a slide."""
    return Bundle.load(save_pink_bundle(tmp_path_factory.mktemp("pink") / "bundle"), "cpu")


@pytest.fixture(scope="session")
def exported(pink: Bundle, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with that bundle as pink.onnx."""
    out = tmp_path_factory.mktemp("exported") / "onnx"
    return export(pink, "onnx", out, Options(tiles=[drawn], count=1)).folder
