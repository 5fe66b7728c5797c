"""Doubling a map and convolving it as one transposed convolution: the same numbers, sooner.

The decoders of U-Net and U-Net++ repeat each value of a map twice along both axes and convolve
that, beside the encoder's map of the same size, 3 x 3. A repeated value meets several weights of
the kernel; added up beforehand they are a transposed convolution of 4 x 4 weights and stride 2,
which multiplies four times where the other does nine times, and no doubled map is written and read.
"""

from typing import Any

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from segmentation_models_pytorch.decoders.unetplusplus.decoder import DecoderBlock
from torch import Tensor, nn
from torch.nn.utils import skip_init
from torch.nn.utils.fusion import fuse_conv_bn_eval

_Block = UnetDecoderBlock | DecoderBlock


class _Doubling(nn.Module):
    """A decoder's block; called as the one whose place it takes.

    Parameters
    ----------
    block : UnetDecoderBlock or DecoderBlock
        In evaluation mode, and plain: `_is_plain`.
    channels : int
        Of the map that is doubled; what else the block's first convolution takes is beside it.
    """

    def __init__(self, block: _Block, channels: int) -> None:
        super().__init__()
        convolution, norm, activation = _parts(block)
        fused = fuse_conv_bn_eval(convolution, norm)
        width, rest = fused.out_channels, fused.in_channels - channels
        self.from_map = skip_init(nn.ConvTranspose2d, channels, width, 4, stride=2, padding=1)
        self.from_map.weight = nn.Parameter(transposed(fused.weight[:, :channels]))
        self.from_map.bias = fused.bias  # type: ignore[assignment]  # where a norm is fused there is one
        self.beside = None
        if rest:
            self.beside = skip_init(nn.Conv2d, rest, width, 3, padding=1, bias=False)
            self.beside.weight = nn.Parameter(fused.weight[:, channels:].contiguous())
        self.after = nn.Sequential(activation, block.conv2, block.attention2)  # type: ignore[arg-type]  # not empty
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, coarse: Tensor, *told: Any, **named: Tensor | None) -> Tensor:  # noqa: ANN401 - sizes, of a U-Net
        """Double and convolve; a U-Net's block is told the size as well, which follows."""
        found = self.from_map(coarse)
        if self.beside is not None:
            found = found + self.beside(named.get("skip_connection", told[-1] if told else None))
        return self.after(found)


def transposed(weight: Tensor) -> Tensor:
    """Return the (I, O, 4, 4) weights that do to a map what (O, I, 3, 3) do to its double."""
    twice = nn.functional.pad(weight.flip(2, 3), (1, 1, 1, 1))
    sums = nn.functional.avg_pool2d(twice, 2, stride=1, divisor_override=1)
    return sums.transpose(0, 1).contiguous()


def with_doubling(network: nn.Module, example: Tensor) -> None:
    """Replace, in place, each block of a decoder that doubles its map and convolves it.

    Parameters
    ----------
    network : Module
        In evaluation mode. One without such blocks stays as it is.
    example : Tensor
        Something that it takes.
    """
    doubled = _doubled(network, example)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _Block) and child in doubled:
                setattr(parent, name, _Doubling(child, doubled[child]))


def _doubled(network: nn.Module, example: Tensor) -> dict[_Block, int]:
    """Return the blocks that exactly double their map, whenever called, and its channels."""
    found, others = dict[_Block, int](), set[_Block]()

    def see(block: Any, told: tuple[Any, ...], _: dict[str, Any]) -> None:  # noqa: ANN401 - a block
        coarse, *size = told
        fine = [2 * side for side in coarse.shape[2:]]
        if isinstance(block, DecoderBlock) or size[:2] == fine:
            found[block] = coarse.shape[1]
        else:
            others.add(block)

    blocks = [one for one in network.modules() if isinstance(one, _Block) and _is_plain(one)]
    hooks = [block.register_forward_pre_hook(see, with_kwargs=True) for block in blocks]
    try:
        with torch.no_grad():
            network(example)
    finally:
        for hook in hooks:
            hook.remove()
    return {block: channels for block, channels in found.items() if block not in others}


def _is_plain(block: _Block) -> bool:
    """Whether a block repeats values and convolves them, with nothing between."""
    if getattr(block, "is_empty", False) or block.interpolation_mode != "nearest":
        return False
    convolution, norm, _ = _parts(block)
    return (
        isinstance(block.attention1.attention, nn.Identity)  # type: ignore[union-attr]  # not empty
        and isinstance(norm, nn.BatchNorm2d)
        and convolution.kernel_size == (3, 3)
        and convolution.stride == convolution.padding == convolution.dilation == (1, 1)
        and convolution.groups == 1
    )


def _parts(block: Any) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.Module]:  # noqa: ANN401 - a block, which has no types
    """Return a block's first convolution, a normalisation of some kind and an activation."""
    convolution, norm, activation = block.conv1
    return convolution, norm, activation
