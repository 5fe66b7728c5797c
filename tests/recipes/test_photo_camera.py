"""The camera on a video written here: a slide that moves, blurred but for a few frames."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from drawn import draw_photo, save_pink_bundle
from journey import save_dark_bundle
from slidemask.base.errors import BundleError, OutputError, SlideError
from slidemask.models.bundle import Bundle
from slidemask.recipes.photo.camera import CameraOptions, Kept, watch

SIZE = (320, 240)
FRAMES, SHARP = 12, 7
QUAD = np.array([(0, 0), (120, 4), (116, 92), (-4, 86)], float)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(save_pink_bundle(tmp_path_factory.mktemp("model") / "pink"), "cpu")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One slide that moves to the right and then is gone; sharp in one frame only."""
    path = tmp_path_factory.mktemp("video") / "desk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, SIZE)
    assert writer.isOpened()
    for number in range(FRAMES + 4):
        quads = [QUAD + np.array([20 + 9 * number, 70])] if number < FRAMES else []
        drawn = draw_photo(SIZE, quads, np.random.default_rng(5))
        if number != SHARP:
            drawn = np.asarray(cv2.GaussianBlur(drawn, (0, 0), 1.5), np.uint8)
        writer.write(drawn[..., ::-1].copy())
    writer.release()
    return path


@pytest.fixture
def options(video: Path) -> CameraOptions:
    tracking = CameraOptions().tracking.model_copy(update={"patience": 2})
    return CameraOptions(str(video), tracking=tracking)


def test_the_sharp_view_of_the_moving_slide_is_written_once(
    bundle: Bundle, options: CameraOptions, tmp_path: Path
) -> None:
    said: list[Kept] = []
    preview = tmp_path / "preview.jpg"
    result = watch(bundle, tmp_path / "out", replace(options, preview=preview), said.append)
    assert [kept.file for kept in said] == ["slide-1.png"]
    assert (said[0].frame, said[0].frames_seen) == (SHARP, FRAMES)
    truth = QUAD + np.array([20 + 9 * SHARP, 70])
    assert np.abs(np.array(said[0].corners) - truth).max() < 2.5
    with Image.open(tmp_path / "out" / "slide-1.png") as picture:
        assert picture.size == said[0].size
        pixels = np.asarray(picture).astype(int)
    middle = pixels[10:-10, 10:-10]
    assert (middle[..., 0] + middle[..., 2] - 2 * middle[..., 1]).mean() > 50, "tissue only"
    assert middle.std() > 40, "the sharp one has its specks"
    told = json.loads((tmp_path / "out" / "camera.json").read_text(encoding="utf-8"))
    assert told["frames"] == result["frames"] == FRAMES + 4
    assert told["slides"][0]["file"] == "slide-1.png"
    assert told["ms"]["find and follow"]["median"] > 0
    with Image.open(preview) as picture:
        assert picture.size == SIZE


def test_a_slide_in_sight_at_the_end_is_written_too(
    bundle: Bundle, options: CameraOptions, tmp_path: Path
) -> None:
    patient = options.tracking.model_copy(update={"patience": 50})
    result = watch(bundle, tmp_path, replace(options, tracking=patient, every=2))
    assert [slide["file"] for slide in result["slides"]] == ["slide-1.png"]
    assert result["frames_searched"] == (FRAMES + 4) // 2


def test_nothing_is_overwritten_unasked(
    bundle: Bundle, options: CameraOptions, tmp_path: Path
) -> None:
    foreign = tmp_path / "slide-9.png"
    watch(bundle, tmp_path, options)
    foreign.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"slide-1\.png of an earlier run.*--overwrite"):
        watch(bundle, tmp_path, options)
    watch(bundle, tmp_path, replace(options, overwrite=True))
    assert foreign.read_bytes() == b"mine", "what it did not write stays"
    (tmp_path / "camera.json").write_text("[]", encoding="utf-8")
    with pytest.raises(OutputError, match="not slidemask's"):
        watch(bundle, tmp_path, replace(options, overwrite=True))


def test_ctrl_c_keeps_what_was_seen(
    bundle: Bundle, options: CameraOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = iter(range(100))
    plain = Bundle.predict

    def stopped(self: Bundle, *given: object, **named: object) -> np.ndarray:
        if next(frames) == 9:
            raise KeyboardInterrupt
        return plain(self, *given, **named)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(Bundle, "predict", stopped)
    result = watch(bundle, tmp_path, options)
    assert result["slides"][0]["frames_seen"] == 9
    assert (tmp_path / "slide-1.png").exists()


def test_what_cannot_be_is_said(bundle: Bundle, tmp_path: Path, options: CameraOptions) -> None:
    with pytest.raises(SlideError, match=r"Video nowhere\.mp4 does not exist"):
        watch(bundle, tmp_path, replace(options, source="nowhere.mp4"))
    text = tmp_path / "text.mp4"
    text.write_text("no video", encoding="utf-8")
    with pytest.raises(SlideError, match="cannot be opened"):
        watch(bundle, tmp_path, replace(options, source=str(text)))
    with pytest.raises(OutputError, match=r"\.jpg or \.png"):
        watch(bundle, tmp_path / "o", replace(options, preview=tmp_path / "preview.xyz"))
    glands = Bundle.load(save_dark_bundle(tmp_path / "dark"), "cpu")
    with pytest.raises(BundleError, match="not for photos"):
        watch(glands, tmp_path / "p", options)
