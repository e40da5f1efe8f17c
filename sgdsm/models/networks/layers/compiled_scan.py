"""The gated scan on the CPU in one pass: sigmoid and recurrence together, compiled by numba.

This module is imported only where numba is installed. Threads share the series, so results do not depend on their
number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from sgdsm.core.compiled import compiled, share

PARALLEL = 1 << 18  # values from which threads pay
F = np.float32


@numba.njit(inline="always")
def _sigmoid(x: Any) -> Any:
    """Return (1 + tanh(x / 2)) / 2, tanh as the ratio of polynomials of the Eigen library: vectorised, to 2e-7."""
    x = min(max(F(0.5) * x, F(-7.905311)), F(7.905311))
    square = x * x
    above = F(-2.76076847742355e-16) * square + F(2.00018790482477e-13)
    above = above * square + F(-8.60467152213735e-11)
    above = above * square + F(5.12229709037114e-08)
    above = above * square + F(1.48572235717979e-05)
    above = above * square + F(6.37261928875436e-04)
    above = above * square + F(4.89352455891786e-03)
    below = F(1.19825839466702e-06) * square + F(1.18534705686654e-04)
    below = below * square + F(2.26843463243900e-03)
    below = below * square + F(4.89352518554385e-03)
    return min(max(F(0.5) + F(0.5) * (x * above / below), F(0)), F(1))


@compiled(fused=True)
def _forward(x: Any, h: Any, first: int, last: int) -> None:
    """Write h of the series from `first` to before `last`."""
    days, width = len(x), h.shape[2] // 2
    zeros = np.zeros(width, np.float32)
    for half in range(2):
        for step in range(days):
            day, before = (days - 1 - step, days - step) if half else (step, step - 1)
            begin, end = half * width, (half + 1) * width
            for n in range(first, last):
                gate, value = x[day, n, begin:end], x[day, n, 2 * width + begin : 2 * width + end]
                state = h[before, n, begin:end] if step else zeros
                out = h[day, n, begin:end]
                for c in range(width):
                    out[c] = value[c] + _sigmoid(gate[c]) * (state[c] - value[c])


@compiled(fused=True)
def _backward(grad: Any, x: Any, h: Any, towards_x: Any, first: int, last: int) -> None:
    """Write the gradient with respect to x of the series from `first` to before `last`."""
    days, width = len(x), h.shape[2] // 2
    zeros = np.zeros(width, np.float32)
    # gradient that comes from later days (earlier ones in the reversed half)
    coming = np.zeros((last - first, width), np.float32)
    for half in range(2):
        coming[:] = 0
        for step in range(days):
            day, before = (step, step + 1) if half else (days - 1 - step, days - 2 - step)
            begin, end = half * width, (half + 1) * width
            for n in range(first, last):
                gate, value = x[day, n, begin:end], x[day, n, 2 * width + begin : 2 * width + end]
                to_gate = towards_x[day, n, begin:end]
                to_value = towards_x[day, n, 2 * width + begin : 2 * width + end]
                g, carried = grad[day, n, begin:end], coming[n - first]
                state = h[before, n, begin:end] if step + 1 < days else zeros
                for c in range(width):
                    keep = _sigmoid(gate[c])
                    total = g[c] + carried[c]
                    carried[c] = keep * total
                    # dh_t / dvalue_t = 1 - keep_t; dh_t / dkeep_t = h_(t-1) - value_t
                    to_value[c] = total - carried[c]
                    to_gate[c] = to_value[c] * keep * (state[c] - value[c])


def forward(x: Tensor) -> Tensor:
    """Return h of `gated_scan`, (T, N, 2 C).

    Args:
        x: Gates before the sigmoid and values, (T, N, 4 C) float32, contiguous.
    """
    h = x.new_empty(*x.shape[:2], x.shape[2] // 2)
    _share(_forward, x, h)
    return h


def backward(grad: Tensor, x: Tensor, h: Tensor) -> Tensor:
    """Return the gradient with respect to x, (T, N, 4 C).

    Args:
        grad: With respect to h, (T, N, 2 C), contiguous.
        x: See `forward`.
        h: Result of `forward`.
    """
    towards_x = torch.empty_like(x)
    _share(_backward, grad, x, h, towards_x)
    return towards_x


def _share(kernel: Callable[..., Any], *tensors: Tensor) -> None:
    """Run a kernel on all series, in as many threads as torch uses."""
    arrays = tuple(tensor.detach().numpy() for tensor in tensors)
    threads = torch.get_num_threads() if tensors[0].numel() >= PARALLEL else 1
    share(kernel, arrays, tensors[0].shape[1], threads)
