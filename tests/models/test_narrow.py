"""`scripts/narrow.py`: last blocks of fewer channels learn to say what the wide ones say."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fakes import GLAND
from slidemask.base.errors import SettingsError
from slidemask.models.bundle import Bundle, BundleInfo, save_bundle
from slidemask.models.segmenter import Segmenter
from slidemask.models.spec import ModelSpec
from slidemask.tiles.grid import Tiling

SCRIPT = Path(__file__).parents[2] / "scripts" / "narrow.py"
WIDTHS = (12, 12, 8, 8, 8)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("narrow", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "narrow", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SIDES", (64, 96))
    monkeypatch.setattr(module, "HELD_BACK", 1)
    return module


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    spec = ModelSpec(
        architecture="Unet", encoder="tu-mobilenetv2_100", encoder_weights=None, depth=5,
        decoder_channels=WIDTHS,
    )  # fmt: skip
    tiling = Tiling(tile_px=96, overlap=0.0, downsample=1.0)
    info = BundleInfo(name="wide", model=spec, classes=GLAND, tiling=tiling)
    save_bundle(tmp_path / "wide", info, Segmenter(spec, 1), card="", scores={})
    return tmp_path / "wide"


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    rng, paths = np.random.default_rng(0), [tmp_path / f"{number}.png" for number in range(3)]
    for path, size in zip(paths, ((150, 100), (100, 150), (90, 70)), strict=True):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).resize((120, 90)).save(path)
    return paths


def test_it_learns_what_the_wide_one_says_and_leaves_the_rest(
    narrow: ModuleType,
    wide: Path,
    photos: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("slide\n" + "\n".join(map(str, photos)), encoding="utf-8")
    said = dict[int, float]()
    for steps in (1, 40):
        out = tmp_path / f"narrow-{steps}"
        words = [str(cohort), "--model", str(wide), "--widths", "12", "12", "8", "4", "4"]
        words += ["--steps", str(steps), "--batch", "2", "--out", str(out)]
        monkeypatch.setattr(sys, "argv", ["narrow.py", *words])
        narrow.main()
        before, after = Bundle.load(str(wide), "cpu"), Bundle.load(str(out), "cpu")
        tiles = np.stack([np.asarray(Image.open(photos[1]).resize((96, 64)))])
        said[steps] = float(np.abs(before.predict(tiles) - after.predict(tiles)).mean())
    assert said[40] < 0.5 * said[1]
    assert after.info.model.decoder_channels == (12, 12, 8, 4, 4)
    own, theirs = after.segmenter.network.state_dict(), before.segmenter.network.state_dict()
    shared = [name for name in own if name.startswith(("encoder.", "decoder.blocks.2."))]
    assert len(shared) > 100
    assert all(torch.equal(own[name], theirs[name]) for name in shared)
    assert own["decoder.blocks.4.conv2.0.weight"].shape == (4, 4, 3, 3)


def test_with_a_width_fewer_it_stops_at_half_the_size(
    narrow: ModuleType, wide: Path, photos: list[Path]
) -> None:
    said = dict[int, float]()
    for steps in (1, 40):
        torch.manual_seed(0)
        before = Bundle.load(str(wide), "cpu")
        tiles = np.stack([np.asarray(Image.open(photos[1]).resize((96, 64)))])
        wanted = before.predict(tiles)
        made, pair = narrow.narrowed(before, (12, 12, 8, 8))
        assert pair.shared == 4  # of the last block nothing is left to learn but the head
        assert made.info.model.stops_at_half
        narrow.learn(pair, ["background", "gland"], photos, steps=steps, size=2, rate=1e-2)
        said[steps] = float(np.abs(made.predict(tiles) - wanted).mean())
    assert said[40] < 0.5 * said[1]


def test_what_is_learnt_is_what_is_wanted_where_pixels_count_differently(
    narrow: ModuleType,
) -> None:
    wanted = torch.tensor([[0.05, 0.475, 0.475], [0.9, 0.1, 0.0]]).T[None, :, :, None]
    logits = torch.zeros_like(wanted, requires_grad=True)
    optimiser = torch.optim.Adam([logits], 0.05)
    for _ in range(600):
        optimiser.zero_grad()
        off = narrow.divergence(logits.log_softmax(1), wanted, 2)
        off.backward()
        optimiser.step()
    assert torch.allclose(logits.softmax(1), wanted, atol=0.01)
    even = torch.full((1, 3, 1, 1), 1 / 3).log()
    sure, other = torch.eye(3)[2].view(1, 3, 1, 1), torch.eye(3)[1].view(1, 3, 1, 1)
    border, elsewhere = (narrow.divergence(even, one, 2) for one in (sure, other))
    assert border == pytest.approx(3 * elsewhere)


def test_too_few_photos_are_refused(narrow: ModuleType) -> None:
    with pytest.raises(SettingsError, match="photos"):
        next(narrow.batches([], 1, 2, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("change", "widths", "said"),
    [
        ({}, WIDTHS, "these widths already"),
        ({}, WIDTHS[:3], "its decoder has widths"),
        ({}, (*WIDTHS, 8), "its decoder has widths"),
        ({"decoder_channels": WIDTHS[:4]}, WIDTHS[:3], "its decoder has widths"),
        ({"decoder_channels": WIDTHS[:4]}, WIDTHS, "its decoder has widths"),
        ({"architecture": "UnetPlusPlus"}, WIDTHS[:4], "its decoder has widths"),
        ({"activation": "sigmoid"}, WIDTHS[:4], "sigmoids"),
    ],
)
def test_what_cannot_be_narrowed_is_refused(
    narrow: ModuleType, wide: Path, change: dict[str, Any], widths: tuple[int, ...], said: str
) -> None:
    bundle = Bundle.load(str(wide), "cpu")
    spec = bundle.info.model.model_copy(update=change)
    other = replace(bundle, info=bundle.info.model_copy(update={"model": spec}))
    with pytest.raises(SettingsError, match=f"wide.*{said}"):
        narrow.narrowed(other, widths)
