"""Build a network from its description."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError, field_validator, model_validator
from safetensors.torch import load_file
from torch import nn

from slidemask.base.errors import BundleError, SettingsError
from slidemask.base.settings import Settings
from slidemask.models.context import ContextNetwork
from slidemask.models.fcn import FCN
from slidemask.models.imagenet import IMAGENET_MEAN, IMAGENET_STD
from slidemask.models.refined import RefinedTileNet
from slidemask.models.tilecnn import TileNet, TileNetSpec
from slidemask.models.unet import UNet

TILE = "tile"
"""The architecture that says what a tile shows."""
FCN_NAME = "fcn"
"""The architecture that goes from an encoder's last features to pixels in one step."""


class ModelSpec(Settings):
    """What network to build.

    Parameters
    ----------
    architecture : str
        "unet" is our plain U-Net; "tile" says what a tile shows, one vote for all its pixels;
        "fcn" goes from an encoder's last features to pixels in one step (Mohamed 2024); any other
        name is one of segmentation_models_pytorch ("Unet", "UnetPlusPlus", "DeepLabV3Plus",
        "FPN", …).
    width, depth : int
        Filters of the first stage and number of halvings of the plain U-Net; `depth` is the
        encoder's depth for the others.
    encoder : str
        Encoder of segmentation_models_pytorch ("resnet34", "efficientnet-b0",
        "tu-mobilenetv2_100", …), also of "fcn".
    encoder_weights : str, optional
        A name such as "imagenet" (downloaded by the library) or the path of a .safetensors file.
        TOML knows no None: there "" is chance.
    start : str, optional
        A shipped model, bundle or run from whose weights training starts; it must have the same
        network, but for the number of classes. TOML knows no None: there "" is none.
    decoder_channels : tuple of int
        Widths of the decoder's stages, deepest first; empty: the library's own. "fcn" has none.
    activation : {"softmax", "sigmoid"}
        Softmax over background and classes, or one independent sigmoid a class.
    mean, std : (red, green, blue)
        Normalisation of pixels scaled to 0..1; ImageNet's unless said otherwise.
    temperature : float
        Logits are divided by it to give probabilities; training leaves it at 1, and
        `selection.calibrate` fits it afterwards.
    filters, kernel, dropouts, head, momentum : optional
        Of "tile": see `TileNetSpec`. The "dense" head, as published, fits tiles of one size; the
        "pool" head any.
    min_share : float
        Of "tile": a tile counts as its most frequent class where more than nothing and at least
        this share of its known pixels is foreground, otherwise as background.
    refine : int
        Of "tile" with the "pool" head: channels of a decoder that refines the vote to single
        pixels; 0 = none. Such a network is trained and used like a U-Net.
    """

    architecture: str = "unet"
    width: int = Field(default=16, ge=1)
    depth: int = Field(default=4, ge=1, le=7)
    encoder: str = "resnet34"
    encoder_weights: str | None = None
    start: str | None = None
    decoder_channels: tuple[int, ...] = ()
    activation: Literal["softmax", "sigmoid"] = "softmax"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    temperature: float = Field(default=1.0, gt=0)
    filters: tuple[int, ...] = Field(default=(32, 64, 96, 96, 64), min_length=1)
    kernel: int = Field(default=3, ge=1)
    dropouts: tuple[float, float, float] = (0.2, 0.2, 0.3)
    head: Literal["dense", "pool"] = "dense"
    momentum: float = Field(default=0.01, gt=0, le=1)
    min_share: float = Field(default=0.5, ge=0, le=1)
    refine: int = Field(default=0, ge=0)

    @field_validator("encoder_weights", "start", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @property
    def votes(self) -> bool:
        """Whether it predicts one class for a tile, not one for each pixel."""
        return self.architecture == TILE and self.refine == 0

    @model_validator(mode="after")
    def _refinable(self) -> "ModelSpec":
        if self.refine and (self.architecture, self.head) != (TILE, "pool"):
            raise ValueError(
                f"refine = {self.refine} needs architecture = {TILE!r} and head = 'pool', got "
                f"{self.architecture!r} and {self.head!r}"
            )
        if self.refine and self.kernel % 2 == 0:
            raise ValueError(f"refine needs an odd kernel, got {self.kernel}")
        return self

    @model_validator(mode="after")
    def _decoder_fits(self) -> "ModelSpec":
        if self.decoder_channels and len(self.decoder_channels) != self.depth:
            raise ValueError(
                f"decoder_channels has {len(self.decoder_channels)} widths, "
                f"depth is {self.depth}: they must be equal"
            )
        if self.decoder_channels and self.architecture.lower() == FCN_NAME:
            raise ValueError(
                f"architecture = {FCN_NAME!r} has no decoder: leave out decoder_channels, got "
                f"{self.decoder_channels}"
            )
        return self


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


def tile_spec(spec: ModelSpec, classes: int, tile_px: int) -> TileNetSpec:
    """Return the tile classifier that `spec` describes.

    Raises
    ------
    SettingsError
        If its numbers are impossible, or a sigmoid shall tell several classes apart.
    """
    names = (
        "filters", "kernel", "dropouts", "head", "momentum", "activation", "mean", "std",
    )  # fmt: skip
    told = {name: getattr(spec, name) for name in names}
    try:
        return TileNetSpec.model_validate({"tile_px": tile_px, "classes": classes, **told})
    except ValidationError as error:
        faults = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise SettingsError(f"The tile classifier cannot be built: {faults}.") from error


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
    if spec.decoder_channels:
        options["decoder_channels"] = spec.decoder_channels
    return smp.create_model(
        spec.architecture, spec.encoder, encoder_weights=weights, classes=channels, **options
    )


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
