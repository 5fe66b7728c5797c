"""Decoders that stop at half the picture's size, against the same worked out by hand."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from slidemask.models.build import build_network, input_multiple
from slidemask.models.doubled import with_doubling
from slidemask.models.spec import ModelSpec

HALF = ModelSpec(
    architecture="Unet", encoder="tu-mobilenetv3_small_050", depth=4, decoder_channels=(16, 12, 8)
)


def test_four_pixels_come_from_each_place_of_the_last_map() -> None:
    torch.manual_seed(0)
    network = build_network(HALF, 2).eval()
    pictures = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        found = network(pictures)
        last = network.get_submodule("decoder")(network.get_submodule("encoder")(pictures))
        head = network.get_submodule("segmentation_head.0")
        assert isinstance(head, nn.Conv2d)
        four = head(last)
    assert last.shape == (2, 8, 32, 48)
    assert found.shape == (2, 3, 64, 96)
    assert input_multiple(network) == 16
    for row, column, value in ((0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)):
        assert torch.equal(found[:, :, row::2, column::2], four[:, value::4])


def test_blocks_that_remain_double_their_maps_in_one_step() -> None:
    torch.manual_seed(0)
    network = build_network(HALF, 1).eval()
    pictures = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = network(pictures)
        with_doubling(network, pictures)
        after = network(pictures)
    assert sum(isinstance(module, nn.ConvTranspose2d) for module in network.modules()) == 3
    assert before.std() > 0.01
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "widths"),
    [("Unet", (16, 12)), ("Unet", (16, 12, 8, 4, 4)), ("UnetPlusPlus", (16, 12, 8))],
)
def test_other_numbers_of_widths_are_refused(architecture: str, widths: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match=f"decoder_channels has {len(widths)} widths"):
        ModelSpec(architecture=architecture, depth=4, decoder_channels=widths)
