"""The gated scan as one CUDA kernel, in which each value is read and written once.

Triton comes with torch for CUDA; this module is imported only with a GPU. A thread processes one channel of one series
through all days.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 128  # channels of series in a program


@triton.jit
def _forward(keep, value, h, days, width, columns, size: tl.constexpr):  # type: ignore[no-untyped-def]
    # 64-bit indices: a large batch has more than 2 ** 31 values
    column = tl.program_id(0).to(tl.int64) * size + tl.arange(0, size)
    inside = column < columns
    in_reverse = column % width >= width // 2
    state = tl.zeros([size], tl.float32)
    for step in range(days):
        at = tl.where(in_reverse, days - 1 - step, step).to(tl.int64) * columns + column
        new = tl.load(value + at, inside, 0.0)
        state = new + tl.load(keep + at, inside, 0.0) * (state - new)
        tl.store(h + at, state, inside)


@triton.jit
def _backward(grad, keep, value, h, to_keep, to_value, days, width, columns, size: tl.constexpr):  # type: ignore[no-untyped-def]
    column = tl.program_id(0).to(tl.int64) * size + tl.arange(0, size)
    inside = column < columns
    in_reverse = column % width >= width // 2
    # gradient that comes from later days (earlier ones in the reversed half)
    coming = tl.zeros([size], tl.float32)
    for back in range(days):
        step = days - 1 - back
        at = tl.where(in_reverse, back, step).to(tl.int64) * columns + column
        day_before = tl.where(in_reverse, back + 1, step - 1)
        known = inside & (day_before >= 0) & (day_before < days)
        total = tl.load(grad + at, inside, 0.0) + coming
        factor = tl.load(keep + at, inside, 0.0)
        earlier = tl.load(h + day_before.to(tl.int64) * columns + column, known, 0.0)
        tl.store(to_keep + at, total * (earlier - tl.load(value + at, inside, 0.0)), inside)
        coming = factor * total
        tl.store(to_value + at, total - coming, inside)


def forward(keep: Tensor, value: Tensor) -> Tensor:
    """Return h of `gated_scan`, (T, N, 2 C).

    Args:
        keep: Gates, (T, N, 2 C) float32, contiguous.
        value: Inputs, (T, N, 2 C) float32, contiguous.
    """
    h = torch.empty_like(value)
    columns = value[0].numel()
    _forward[(triton.cdiv(columns, COLUMNS),)](keep, value, h, len(value), value.shape[2], columns, COLUMNS)
    return h


def backward(grad: Tensor, keep: Tensor, value: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients with respect to keep and value, (T, N, 2 C) each.

    Args:
        grad: With respect to h, (T, N, 2 C), contiguous.
        keep: See `forward`.
        value: See `forward`.
        h: Result of `forward`.
    """
    to_keep, to_value = torch.empty_like(keep), torch.empty_like(value)
    columns = value[0].numel()
    _backward[(triton.cdiv(columns, COLUMNS),)](
        grad, keep, value, h, to_keep, to_value, len(value), value.shape[2], columns, COLUMNS
    )
    return to_keep, to_value
