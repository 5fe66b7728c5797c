"""A fully convolutional network with one step back to the input's size, as published for photos."""

from torch import Tensor, nn

HIDDEN = 512
"""Filters between encoder and output (Mohamed, MSc thesis, UT Arlington 2024)."""


class FCN(nn.Module):
    """Any encoder; one convolution of its last features; one transposed convolution to pixels.

    With "resnet50" it is the network of Mohamed (MSc thesis, UT Arlington 2024): 2048 features of
    32 × 32 pixels each, 3 × 3 convolution to 512, ReLU, and a transposed convolution whose kernel
    and stride are 32, so that no block of pixels knows of its neighbours'.

    Parameters
    ----------
    encoder : nn.Module
        Of segmentation_models_pytorch: gives a list of features, finest first, and knows its
        `out_channels` and `output_stride`.
    channels : int
        Output channels (logits).
    hidden : int
        Filters of the convolution.
    """

    def __init__(self, encoder: nn.Module, channels: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.encoder = encoder
        features: int = encoder.out_channels[-1]  # type: ignore[index, assignment]  # an SMP encoder's
        stride = int(encoder.output_stride)  # type: ignore[arg-type]  # an SMP encoder's
        self.head = nn.Sequential(
            nn.Conv2d(features, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(hidden, channels, stride, stride=stride),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), sides multiples of the encoder's stride -> logits (N, channels, H, W)."""
        return self.head(self.encoder(images)[-1])
