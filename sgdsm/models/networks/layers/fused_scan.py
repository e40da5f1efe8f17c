"""The gated scan as one CUDA kernel (Triton, which comes with torch for CUDA): each value is read and written once.

Imported only where there is a GPU. A thread carries one channel of one series through all days.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 128  # of a program


@triton.jit
def _forward(keep, value, h, days, width, columns, size: tl.constexpr):  # type: ignore[no-untyped-def]
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
    """h of `gated_scan`; keep, value: (T, N, 2 C) float32, contiguous."""
    h = torch.empty_like(value)
    columns = value[0].numel()
    _forward[(triton.cdiv(columns, COLUMNS),)](keep, value, h, len(value), value.shape[2], columns, COLUMNS)
    return h


def backward(grad: Tensor, keep: Tensor, value: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients with respect to keep and value; all contiguous."""
    to_keep, to_value = torch.empty_like(keep), torch.empty_like(value)
    columns = value[0].numel()
    _backward[(triton.cdiv(columns, COLUMNS),)](
        grad, keep, value, h, to_keep, to_value, len(value), value.shape[2], columns, COLUMNS
    )
    return to_keep, to_value
