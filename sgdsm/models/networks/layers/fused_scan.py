"""The gated scan as one CUDA kernel: sigmoid and recurrence together, each value read and written once.

Triton comes with torch for CUDA; this module is imported only with a GPU. A program processes some channels of one
direction through all days; the values of the next days are on their way while it computes. Sums are in float32,
whatever the inputs are.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 128  # channels of series in a program
WARPS = 2  # so that a thread has two neighbouring channels: copies ahead take at least four bytes
STAGES = 4  # days on their way


@triton.jit
def _forward(x, h, days, series, width: tl.constexpr, size: tl.constexpr, stages: tl.constexpr):  # type: ignore[no-untyped-def]
    # 64-bit indices: a large batch has more than 2 ** 31 values
    column = tl.program_id(0).to(tl.int64) * size + tl.arange(0, size)
    half = tl.program_id(1)
    n = column // width
    inside = n < series
    c = column % width + half * width
    gates, out = x + n * 4 * width + c, h + n * 2 * width + c
    state = tl.zeros([size], tl.float32)
    for step in tl.range(days, num_stages=stages):
        day = tl.where(half == 1, days - 1 - step, step).to(tl.int64)
        at = gates + day * series * 4 * width
        keep = tl.sigmoid(tl.load(at, inside, 0.0).to(tl.float32))
        value = tl.load(at + 2 * width, inside, 0.0).to(tl.float32)
        state = value + keep * (state - value)
        tl.store(out + day * series * 2 * width, state.to(h.dtype.element_ty), inside)


@triton.jit
def _backward(grad, x, h, to_x, days, series, width: tl.constexpr, size: tl.constexpr, stages: tl.constexpr):  # type: ignore[no-untyped-def]
    column = tl.program_id(0).to(tl.int64) * size + tl.arange(0, size)
    half = tl.program_id(1)
    n = column // width
    inside = n < series
    c = column % width + half * width
    inputs, outputs = n * 4 * width + c, n * 2 * width + c
    # gradient that comes from later days (earlier ones in the reversed half)
    coming = tl.zeros([size], tl.float32)
    for step in tl.range(days, num_stages=stages):
        day = tl.where(half == 1, step, days - 1 - step).to(tl.int64)
        before = tl.where(half == 1, day + 1, day - 1)
        at, out = inputs + day * series * 4 * width, outputs + day * series * 2 * width
        keep = tl.sigmoid(tl.load(x + at, inside, 0.0).to(tl.float32))
        value = tl.load(x + at + 2 * width, inside, 0.0).to(tl.float32)
        total = tl.load(grad + out, inside, 0.0).to(tl.float32) + coming
        earlier = tl.load(h + outputs + before * series * 2 * width, inside & (step + 1 < days), 0.0).to(tl.float32)
        coming = keep * total
        # dh_t / dvalue_t = 1 - keep_t; dh_t / dkeep_t = h_(t-1) - value_t
        to_value = total - coming
        to_gate = to_value * keep * (earlier - value)
        tl.store(to_x + at, to_gate.to(to_x.dtype.element_ty), inside)
        tl.store(to_x + at + 2 * width, to_value.to(to_x.dtype.element_ty), inside)


def forward(x: Tensor) -> Tensor:
    """Return h of `gated_scan`, (T, N, 2 C), of the dtype of x.

    Args:
        x: Gates before the sigmoid and values, (T, N, 4 C) float32 or bfloat16, contiguous.
    """
    days, series, width = len(x), x.shape[1], x.shape[2] // 4
    h = x.new_empty(days, series, 2 * width)
    _forward[_grid(series, width)](x, h, days, series, width, COLUMNS, STAGES, num_warps=WARPS)
    return h


def backward(grad: Tensor, x: Tensor, h: Tensor) -> Tensor:
    """Return the gradient with respect to x, (T, N, 4 C).

    Args:
        grad: With respect to h, (T, N, 2 C), contiguous.
        x: See `forward`.
        h: Result of `forward`.
    """
    days, series, width = len(x), x.shape[1], x.shape[2] // 4
    to_x = torch.empty_like(x)
    _backward[_grid(series, width)](grad, x, h, to_x, days, series, width, COLUMNS, STAGES, num_warps=WARPS)
    return to_x


def _grid(series: int, width: int) -> tuple[int, int]:
    """Return the number of programs for the channels of a direction, and that of the directions."""
    return triton.cdiv(series * width, COLUMNS), 2
