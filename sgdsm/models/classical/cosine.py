"""The orthonormal cosine transform (DCT-II) along the last three axes, on any device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# up to here products with a matrix are faster than an FFT on a CPU of today (and far faster on a GPU)
LONGEST_PRODUCT = 1500


class Cosine:
    """Transforms fields (B, T, H, W) of one shape (T, H, W), forth and back."""

    def __init__(self, shape: Sequence[int], like: Tensor) -> None:
        self.matrices = [basis(n, like) if n <= LONGEST_PRODUCT else None for n in shape]

    def forward(self, field: Tensor) -> Tensor:
        """Coefficients, the mean first."""
        days, rows, columns = self.matrices
        field = _by_fft(field) if columns is None else field @ columns.T
        field = _along(_by_fft, field, 2) if rows is None else rows @ field
        return _along(_by_fft, field, 1) if days is None else _in_halves(days, field)

    def inverse(self, coefficients: Tensor) -> Tensor:
        """The field of these coefficients."""
        days, rows, columns = self.matrices
        field = _along(_back_by_fft, coefficients, 1) if days is None else _back_in_halves(days, coefficients)
        field = _along(_back_by_fft, field, 2) if rows is None else rows.T @ field
        return _back_by_fft(field) if columns is None else field @ columns


def basis(n: int, like: Tensor) -> Tensor:
    """The cosines as rows, slow ones first, (n, n); of the type and on the device of `like`."""
    # in float64: the angles reach pi n
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    matrix = math.sqrt(2 / n) * torch.cos(math.pi / n * k * (i + 0.5))
    matrix[0] = math.sqrt(1 / n)
    return matrix.to(like)


def frequencies(n: int, like: Tensor) -> Tensor:
    """Eigenvalues of minus the second difference, which belong to the cosines of `basis`, (n,)."""
    return (2 - 2 * torch.cos(math.pi / n * torch.arange(n, dtype=torch.float64))).to(like)


def _in_halves(matrix: Tensor, field: Tensor) -> Tensor:
    """Product along T, the longest axis, with half the work: even cosines are symmetric about the middle, odd ones
    antisymmetric."""
    n = len(matrix)
    rest = n // 2
    half = n - rest
    found = field.new_empty(field.shape)
    for window, out in zip(field.flatten(-2), found.flatten(-2), strict=True):
        mirrored = window[half:].flip(0)
        sums = window[:half].clone()
        sums[:rest] += mirrored
        torch.mm(matrix[::2, :half], sums, out=out[::2])
        torch.mm(matrix[1::2, :rest], window[:rest] - mirrored, out=out[1::2])
    return found


def _back_in_halves(matrix: Tensor, coefficients: Tensor) -> Tensor:
    n = len(matrix)
    rest = n // 2
    half = n - rest
    found = coefficients.new_empty(coefficients.shape)
    for window, out in zip(coefficients.flatten(-2), found.flatten(-2), strict=True):
        even = torch.mm(matrix[::2, :half].T, window[::2], out=out[:half])
        odd = matrix[1::2, :rest].T @ window[1::2]
        out[half:] = (even[:rest] - odd).flip(0)
        even[:rest] += odd
    return found


def _along(transform: Callable[[Tensor], Tensor], field: Tensor, axis: int) -> Tensor:
    return transform(field.movedim(axis, -1)).movedim(-1, axis).contiguous()


def _turn(n: int, like: Tensor) -> Tensor:
    angle = torch.arange(n, dtype=torch.float64) * (math.pi / (2 * n))
    turn = torch.polar(torch.ones_like(angle), -angle)
    return turn.to(like.device, torch.complex64 if like.dtype == torch.float32 else torch.complex128)


def _by_fft(x: Tensor) -> Tensor:
    """DCT-II of the last axis by one FFT of the same length: even samples forth, odd ones back (Makhoul, IEEE Trans.
    ASSP 28, 27, 1980)."""
    n = x.shape[-1]
    spectrum = torch.fft.fft(torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1))
    found = (spectrum * _turn(n, x)).real * math.sqrt(2 / n)
    found[..., 0] *= math.sqrt(0.5)
    return found


def _back_by_fft(c: Tensor) -> Tensor:
    n = c.shape[-1]
    c = c * math.sqrt(n / 2)
    c[..., 0] *= math.sqrt(2)
    mirrored = torch.cat([torch.zeros_like(c[..., :1]), c[..., 1:].flip(-1)], -1)
    v = torch.fft.ifft(torch.complex(c, -mirrored) * _turn(n, c).conj()).real
    x = torch.empty_like(c)
    half = (n + 1) // 2
    x[..., ::2], x[..., 1::2] = v[..., :half], v[..., half:].flip(-1)
    return x
