"""A tile's vote, refined to single pixels by features of the same small network."""

from itertools import pairwise

from torch import Tensor, nn

from slidemask.models.tilecnn import TileNetSpec, TileStage, pool_head


class RefinedTileNet(nn.Module):
    """The tile classifier's stages, with a logit for each pixel.

    What the whole tile shows is decided as in `TileNet` with the "pool" head. A small decoder adds
    to it at each pixel: features of the last stage, which see far, and of the third, which see
    finely. Convolutions continue the tile at its edges, so that features cover all of it.

    Parameters
    ----------
    spec : TileNetSpec
        Stages and head; the kernel's side is odd.
    refine : int
        Channels of the decoder.

    Examples
    --------
    >>> import torch
    >>> net = RefinedTileNet(TileNetSpec(head="pool", activation="softmax"), refine=32)
    >>> net(torch.zeros(1, 3, 64, 96)).shape
    torch.Size([1, 2, 64, 96])
    >>> sum(parameter.numel() for parameter in net.parameters())
    223940
    """

    def __init__(self, spec: TileNetSpec, refine: int) -> None:
        super().__init__()
        widths = pairwise((3, *spec.filters))
        self.stages = nn.ModuleList(
            TileStage(a, b, spec.kernel, momentum=spec.momentum, padding=spec.kernel // 2)
            for a, b in widths
        )
        self.fine = min(3, len(spec.filters)) - 1
        self.head = pool_head(spec)
        self.from_fine = nn.Conv2d(spec.filters[self.fine], refine, 1)
        self.from_last = nn.Conv2d(spec.filters[-1], refine, 1)
        self.decode = nn.Conv2d(refine, spec.outputs, 3, padding=1, padding_mode="replicate")
        self.multiple = 2 ** len(spec.filters)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, outputs, H, W); sides are multiples of 2**stages."""
        features = [images]
        for stage in self.stages:
            features.append(stage(features[-1]))
        fine, last = features[1 + self.fine], features[-1]
        seen = self.from_fine(fine) + _resized(self.from_last(last), fine)
        return _resized(self.decode(seen.relu()), images) + self.head(last)[:, :, None, None]


def _resized(features: Tensor, like: Tensor) -> Tensor:
    """Interpolate linearly between pixel centres."""
    return nn.functional.interpolate(features, like.shape[2:], mode="bilinear", align_corners=False)
