"""Two magnifications together: a tile in detail, and its surroundings coarser.

The idea is HookNet's (van Rijthoven, Balkenhol, Siliņa, van der Laak, Ciompi: Med Image Anal
68:101890, 2021): of what is seen in a coarse field of view about the same centre, the part that
the tile covers is cut out and joined to the tile's own features. HookNet has two U-Nets with
weights of their own, and cuts, by whole feature pixels, from the coarse one's decoder where a pixel
is as large on the slide as one of the fine one's bottleneck. Here one encoder sees both views, so
that a pretrained one serves twice and the model hardly grows. There is no coarse decoder: features
are cut from all levels of the encoder from that size of pixel on, down to the deepest, which sees
farthest. The cut is by fractions of a feature pixel, so that any ratio of magnifications will do.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slidemask.base.errors import SettingsError
from slidemask.models.unet import UNet


class ContextNetwork(nn.Module):
    """A network that looks at a tile and, by the same encoder, at its surroundings.

    Parameters
    ----------
    network : Module
        `UNet`, or any of segmentation_models_pytorch with encoder, decoder and head.
    context : float
        How many times wider and coarser the surroundings are.

    Raises
    ------
    SettingsError
        If the network is not made of these parts.
    """

    def __init__(self, network: nn.Module, context: float) -> None:
        super().__init__()
        widths, strides = _levels(network)
        self.network, self.context = network, context
        # Those levels whose pixels are, on the slide, no smaller than the tile's deepest.
        self._taken = [
            level
            for level, (width, stride) in enumerate(zip(widths, strides, strict=True))
            if level and width and stride * context >= strides[-1]
        ]
        inputs = widths[-1] + sum(widths[level] for level in self._taken)
        self.mix = nn.Sequential(
            nn.Conv2d(inputs, widths[-1], 1, bias=False),
            nn.BatchNorm2d(widths[-1]),
            nn.ReLU(inplace=True),
        )

    @property
    def encoder(self) -> nn.Module | None:
        """The encoder of both views, where it is a module of its own."""
        return getattr(self.network, "encoder", None)

    def forward(self, views: Tensor, covered: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """(2 N, 3, H, W), all tiles before all surroundings -> logits (N, channels, H, W).

        `covered` are the shares of height and width that are tile, and not padding behind it.
        """
        # (2, N, ...) rather than a cut at N: exporters need not find out that halves are equal.
        features = [level.unflatten(0, (2, -1)) for level in self._encode(views)]
        tile = [level[0] for level in features]
        deepest = tile[-1]
        shape = (deepest.shape[2], deepest.shape[3])
        around = [
            cut_centre(features[level][1], self.context, shape, covered) for level in self._taken
        ]
        tile[-1] = self.mix(torch.cat([deepest, *around], dim=1))
        return self._decode(tile)

    def _encode(self, images: Tensor) -> list[Tensor]:
        if isinstance(self.network, UNet):
            return self.network.encode(images)
        return list(self.network.get_submodule("encoder")(images))

    def _decode(self, features: list[Tensor]) -> Tensor:
        if isinstance(self.network, UNet):
            return self.network.decode(features)
        decoded = self.network.get_submodule("decoder")(features)
        return self.network.get_submodule("segmentation_head")(decoded)


def cut_centre(
    features: Tensor,
    context: float,
    shape: tuple[int, int],
    covered: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Cut out of the surroundings' features the part that the tile covers, and resize it.

    Values are interpolated linearly between the centres of feature pixels, also where they lie
    just outside the part, so that nothing is rounded to whole pixels.

    Parameters
    ----------
    features : (N, C, h, w)
        Of the surroundings.
    context : float
        How many times wider than the tile they are.
    shape : (rows, columns)
        Of the tile's own features.
    covered : (float, float)
        Shares of height and width that are not padding, which is below and to the right.

    Returns
    -------
    (N, C, rows, columns)

    Examples
    --------
    >>> ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    >>> cut_centre(ramp, 2, (4, 4))[0, 0, 0]
    tensor([2., 3., 4., 5.])
    >>> cut_centre(ramp, 4, (4, 4))[0, 0, 0]
    tensor([2.7500, 3.2500, 3.7500, 4.2500])
    """
    rows, columns = (
        _weights(features.shape[2 + axis], shape[axis], context, covered[axis]).to(features)
        for axis in (0, 1)
    )
    return rows @ features @ columns.T


def _weights(cells: int, wanted: int, context: float, covered: float) -> Tensor:
    """Return (wanted, cells) weights of linear interpolation along one axis.

    A product of matrices, and not `grid_sample`, whose gradient on CUDA differs from run to run.
    """
    place = (torch.arange(wanted, dtype=torch.float64) + 0.5) / wanted  # 0..1, with the padding
    centre = covered / 2
    seen = (centre + (place - centre) / context) * cells - 0.5
    seen = seen.clamp(0, cells - 1)
    return (1 - (seen[:, None] - torch.arange(cells)).abs()).clamp(min=0)


def _levels(network: nn.Module) -> tuple[Sequence[int], Sequence[int]]:
    """Return channels and stride of each level of a network's encoder, finest first."""
    if isinstance(network, UNet):
        return network.widths, [2**level for level in range(len(network.widths))]
    name = type(network).__name__
    if name == "DPT" or not all(
        isinstance(getattr(network, part, None), nn.Module)
        for part in ("encoder", "decoder", "segmentation_head")
    ):
        raise SettingsError(
            f"{name} cannot see a tile's surroundings: it has no plain encoder, decoder and head. "
            "Leave tiling.context out, or take another model.architecture, such as Unet."
        )
    encoder = network.get_submodule("encoder")
    widths, deepest = list(encoder.out_channels), int(encoder.output_stride)  # type: ignore[call-overload]  # SMP's encoders have both
    return widths, [min(2**level, deepest) for level in range(len(widths))]
