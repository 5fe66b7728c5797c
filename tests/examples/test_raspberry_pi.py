"""The example for small boards finds what `slidemask photo` finds, by either runtime."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from devices import EXAMPLES, worst_overlap
from drawn import Quad
from slidemask.export.export import Options, export
from slidemask.io.photograph import read_photo
from slidemask.models.bundle import Bundle
from slidemask.recipes.photo.find import find_outlines


@pytest.fixture(scope="module")
def slides() -> ModuleType:
    path = EXAMPLES / "raspberry-pi" / "slides.py"
    spec = importlib.util.spec_from_file_location("slides_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["slides_example"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_finds_what_the_command_finds(
    slides: ModuleType, pink: Bundle, drawn: Path, exported: Path, quads: list[Quad]
) -> None:
    photo = read_photo(drawn)
    model = slides.open_model(exported / "pink.onnx")
    found = [corners for corners, _ in slides.find_slides(photo[..., ::-1], model)]
    assert len(found) == 2
    assert worst_overlap(found, quads) > 0.95
    assert worst_overlap(found, [one.corners for one in find_outlines(photo, pink)]) > 0.95


def test_openvino_says_the_same(
    slides: ModuleType, pink: Bundle, drawn: Path, exported: Path, tmp_path: Path
) -> None:
    photo = read_photo(drawn)[..., ::-1]
    options = Options(tiles=[drawn], count=1)
    other = export(pink, "openvino", tmp_path / "openvino", options).path
    by_onnx, by_openvino = (
        slides.find_slides(photo, slides.open_model(path))
        for path in (exported / "pink.onnx", other.with_suffix(".xml"))
    )
    for (one, sure), (same, as_sure) in zip(by_onnx, by_openvino, strict=True):
        np.testing.assert_allclose(one, same, atol=2)
        assert sure == pytest.approx(as_sure, abs=0.02)


def test_a_crop_is_the_slide_made_upright(slides: ModuleType) -> None:
    photo = np.zeros((60, 80, 3), np.uint8)
    photo[10:40, 20:70] = (255, 0, 0)
    photo[10:40, 20:30] = (0, 0, 255)
    corners = np.array([[20, 10], [70, 10], [70, 40], [20, 40]], float)
    np.testing.assert_array_equal(slides.straightened(photo, corners), photo[10:40, 20:70])


def test_writes_crops(
    slides: ModuleType,
    drawn: Path,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "crops"
    command = [
        "slides.py",
        str(exported / "pink.onnx"),
        str(drawn),
        "missing.jpg",
        "--out",
        str(out),
    ]
    monkeypatch.setattr(sys, "argv", command)
    slides.main()
    assert sorted(path.name for path in out.iterdir()) == ["photo-1.png", "photo-2.png"]
    assert "photo: 2 slides" in (said := capsys.readouterr().out)
    assert "missing.jpg: cannot be read" in said


def test_a_video_is_a_camera(slides: ModuleType, drawn: Path, tmp_path: Path) -> None:
    import cv2

    frame = cv2.imread(str(drawn))
    assert frame is not None
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (640, 480))
    for _ in range(5):
        video.write(frame)
    video.release()
    looks = list(slides.pictures([], str(tmp_path / "v.avi"), 2))
    assert [name for name, _ in looks] == ["frame-000000", "frame-000002", "frame-000004"]
    assert all(picture.shape == frame.shape for _, picture in looks)
