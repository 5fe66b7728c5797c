"""A lane's answer is the network's, whatever came through it before."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from fakes import GLAND
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, BundleInfo
from slidemask.models.devices import choose_devices
from slidemask.models.lane import Lane, lane
from slidemask.models.segmenter import Segmenter
from slidemask.tiles.grid import Tiling

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here"),
        ],
    ),
]


def darker(tiles: Tensor) -> Tensor:
    return tiles.permute(0, 3, 1, 2)[:, :2] / 255


@pytest.mark.parametrize("device", DEVICES)
def test_batches_of_any_size_follow_each_other(device: str) -> None:
    rng, way = np.random.default_rng(0), Lane(torch.device(device))
    answers, expected = [], []
    for shape in [(2, 5, 7), (1, 3, 3), (4, 9, 8), (2, 5, 7)]:
        tiles = rng.integers(0, 256, (*shape, 3), np.uint8)
        answers.append(way.run(darker, tiles))
        expected.append(np.moveaxis(tiles, -1, 1)[:, :2].astype(np.float32) / 255)
    for answer, wanted in zip(answers, expected, strict=True):  # all at the end: none is reused
        np.testing.assert_allclose(answer, wanted, atol=1e-6)


def test_each_thread_has_its_own() -> None:
    device = torch.device("cpu")
    assert lane(device) is lane(device)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(lane, device).result() is not lane(device)


def test_several_cpus_may_be_named_but_no_gpu_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_devices("cpu,cpu,cpu") == ["cpu"] * 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_devices("cuda") == ["cuda:0", "cuda:1"]
    assert choose_devices("cuda:1, cuda:0") == ["cuda:1", "cuda:0"]
    with pytest.raises(ValueError, match="named twice"):
        choose_devices("cuda:1,cuda:1")
    with pytest.raises(ValueError, match="cuda:0 to cuda:1"):
        choose_devices("cuda:2")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
@pytest.mark.parametrize(("precision", "off"), [("fp32", 2e-3), ("fp16", 0.02), ("bf16", 0.05)])
def test_a_gpu_says_what_the_processor_says(precision: str, off: float) -> None:
    torch.manual_seed(0)
    spec, side = ModelSpec(width=8, depth=3), 96
    info = BundleInfo(
        name="tiny", model=spec, classes=GLAND,
        tiling=Tiling(tile_px=side, overlap=0.0, downsample=1.0),
    )  # fmt: skip
    segmenter = Segmenter(spec, 1, None, side).eval()
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (1 + n % 3, side, side, 3), np.uint8) for n in range(12)]
    expected = [Bundle(info, segmenter, "d", torch.device("cpu")).predict(b) for b in batches]
    there = segmenter.to("cuda").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    bundle = Bundle(info, there, "d", torch.device("cuda"))
    with ThreadPoolExecutor(bundle.streams) as pool:
        found = list(pool.map(lambda batch: bundle.predict(batch, precision), batches))  # type: ignore[arg-type]
    for answer, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(answer, wanted, atol=off)
