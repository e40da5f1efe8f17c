"""The orthonormal cosine transform (DCT-II) along the last three axes, on any device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# up to here products with a matrix are faster than an FFT on a CPU of today (and far faster on a GPU)
LONGEST_PRODUCT = 1500


class Cosine:
    """Cosine transform of fields of one shape and its inverse.

    Args:
        shape: Of a field, (T, H, W).
        like: Tensor with the dtype and device of the fields.
    """

    def __init__(self, shape: Sequence[int], like: Tensor) -> None:
        self.matrices = [basis(n, like) if n <= LONGEST_PRODUCT else None for n in shape]

    def forward(self, field: Tensor) -> Tensor:
        """Return the coefficients of fields, the mean first.

        Args:
            field: (B, T, H, W).

        Returns:
            Coefficients, (B, T, H, W).
        """
        days, rows, columns = self.matrices
        field = _by_fft(field) if columns is None else field @ columns.T
        field = _along(_by_fft, field, 2) if rows is None else rows @ field
        return _along(_by_fft, field, 1) if days is None else _in_halves(days, field)

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Return the fields of coefficients.

        Args:
            coefficients: (B, T, H, W).

        Returns:
            Fields, (B, T, H, W).
        """
        days, rows, columns = self.matrices
        field = _along(_back_by_fft, coefficients, 1) if days is None else _back_in_halves(days, coefficients)
        field = _along(_back_by_fft, field, 2) if rows is None else rows.T @ field
        return _back_by_fft(field) if columns is None else field @ columns


def basis(n: int, like: Tensor) -> Tensor:
    """Return the orthonormal cosines as rows, low frequencies first, (n, n).

    Args:
        n: Length of the axis.
        like: Tensor with the dtype and device of the result.
    """
    # in float64: the angles reach pi n, where float32 has no digits left for the cosine
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    matrix = math.sqrt(2 / n) * torch.cos(math.pi / n * k * (i + 0.5))
    matrix[0] = math.sqrt(1 / n)
    return matrix.to(like)


def frequencies(n: int, like: Tensor) -> Tensor:
    """Return the eigenvalues of the negative second difference for the cosines of `basis`, (n,).

    Args:
        n: Length of the axis.
        like: Tensor with the dtype and device of the result.
    """
    return (2 - 2 * torch.cos(math.pi / n * torch.arange(n, dtype=torch.float64))).to(like)


def _in_halves(matrix: Tensor, field: Tensor) -> Tensor:
    """Multiply along T, the longest axis, with half the operations.

    Even cosines are symmetric about the middle of the axis, odd ones antisymmetric, so that sums and differences of
    mirrored halves are enough.
    """
    n = len(matrix)
    rest = n // 2
    half = n - rest
    result = field.new_empty(field.shape)
    for window, out in zip(field.flatten(-2), result.flatten(-2), strict=True):
        mirrored = window[half:].flip(0)
        sums = window[:half].clone()
        sums[:rest] += mirrored
        torch.mm(matrix[::2, :half], sums, out=out[::2])
        torch.mm(matrix[1::2, :rest], window[:rest] - mirrored, out=out[1::2])
    return result


def _back_in_halves(matrix: Tensor, coefficients: Tensor) -> Tensor:
    """Invert `_in_halves`."""
    n = len(matrix)
    rest = n // 2
    half = n - rest
    result = coefficients.new_empty(coefficients.shape)
    for window, out in zip(coefficients.flatten(-2), result.flatten(-2), strict=True):
        even = torch.mm(matrix[::2, :half].T, window[::2], out=out[:half])
        odd = matrix[1::2, :rest].T @ window[1::2]
        out[half:] = (even[:rest] - odd).flip(0)
        even[:rest] += odd
    return result


def _along(transform: Callable[[Tensor], Tensor], field: Tensor, axis: int) -> Tensor:
    return transform(field.movedim(axis, -1)).movedim(-1, axis).contiguous()


def _phase(n: int, like: Tensor) -> Tensor:
    """Return exp(-i pi k / 2n) for the n frequencies k."""
    angle = torch.arange(n, dtype=torch.float64) * (math.pi / (2 * n))
    phase = torch.polar(torch.ones_like(angle), -angle)
    return phase.to(like.device, torch.complex64 if like.dtype == torch.float32 else torch.complex128)


def _by_fft(x: Tensor) -> Tensor:
    """Return the DCT-II along the last axis by one FFT of the same length.

    Even samples in order, then odd ones in reverse (Makhoul, IEEE Trans. ASSP 28, 27, 1980).
    """
    n = x.shape[-1]
    # the reordered samples make the series periodic without doubling it
    spectrum = torch.fft.fft(torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1))
    coefficients = (spectrum * _phase(n, x)).real * math.sqrt(2 / n)
    coefficients[..., 0] *= math.sqrt(0.5)
    return coefficients


def _back_by_fft(c: Tensor) -> Tensor:
    """Invert `_by_fft`."""
    n = c.shape[-1]
    c = c * math.sqrt(n / 2)
    c[..., 0] *= math.sqrt(2)
    mirrored = torch.cat([torch.zeros_like(c[..., :1]), c[..., 1:].flip(-1)], -1)
    v = torch.fft.ifft(torch.complex(c, -mirrored) * _phase(n, c).conj()).real
    x = torch.empty_like(c)
    half = (n + 1) // 2
    x[..., ::2], x[..., 1::2] = v[..., :half], v[..., half:].flip(-1)
    return x
