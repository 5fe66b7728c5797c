"""A plain U-Net of any depth and width.

Ronneberger, Fischer, Brox: U-Net, MICCAI 2015; batch normalisation after each convolution and
padded convolutions, so that the output has the input's size.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn


def double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Return two 3 × 3 convolutions, each followed by batch norm and ReLU."""
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        layers += [
            nn.Conv2d(before, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class Up(nn.Module):
    """Double the resolution, join the encoder's features of that resolution, convolve."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.convolve = double_convolution(2 * outputs, outputs)

    def forward(self, low: Tensor, skip: Tensor) -> Tensor:
        """(N, inputs, h, w) and (N, outputs, 2h, 2w) -> (N, outputs, 2h, 2w)."""
        return self.convolve(torch.cat([skip, self.up(low)], dim=1))


class UNet(nn.Module):
    """Contract `depth` times, expand as often, with a skip connection at each resolution.

    Parameters
    ----------
    channels : int
        Output channels (logits).
    width : int
        Filters n of the first stage; each deeper stage has twice as many.
    depth : int
        How often the resolution is halved; input sides must be multiples of 2**depth.
    """

    def __init__(self, channels: int, width: int = 16, depth: int = 4) -> None:
        super().__init__()
        widths = [width * 2**stage for stage in range(depth + 1)]
        self.first = double_convolution(3, width)
        self.down = nn.ModuleList(double_convolution(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Up(b, a) for a, b in reversed(list(pairwise(widths))))
        self.last = nn.Conv2d(width, channels, 1)
        self.multiple = 2**depth
        self.widths = widths

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, channels, H, W)."""
        return self.decode(self.encode(images))

    def encode(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> features of each resolution, finest first."""
        features = [self.first(images)]
        for stage in self.down:
            features.append(stage(nn.functional.max_pool2d(features[-1], 2)))
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        """Features, finest first -> logits (N, channels, H, W)."""
        *skips, x = features
        for stage in self.up:
            x = stage(x, skips.pop())
        return self.last(x)
