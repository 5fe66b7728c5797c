"""A transposed convolution in place of doubling and convolving gives the same numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional

from fakes import GLAND
from slidemask.models import converted as conversion
from slidemask.models.bundle import Bundle, BundleInfo
from slidemask.models.converted import converted
from slidemask.models.doubled import transposed, with_doubling
from slidemask.models.segmenter import Segmenter
from slidemask.models.spec import ModelSpec
from slidemask.models.unreported import import_openvino
from slidemask.tiles.grid import Tiling

ENCODER = "tu-mobilenetv2_100"


def network(architecture: str, **options: Any) -> nn.Module:
    """An untrained network whose running means and variances are not those of a new one."""
    torch.manual_seed(0)
    made = smp.create_model(architecture, ENCODER, encoder_weights=None, classes=2, **options)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.rand(module.num_features) - 0.5
            module.running_var = torch.rand(module.num_features) + 0.5
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
    return made.eval()


def transposing(made: nn.Module) -> int:
    return sum(isinstance(module, nn.ConvTranspose2d) for module in made.modules())


def test_kernel_does_to_a_map_what_the_other_does_to_its_double() -> None:
    torch.manual_seed(1)
    weight, coarse = torch.randn(5, 3, 3, 3), torch.randn(2, 3, 7, 4)
    fine = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    wanted = functional.conv2d(fine, weight, padding=1)
    found = functional.conv_transpose2d(coarse, transposed(weight), stride=2, padding=1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("architecture", "depth", "blocks"),
    [("Unet", 5, 5), ("Unet", 3, 3), ("UnetPlusPlus", 4, 7)],
)
def test_networks_give_the_same(architecture: str, depth: int, blocks: int) -> None:
    channels = (24, 16, 12, 8, 6)[:depth]
    made = network(architecture, encoder_depth=depth, decoder_channels=channels)
    pictures = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        before = made(pictures)
        with_doubling(made, torch.zeros(1, 3, 64, 64))
        after = made(pictures)
    assert transposing(made) == blocks
    assert before.std() > 0.01
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"decoder_attention_type": "scse"},
        {"decoder_interpolation": "bilinear"},
        {"decoder_use_norm": False},
    ],
)
def test_what_does_more_between_stays_as_it_is(options: dict[str, Any]) -> None:
    made = network("Unet", decoder_channels=(32, 32, 32, 16, 16), **options)
    pictures = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = made(pictures)
        with_doubling(made, pictures)
        assert transposing(made) == 0
        torch.testing.assert_close(made(pictures), before, atol=1e-4, rtol=1e-4)


def test_a_block_that_enlarges_otherwise_than_twice_stays_as_it_is() -> None:
    class Thrice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            inner = network("Unet", decoder_channels=(24, 16, 12, 8, 6))
            self.block = inner.get_submodule("decoder.blocks.4")

        def forward(self, coarse: Tensor) -> Tensor:
            twice, thrice = ([by * side for side in coarse.shape[2:]] for by in (2, 3))
            return self.block(coarse, *thrice).mean() + self.block(coarse, *twice)

    made, coarse = Thrice().eval(), torch.randn(1, 8, 6, 5)
    with torch.no_grad():
        before = made(coarse)
        with_doubling(made, coarse)
        assert transposing(made) == 0
        assert torch.equal(made(coarse), before)


def test_openvino_gets_them_and_what_reads_layers_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "cache_folder", lambda: tmp_path)
    spec = ModelSpec(
        architecture="Unet",
        encoder=ENCODER,
        encoder_weights=None,
        depth=5,
        decoder_channels=(24, 16, 12, 8, 6),
    )
    tiling = Tiling(tile_px=70, overlap=0.0, downsample=1.0)  # no multiple of 32
    info = BundleInfo(name="tiny", model=spec, classes=GLAND, tiling=tiling)
    segmenter = Segmenter(spec, 1).eval()
    segmenter.network.load_state_dict(
        network("Unet", decoder_channels=(24, 16, 12, 8, 6)).state_dict()
    )
    bundle = Bundle(info, segmenter, "d", torch.device("cpu"))
    tiles = np.random.default_rng(0).integers(0, 256, (1, 70, 70, 3), np.uint8)
    with torch.no_grad():
        wanted = segmenter.probabilities(segmenter(torch.from_numpy(tiles))).numpy()
    core = import_openvino().Core()
    for as_trained, count in ((False, 5), (True, 0)):
        model = core.read_model(converted(bundle, as_trained=as_trained))
        kinds = [op.get_type_name() for op in model.get_ops()]
        assert kinds.count("ConvolutionBackpropData") == count
        told = {"INFERENCE_PRECISION_HINT": "f32"}
        found = core.compile_model(model, "CPU", told)(tiles)[0]
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert transposing(segmenter) == 0
    assert np.ptp(wanted) > 0.1
