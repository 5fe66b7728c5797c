"""Build a network from its description."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from slidemask.base.errors import BundleError, SettingsError
from slidemask.models.context import ContextNetwork
from slidemask.models.fcn import FCN
from slidemask.models.refined import RefinedTileNet
from slidemask.models.spec import FCN_NAME, TILE, ModelSpec, tile_spec
from slidemask.models.tilecnn import TileNet
from slidemask.models.unet import UNet


def build_network(
    spec: ModelSpec, classes: int, context: float | None = None, tile_px: int | None = None
) -> nn.Module:
    """Build the network `spec` describes, for so many foreground classes.

    With a `context` it sees tiles and their surroundings, so many times coarser. A network that
    votes needs to know the tile's side.

    Raises
    ------
    SettingsError
        If architecture or encoder has no such name, the architecture cannot use a context, or
        does not fit classes or tile.
    BundleError
        If encoder weights cannot be loaded.
    """
    network = _network(spec, classes, tile_px)
    return network if context is None else ContextNetwork(network, context)


def _network(spec: ModelSpec, classes: int, tile_px: int | None) -> nn.Module:
    if spec.architecture != TILE:
        outputs = classes if spec.activation == "sigmoid" else classes + 1
        if spec.architecture == "unet":
            return UNet(outputs, spec.width, spec.depth)
        return _library_network(spec, outputs)
    if spec.refine:  # the tile's side does not matter to it
        return RefinedTileNet(tile_spec(spec, classes, tile_px or 1), spec.refine)
    if tile_px is None:
        raise SettingsError('architecture = "tile" needs the side of its tiles (tiling.tile_px).')
    return TileNet(tile_spec(spec, classes, tile_px))


def input_multiple(network: nn.Module) -> int:
    """Return the number that input sides must be multiples of."""
    if isinstance(network, ContextNetwork):
        return input_multiple(network.network)
    if isinstance(network, TileNet):
        return 1
    if isinstance(network, UNet | RefinedTileNet):
        return network.multiple
    return int(max(network.encoder.output_stride, 1))  # type: ignore[union-attr]  # all SMP models have one


def _library_network(spec: ModelSpec, channels: int) -> nn.Module:
    """Build a network on an encoder of segmentation_models_pytorch, and load its weights."""
    import segmentation_models_pytorch as smp

    architectures = {name.lower(): name for name in smp.MODEL_ARCHITECTURES_MAPPING}
    _check_name("architecture", spec.architecture.lower(), [*architectures, FCN_NAME])
    if not spec.encoder.startswith("tu-"):
        _check_name("encoder", spec.encoder, list(smp.encoders.encoders))
    local = spec.encoder_weights is not None and Path(spec.encoder_weights).suffix != ""
    try:
        network = _with_encoder(spec, channels, None if local else spec.encoder_weights)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"segmentation_models_pytorch could not build {spec.architecture} with encoder "
            f"{spec.encoder!r}, weights {spec.encoder_weights!r}, depth {spec.depth}: {error}. "
            "Without a network, give encoder_weights the path of a .safetensors file."
        ) from error
    if local:
        _load_encoder(network, Path(str(spec.encoder_weights)))
    return network


def _with_encoder(spec: ModelSpec, channels: int, weights: str | None) -> nn.Module:
    import segmentation_models_pytorch as smp

    if spec.architecture.lower() == FCN_NAME:
        encoder = smp.encoders.get_encoder(spec.encoder, depth=spec.depth, weights=weights)
        return FCN(encoder, channels)
    options: dict[str, Any] = {"encoder_depth": spec.depth}
    if widths := spec.decoder_channels:
        options["decoder_channels"] = (*widths, widths[-1]) if spec.stops_at_half else widths
    network = smp.create_model(
        spec.architecture, spec.encoder, encoder_weights=weights, classes=channels, **options
    )
    return _stopped_at_half(network, widths[-1], channels) if spec.stops_at_half else network


def _stopped_at_half(network: Any, width: int, channels: int) -> nn.Module:  # noqa: ANN401 - a U-Net of SMP, which has no types
    """Take the last block off a U-Net; its head says four pixels at once (Shi et al., CVPR 2016).

    That block sees no features of its own, and has the most pixels of all.
    """
    network.decoder.blocks = network.decoder.blocks[:-1]
    head = nn.Conv2d(width, 4 * channels, 3, padding=1)
    nn.init.xavier_uniform_(head.weight)
    nn.init.zeros_(head.bias)  # type: ignore[arg-type]  # it has one
    network.segmentation_head = nn.Sequential(head, nn.PixelShuffle(2))
    return network


def _load_encoder(network: nn.Module, path: Path) -> None:
    """Load a timm or SMP encoder's weights; a classifier head in the file may be left over."""
    if not path.is_file():
        raise BundleError(f"Encoder weights {path} do not exist; mend model.encoder_weights.")
    encoder = network.get_submodule("encoder")
    inner = getattr(encoder, "model", None)  # where SMP wraps a network of timm
    target = inner if isinstance(inner, nn.Module) else encoder
    state: dict[str, torch.Tensor] = load_file(path)
    unlike = [
        name
        for name, tensor in target.state_dict().items()
        if name not in state or state[name].shape != tensor.shape
    ]
    if unlike:
        raise BundleError(
            f"{path} does not fit encoder {type(encoder).__name__}: {len(unlike)} tensors are "
            f"missing or of another shape, among them {', '.join(unlike[:3])}."
        )
    target.load_state_dict(state, strict=False)


def _check_name(what: str, name: str, valid: list[str]) -> None:
    if name not in valid:
        near = get_close_matches(name, valid, 3) or sorted(valid)[:8]
        raise SettingsError(f"There is no {what} {name!r}. Nearest: {', '.join(near)}.")
