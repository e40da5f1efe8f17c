"""Partial convolution: a convolution that knows which of its inputs are there.

Liu et al., "Image inpainting for irregular holes using partial convolutions", ECCV 2018, Eqs. 1-2, in three dimensions
as in SGD-SM (Zhang et al., ESSD 13, 1385, 2021).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, pad


class PartialConv3d(nn.Module):
    """x' = W * (x m) n / sum(m) + b where sum(m) > 0, else 0; m' = [sum(m) > 0].

    n is the number of kernel elements; cells outside the window count as missing. The mask has one channel, whatever
    the number of feature channels, so updating it costs a box sum.

    kernel: odd sizes (days, rows, columns). The output has the size of the input.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        if any(size % 2 == 0 for size in kernel):
            raise ValueError(f"kernel {kernel}: expected odd sizes")
        self.kernel = kernel
        self.padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.conv = nn.Conv3d(channels_in, channels_out, kernel, padding=self.padding, bias=False)
        self.bias = nn.Parameter(self.conv.weight.new_zeros(channels_out, 1, 1, 1))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x: (B, C, T, H, W); mask: (B, 1, T, H, W), 1 where x is there. Returns both, one layer on."""
        around = [size for half in reversed(self.padding) for size in (half, half)]
        share = avg_pool3d(pad(mask, around), self.kernel, stride=1)
        # half a kernel element: below it the sum of the mask is 0 up to rounding
        found = (share > 0.5 / self.conv.weight[0, 0].numel()).to(x.dtype)
        ratio = found / (share + (1 - found))
        return self.conv(x * mask) * ratio + self.bias * found, found
