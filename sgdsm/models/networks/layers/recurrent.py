"""Recurrences, in both directions of time or forward: minimal gated units whose gates depend on the input only.

Feng et al., "Were RNNs all we needed?", arXiv 2410.01201 (2024): h_t = (1 - k_t) h_(t-1) + k_t v_t. Tensors are
(T, N, C): days, series, channels.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from sgdsm.core.compiled import compiled_module
from sgdsm.models.networks.layers.block import Block
from sgdsm.models.networks.layers.dropout import ChannelDropout

COMPILED = "sgdsm.models.networks.layers.compiled_scan"


@cache
def _fused() -> ModuleType | None:
    """Return the module with the scan as one CUDA kernel; None without Triton."""
    if find_spec("triton") is None:
        return None
    from sgdsm.models.networks.layers import fused_scan  # it imports Triton, which only CUDA builds of torch bring

    return fused_scan


class _GatedScan(torch.autograd.Function):
    """The scan day by day, as one node of the autograd graph instead of hundreds.

    Half of the channels run from the first day to the last, the other half from the last to the first.
    """

    @staticmethod
    def forward(ctx: Any, keep: Tensor, value: Tensor) -> Tensor:
        h = torch.empty_like(value)
        for half, days in _directions(value):
            # views of all days in one call: made one by one they cost as much as the sums
            k, v, out = (x[:, :, half].unbind() for x in (keep, value, h))
            state = torch.zeros_like(v[0])
            for t in days:
                state = torch.lerp(v[t], state, k[t], out=out[t])
        ctx.save_for_backward(keep, value, h)
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (grad,) = gradients
        keep, value, h = ctx.saved_tensors
        # the adjoint of a scan is a scan in the opposite direction; total: gradient with respect to h
        total, towards_keep = torch.empty_like(grad), torch.empty_like(grad)
        for half, days in _directions(value):
            first, last = days[0], days[-1]
            total[last, :, half] = grad[last, :, half]
            k, g, out = (x[:, :, half].unbind() for x in (keep, grad, total))
            for t, following in zip(days[-2::-1], days[::-1], strict=False):
                torch.addcmul(g[t], k[following], out[following], out=out[t])
            step = days.step
            later = slice(1, None) if step > 0 else slice(None, -1)
            earlier = slice(None, -1) if step > 0 else slice(1, None)
            # dh_t / dkeep_t = h_(t-1) - value_t; the first day has no day before
            torch.sub(h[earlier, :, half], value[later, :, half], out=towards_keep[later, :, half])
            torch.neg(value[first, :, half], out=towards_keep[first, :, half])
        towards_keep *= total
        # dh_t / dvalue_t = 1 - keep_t
        total -= total * keep
        return towards_keep, total


class _CompiledScan(torch.autograd.Function):
    """Sigmoid and scan in one pass, by compiled kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: ModuleType) -> Tensor:
        ctx.kernels, x = kernels, x.contiguous()
        h: Tensor = kernels.forward(x)
        ctx.save_for_backward(x, h)
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.kernels.backward(gradients[0].contiguous(), *ctx.saved_tensors), None


def gated_scan(x: Tensor) -> Tensor:
    """Return h_t = keep_t h_(t-1) + (1 - keep_t) value_t, starting from 0.

    The first half of the channels of h runs forward in time, the second half backward.

    Args:
        x: Gates before the sigmoid, then values, (T, N, 2 C) each, in one tensor (T, N, 4 C).

    Returns:
        h, (T, N, 2 C).
    """
    if torch.compiler.is_exporting():
        keep, value = _gates_and_values(x)
        first, last = (slice(0, value.shape[2] // 2), slice(value.shape[2] // 2, None))
        forth = _by_doubling(keep[..., first], value[..., first])
        back = _by_doubling(keep[..., last].flip(0), value[..., last].flip(0)).flip(0)
        return torch.cat([forth, back], 2)
    return _scan(x)


def one_way_scan(x: Tensor) -> Tensor:
    """Return what `gated_scan` does, all channels forward in time.

    Args:
        x: As there.

    Returns:
        h, (T, N, 2 C).
    """
    # channels that run backward, on days in reverse order
    keep, other_keep, value, other_value = x.chunk(4, 2)
    forth, back = gated_scan(torch.cat([keep, other_keep.flip(0), value, other_value.flip(0)], 2)).chunk(2, 2)
    return torch.cat([forth, back.flip(0)], 2)


@torch.compiler.disable
def _scan(x: Tensor) -> Tensor:
    # not compiled: torch.compile would unroll the loop over the days
    kernels = _kernels(x)
    h: Tensor = _GatedScan.apply(*_gates_and_values(x)) if kernels is None else _CompiledScan.apply(x, kernels)
    return h


def _kernels(x: Tensor) -> ModuleType | None:
    """Return the module with kernels for this device and dtype; None: day by day."""
    if x.is_cuda:
        return _fused() if x.dtype in (torch.float32, torch.bfloat16) else None
    return compiled_module(COMPILED) if x.device.type == "cpu" and x.dtype == torch.float32 else None


def _gates_and_values(x: Tensor) -> tuple[Tensor, Tensor]:
    keep, value = x.chunk(2, 2)
    return torch.sigmoid(keep), value


def _by_doubling(keep: Tensor, value: Tensor) -> Tensor:
    """Return the scan in log2(T) steps, each over twice as many days: an exported program then has few operators."""
    h, days = (1 - keep) * value, 1
    while days < len(keep):
        h = torch.cat([h[:days], h[days:] + keep[days:] * h[:-days]])
        keep = torch.cat([keep[:days], keep[days:] * keep[:-days]])
        days *= 2
    return h


def _directions(x: Tensor) -> tuple[tuple[slice, range], ...]:
    """Return the two halves of the channels, each with the order of its days."""
    days, middle = len(x), x.shape[2] // 2
    return (slice(0, middle), range(days)), (slice(middle, None), range(days - 1, -1, -1))


class _Taps(torch.autograd.Function):
    """A filter of three days for each channel, with zeros beyond the ends; x: (T, N, C), taps: (3, C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor) -> Tensor:
        ctx.save_for_backward(x, taps)
        out = x * taps[1]
        out[1:].addcmul_(x[:-1], taps[0])
        out[:-1].addcmul_(x[1:], taps[2])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (grad,) = gradients
        x, taps = ctx.saved_tensors
        towards_x = grad * taps[1]
        towards_x[:-1].addcmul_(grad[1:], taps[0])
        towards_x[1:].addcmul_(grad[:-1], taps[2])
        pairs = ((x[:-1], grad[1:]), (x, grad), (x[1:], grad[:-1]))
        return towards_x, torch.stack([(a * b).sum((0, 1)) for a, b in pairs])


class RecurrentBlock(Block):
    """x + mix([forward; backward]), then x + dropout(MLP(x)), each after a layer norm.

    A filter of three days precedes the recurrence.

    Args:
        width: Channels of the input, of the output and of the state of each direction.
        dropout: Share of the channels of a series that is dropped, for all its days.
        causal: True to look at no later day: all channels run forward, and the filter ends with the day.
    """

    def __init__(self, width: int, dropout: float, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.norm = nn.LayerNorm(width)
        self.taps = nn.Parameter(torch.tensor([0.0, 1.0, 0.0])[:, None].repeat(1, width))
        self.keep = nn.Linear(width, 2 * width)
        self.value = nn.Linear(width, 2 * width)
        self.mix = nn.Linear(2 * width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        self.dropout = ChannelDropout(dropout, 2, (0,))
        # sigmoid(4) to sigmoid(-2): memories of 55 days to one day at the start
        with torch.no_grad():
            self.keep.bias.copy_(torch.linspace(4, -2, width).repeat(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block, (T, N, C).

        Args:
            x: (T, N, C).
        """
        u = self.norm(x)
        taps = torch.cat([self.taps[:2], torch.zeros_like(self.taps[2:])]) if self.causal else self.taps
        u = _Taps.apply(u, taps.to(u.dtype))
        # both in one product, which reads u once
        weight, bias = (torch.cat([getattr(self.keep, w), getattr(self.value, w)]) for w in ("weight", "bias"))
        inputs = linear(u, weight, bias)
        # the recurrence in float32 also under autocast: hundreds of products would lose their digits. Kernels for CUDA
        # read halves and sum in float32
        inputs = inputs if inputs.is_cuda and _kernels(inputs) else inputs.float()
        x = x + self.mix(one_way_scan(inputs) if self.causal else gated_scan(inputs))
        y = self.narrow(gelu(self.widen(self.mlp_norm(x))))
        return x + self.dropout(y)
