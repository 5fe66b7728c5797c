"""What networks and losses are described by; read without PyTorch, which takes long to import."""

from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from slidemask.base.errors import SettingsError
from slidemask.base.settings import Settings
from slidemask.models.imagenet import IMAGENET_MEAN, IMAGENET_STD

TILE = "tile"
"""The architecture that says what a tile shows."""
FCN_NAME = "fcn"
"""The architecture that goes from an encoder's last features to pixels in one step."""
TERM_NAMES = ("bce", "ce", "dice", "focal", "jaccard", "tversky")
"""Terms of a loss (`models.losses`)."""


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
        With one fewer than `depth`, the decoder of "Unet" stops at half the picture's size, and
        its head gives four values for each class there, those of two by two pixels.
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

    @property
    def stops_at_half(self) -> bool:
        """Whether its decoder stops at half the picture's size."""
        return self.architecture == "Unet" and 0 < len(self.decoder_channels) == self.depth - 1

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
        widths = len(self.decoder_channels)
        if widths and widths != self.depth and not self.stops_at_half:
            raise ValueError(
                f"decoder_channels has {widths} widths, depth is {self.depth}: they must be equal, "
                'or one fewer with architecture = "Unet"'
            )
        if self.decoder_channels and self.architecture.lower() == FCN_NAME:
            raise ValueError(
                f"architecture = {FCN_NAME!r} has no decoder: leave out decoder_channels, got "
                f"{self.decoder_channels}"
            )
        return self


class TileNetSpec(Settings):
    """What network to build.

    Parameters
    ----------
    tile_px : int
        Tile side in pixels.
    classes : int
        Foreground classes K: 1 for diseased or not, more for subtypes.
    filters : tuple of int
        Filters of each stage; as many stages as numbers.
    kernel : int
        Side of the convolutions.
    dropouts : tuple of 3 floats
        Dropped shares of the last stage's features, and after each of the dense layers; the
        "pool" head, with one dense layer, uses the first and the last.
    head : {"dense", "pool"}
        "dense", as published: flatten, dense layer of `tile_px` units, of half as many, output.
        "pool", ours: mean over the tile, dense layer of as many units as filters, output; its
        size does not depend on the tile's.
    momentum : float
        Of the batch normalisation: what each batch adds to the moving statistics. Keras's .01
        lags about 100 steps behind; short trainings want more.
    activation : {"sigmoid", "softmax"}
        One output, for a single class; or one for each class and the background.
    mean, std : (red, green, blue)
        Normalisation of pixels scaled to 0..1.
    """

    tile_px: int = Field(default=400, ge=1, le=8192)
    classes: int = Field(default=1, ge=1, le=254)
    filters: tuple[int, ...] = Field(default=(32, 64, 96, 96, 64), min_length=1)
    kernel: int = Field(default=3, ge=1)
    dropouts: tuple[float, float, float] = (0.2, 0.2, 0.3)
    head: Literal["dense", "pool"] = "dense"
    momentum: float = Field(default=0.01, gt=0, le=1)
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @model_validator(mode="after")
    def _possible(self) -> "TileNetSpec":
        if min(self.filters) < 1:
            raise ValueError(f"filters must be positive, got {self.filters}")
        if not all(0 <= share < 1 for share in self.dropouts):
            raise ValueError(f"dropouts must lie in 0..1, below 1, got {self.dropouts}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        if self.activation == "sigmoid" and self.classes > 1:
            raise ValueError(
                f"a sigmoid tells one class from the background, got {self.classes} classes; "
                'give activation = "softmax"'
            )
        return self

    @property
    def outputs(self) -> int:
        """Logits of a tile."""
        return 1 if self.activation == "sigmoid" else self.classes + 1

    @property
    def sides(self) -> tuple[int, ...]:
        """Side of the tile, then of its features after each stage; 0 where nothing is left."""
        sides = [self.tile_px]
        for _ in self.filters:
            sides.append(max(0, sides[-1] - self.kernel + 1) // 2)
        return tuple(sides)

    @property
    def smallest_tile_px(self) -> int:
        """Smallest tile of which the last stage leaves something.

        >>> TileNetSpec().smallest_tile_px
        94
        """
        side = 1
        for _ in self.filters:
            side = 2 * side + self.kernel - 1
        return side


class LossSpec(Settings):
    """A weighted sum of loss terms.

    Parameters
    ----------
    terms : dict of str to float
        Weight of each of bce, ce, dice, jaccard, focal, tversky.
    class_weights : tuple of float
        Weight by class index, background first; empty: all alike. Used by ce, bce and focal.
    focal_gamma : float
        How strongly easy pixels are passed over (Lin et al. 2017).
    tversky_alpha, tversky_beta : float
        Cost of false positives and of misses (Salehi et al. 2017).
    """

    terms: dict[str, float] = Field(default_factory=lambda: {"ce": 1.0, "dice": 1.0}, min_length=1)
    class_weights: tuple[float, ...] = ()
    focal_gamma: float = Field(default=2.0, ge=0)
    tversky_alpha: float = Field(default=0.3, ge=0)
    tversky_beta: float = Field(default=0.7, ge=0)

    @field_validator("terms")
    @classmethod
    def _known(cls, terms: dict[str, float]) -> dict[str, float]:
        unknown = set(terms) - set(TERM_NAMES)
        if unknown:
            raise ValueError(f"unknown loss terms {sorted(unknown)}; known: {sorted(TERM_NAMES)}")
        return terms


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


def require_room(spec: TileNetSpec) -> None:
    """Make sure that the last stage leaves something of a tile.

    Raises
    ------
    SettingsError
        If the tile is too small for so many stages.
    """
    if spec.tile_px < spec.smallest_tile_px:
        raise SettingsError(
            f"Tiles of {spec.tile_px} px are too small for {len(spec.filters)} stages: give "
            f"tile_px of {spec.smallest_tile_px} or more, or fewer filters."
        )
