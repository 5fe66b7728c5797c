"""The fully convolutional network, against its published description written out in torch alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from slidemask.base.errors import SettingsError
from slidemask.models.build import ModelSpec, build_network, input_multiple
from slidemask.models.fcn import FCN
from slidemask.models.segmenter import Segmenter

SPEC = ModelSpec(architecture="fcn", encoder="resnet18", depth=5)


def test_resnet50_has_the_published_layers() -> None:
    network = build_network(SPEC.model_copy(update={"encoder": "resnet50"}), classes=1)
    head = nn.Sequential(nn.Conv2d(2048, 512, 3, padding=1), nn.ConvTranspose2d(512, 2, 32, 32))
    encoder = 23_508_032  # of torchvision's resnet50 without its pooling and classification
    ours = sum(weight.numel() for weight in network.parameters())
    assert ours == encoder + sum(weight.numel() for weight in head.parameters())
    assert input_multiple(network) == 32


def test_every_block_of_pixels_comes_from_one_feature() -> None:
    torch.manual_seed(0)
    network = build_network(SPEC, classes=2).eval()
    assert isinstance(network, FCN)
    images = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        features = network.encoder(images)[-1]
        convolve, spread = network.head[0], network.head[2]
        assert isinstance(spread, nn.ConvTranspose2d)
        assert spread.bias is not None
        hidden = torch.relu(convolve(features))
        # A transposed convolution whose stride is its kernel: one matrix product a feature.
        blocks = torch.einsum("nchw,coyx->nohywx", hidden, spread.weight)
        expected = blocks.reshape(2, 3, 64, 96) + spread.bias[:, None, None]
        assert torch.allclose(network(images), expected, atol=1e-5)


def test_it_takes_any_size_and_any_encoder() -> None:
    for encoder in ("resnet18", "tu-mobilenetv2_100"):
        segmenter = Segmenter(SPEC.model_copy(update={"encoder": encoder}), 2).eval()
        photo = torch.zeros(1, 50, 70, 3, dtype=torch.uint8)
        with torch.inference_mode():
            assert segmenter(photo).shape == (1, 3, 50, 70)


def test_encoder_weights_are_loaded_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = build_network(SPEC, classes=1).get_submodule("encoder").state_dict()
    path = tmp_path / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    torch.manual_seed(2)
    loaded = build_network(SPEC.model_copy(update={"encoder_weights": str(path)}), classes=1)
    own = loaded.get_submodule("encoder").state_dict()
    assert all(np.array_equal(own[name], tensor) for name, tensor in state.items())


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValidationError, match="'fcn' has no decoder: leave out decoder_channels"):
        ModelSpec(architecture="fcn", depth=2, decoder_channels=(8, 4))
    with pytest.raises(SettingsError, match=r"no encoder 'resnet5'. Nearest: resnet50"):
        build_network(SPEC.model_copy(update={"encoder": "resnet5"}), classes=1)
    with pytest.raises(SettingsError, match=r"no architecture 'fcm'. Nearest: .*fcn"):
        build_network(SPEC.model_copy(update={"architecture": "fcm"}), classes=1)


def test_an_empty_name_of_weights_is_none() -> None:
    assert ModelSpec.model_validate({"encoder_weights": ""}).encoder_weights is None
