"""Recurrences that read a series in both directions: minimal gated units whose gates see the input only.

Feng et al., "Were RNNs all we needed?", arXiv 2410.01201 (2024): h_t = (1 - k_t) h_(t-1) + k_t v_t. Tensors are
(T, N, C): days, series, channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad


class _Scan(torch.autograd.Function):
    """h_t = a_t h_(t-1) + b_t from h_(-1) = 0: day by day, without a graph of hundreds of nodes."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        h = torch.empty_like(b)
        state = torch.zeros_like(b[0])
        for t in range(len(b)):
            state = torch.addcmul(b[t], a[t], state, out=h[t])
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (grad,) = gradients
        a, h = ctx.saved_tensors
        total = torch.empty_like(grad)
        total[-1] = grad[-1]
        for t in range(len(grad) - 2, -1, -1):
            torch.addcmul(grad[t], a[t + 1], total[t + 1], out=total[t])
        towards_a = torch.empty_like(total)
        towards_a[0] = 0
        torch.mul(total[1:], h[:-1], out=towards_a[1:])
        return towards_a, total


def scan(a: Tensor, b: Tensor) -> Tensor:
    """h_t = a_t h_(t-1) + b_t over the first axis, from 0; a, b: (T, N, C), of one type."""
    h: Tensor = _Scan.apply(a, b)
    return h


class RecurrentBlock(nn.Module):
    """x + mix([forward; backward]), then x + dropout(MLP(x)), each after a layer norm and the first after a filter of
    three days.

    width: channels of the input, the output and each direction's state. dropout: whole channels of a series, so that
    one mask holds for all its days.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.taps = nn.Parameter(torch.tensor([0.0, 1.0, 0.0])[:, None].repeat(1, width))
        self.gate = nn.Linear(width, 2 * width)
        self.value = nn.Linear(width, 2 * width)
        self.mix = nn.Linear(2 * width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        self.dropout = dropout
        # memories of 55 days to one
        with torch.no_grad():
            self.gate.bias.copy_(torch.linspace(-4, 2, width).repeat(2))

    def forward(self, x: Tensor) -> Tensor:
        """x: (T, N, C)."""
        u = self.norm(x)
        around = pad(u, (0, 0, 0, 0, 1, 1))
        u = self.taps[0] * around[:-2] + self.taps[1] * u + self.taps[2] * around[2:]
        # the recurrence itself in full precision
        keep = torch.sigmoid(-self.gate(u).float())
        new = (1 - keep) * self.value(u).float()
        width = x.shape[2]
        # one scan for both directions, the second on the days in reverse
        keep, new = (torch.cat([s[..., :width], s[..., width:].flip(0)], -1) for s in (keep, new))
        h = scan(keep, new)
        h = torch.cat([h[..., :width], h[..., width:].flip(0)], -1).to(u.dtype)
        x = x + self.mix(h)
        y = self.narrow(gelu(self.widen(self.mlp_norm(x))))
        if self.training and self.dropout:
            keep_channel = torch.empty(1, *y.shape[1:], device=y.device, dtype=y.dtype)
            y = y * keep_channel.bernoulli_(1 - self.dropout) / (1 - self.dropout)
        return x + y
