"""The commands `study photos` and `camera`, as they are called and as they end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from drawn import draw_photo, save_pink_bundle, write_drawn

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pink_bundle(tmp_path_factory.mktemp("models") / "pink")


def test_study_photos_goes_on_and_adds_a_model(
    slidemask: Command, model: Path, tmp_path: Path
) -> None:
    cohort, out = write_drawn(tmp_path / "photos", [(400, 300)], slides=2), tmp_path / "study"
    done = slidemask("study", "photos", cohort, "--model", model, "--out", out)
    assert done.code == 0, done.err
    assert "pink: 1 photos, 2 slides: IoU 0.9" in done.out
    again = slidemask(
        "study", "photos", cohort, "--model", model, "--model", "nowhere", "--out", out
    )
    assert again.code == 1
    assert "nowhere: FAILED" in again.out
    told = json.loads((out / "study.json").read_text(encoding="utf-8"))
    assert [row["label"] for row in told["models"]] == ["pink"]
    assert list(told["failures"]) == ["nowhere"]
    other = slidemask(
        "study", "photos", cohort, "--model", model, "--out", out, "--set", "photo.threshold=0.6"
    )
    assert other.code == 1
    assert "other settings" in other.out


def test_camera_says_what_it_kept(slidemask: Command, model: Path, tmp_path: Path) -> None:
    video = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    quad = np.array([(60, 60), (250, 64), (246, 190), (64, 186)], float)
    for _ in range(4):
        writer.write(draw_photo((320, 240), [quad], np.random.default_rng(0))[..., ::-1].copy())
    writer.release()
    out = tmp_path / "out"
    done = slidemask("camera", "--source", video, "--model", model, "--out", out)
    assert done.code == 0, done.err
    assert "slide-1.png: " in done.out
    assert "1 slides in 4 frames" in done.out
    assert (out / "slide-1.png").exists()
    as_json = slidemask(
        "camera", "--source", video, "--model", model, "--out", out, "--overwrite", "--json"
    )
    assert json.loads(as_json.out)["frames"] == 4
    missing = slidemask(
        "camera", "--source", "no.mp4", "--model", model, "--out", out, "--overwrite"
    )
    assert missing.code != 0
    assert "Video no.mp4 does not exist" in missing.err
    assert (out / "slide-1.png").exists(), "nothing is removed before the source is open"
