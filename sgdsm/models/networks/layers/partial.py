"""Partial convolutions, normalised by the number of present inputs: a layer and a residual block.

Liu et al., "Image inpainting for irregular holes using partial convolutions", ECCV 2018, Eqs. 1-2, in three dimensions
as in SGD-SM (Zhang et al., ESSD 13, 1385, 2021).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv3d, gelu, layer_norm, linear, pad

from sgdsm.models.networks.layers.block import Block
from sgdsm.models.networks.layers.dropout import ChannelDropout


class PartialConv3d(nn.Module):
    """x' = W * (x m) n / sum(m) + b where sum(m) > 0, else 0; m' = [sum(m) > 0].

    n is the number of kernel elements; cells outside the window count as missing. The mask has one channel whatever
    the number of feature channels, so that its update costs a box sum. The output has the size of the input.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        kernel: Odd sizes (days, rows, columns).
        causal: True for a kernel that ends with the day, in place of one around it.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: tuple[int, int, int], causal: bool = False) -> None:
        super().__init__()
        if any(size % 2 == 0 for size in kernel):
            raise ValueError(f"kernel {kernel}: expected odd sizes")
        self.kernel, self.later = kernel, kernel[0] // 2 if causal else 0
        self.padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.channels_in = channels_in
        first = nn.Conv3d(channels_in, channels_out, kernel).weight.data
        # a matrix, so that Muon can train it; its columns are in channels-last order
        self.weight = nn.Parameter(first.permute(0, 2, 3, 4, 1).flatten(1).contiguous())
        self.bias = nn.Parameter(first.new_zeros(channels_out, 1, 1, 1))

    @property
    def filters(self) -> Tensor:
        """Filters, (channels out, channels in, days, rows, columns), a view of `weight`."""
        return self.weight.unflatten(1, (*self.kernel, self.channels_in)).permute(0, 4, 1, 2, 3)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and mask after the layer.

        Args:
            x: (B, C, T, H, W).
            mask: 1 where x is present, else 0, (B, 1, T, H, W).
        """
        if self.later:
            # a kernel around the day sees earlier days then
            x, mask = (pad(f, (0, 0, 0, 0, self.later, 0))[:, :, : f.shape[2]] for f in (x, mask))
        present = box_sum(mask, self.kernel)
        new_mask = (present > 0).to(mask.dtype)
        elements = self.kernel[0] * self.kernel[1] * self.kernel[2]
        y = (
            one_conv3d(x * mask, self.filters)
            if self.channels_in == 1
            else conv3d(x * mask, self.filters, padding=self.padding)
        )
        # the mask stays in full precision; under autocast the product may be in half
        ratio, known = ((new_mask * elements / present.clamp(min=1)).to(y.dtype), new_mask.to(y.dtype))
        return _Renormalised.apply(y, self.bias.to(y.dtype), ratio, known), new_mask


class _Renormalised(torch.autograd.Function):
    """y ratio + bias known, in place in both directions: each pass over the features costs a tenth of the product.

    `ratio` is 0 where `known` is 0.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor, ratio: Tensor, known: Tensor) -> Tensor:
        ctx.save_for_backward(ratio, known)
        ctx.mark_dirty(y)
        y.mul_(ratio).addcmul_(bias, known)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        ratio, known = ctx.saved_tensors
        grad = gradients[0] * known
        towards_bias = grad.sum((0, 2, 3, 4))[:, None, None, None]
        return grad.mul_(ratio), towards_bias, None, None


def box_sum(field: Tensor, kernel: tuple[int, int, int]) -> Tensor:
    """Return sums over boxes around each element, with zeros beyond the ends.

    Args:
        field: (B, 1, T, H, W).
        kernel: Odd sizes of the box (days, rows, columns).

    Returns:
        Sums, (B, 1, T, H, W).
    """
    # separable: one axis after the other
    for axis, size in zip((2, 3, 4), kernel, strict=True):
        if size > 1:
            around = [0] * 6
            around[2 * (4 - axis)] = around[2 * (4 - axis) + 1] = size // 2
            wide, length = pad(field, around), field.shape[axis]
            field = wide.narrow(axis, 0, length)
            for shift in range(1, size):
                field = field + wide.narrow(axis, shift, length)
    return field


class Mix(nn.Linear):
    """A convolution of 1 x 1 x 1 as a matrix product, which is faster; from (B, C, T, H, W) to the same."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x.movedim(1, -1), self.weight, self.bias).movedim(-1, 1)


def one_conv3d(x: Tensor, weight: Tensor) -> Tensor:
    """A convolution of a single channel as one in two dimensions with the days of the kernel as channels."""
    days, *around = weight.shape[2:]
    wide = pad(x[:, 0], (0, 0, 0, 0, days // 2, days // 2)).unfold(1, days, 1).movedim(-1, 2)
    wide = wide.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    y = conv2d(wide, weight[:, 0], padding=(around[0] // 2, around[1] // 2))
    return y.unflatten(0, (len(x), -1)).transpose(1, 2)


class PartialBlock(Block):
    """x + mix(gelu(partial convolution(gelu(norm(x))))); the skip connection is not masked.

    The norm is over the channels of each value, so that the receptive field is that of the filters.

    Args:
        channels: Of input and output.
        kernel: Odd sizes (days, rows, columns).
        dropout: Share of the channels that is dropped.
        causal: See `PartialConv3d`.
    """

    def __init__(self, channels: int, kernel: tuple[int, int, int], dropout: float, causal: bool = False) -> None:
        super().__init__()
        self.partial = PartialConv3d(channels, channels, kernel, causal)
        self.mix = Mix(channels, channels)
        self.dropout = ChannelDropout(dropout, 1, (2, 3, 4))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and mask after the block.

        Args:
            x: (B, C, T, H, W).
            mask: 1 where x is present, else 0, (B, 1, T, H, W).
        """
        normed = layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)
        y, mask = self.partial(gelu(normed), mask)
        return x + self.dropout(self.mix(gelu(y))), mask
