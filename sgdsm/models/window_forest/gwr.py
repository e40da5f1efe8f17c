"""Geographically weighted regression (GWR) of residuals, and the filter that smooths its result (LIU, Eqs. 5-6)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

KERNEL, SIGMA = 5, 1.5  # cells
EMPTY = 1e-12  # sum of weights below which there is no sample


def bisquare(distance: Tensor, bandwidth: Tensor | float) -> Tensor:
    """Return bisquare weights: (1 - (d / b)^2)^2 for d < b, else 0 (LIU omits the truncation).

    Args:
        distance: d, cells.
        bandwidth: b, cells; broadcastable.
    """
    share = distance / bandwidth
    return torch.where(share < 1, (1 - share.square()).square(), 0.0)


def coefficients(x: Tensor, y: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """Return the coefficients of weighted least squares at many points; all tensors are float64.

    Args:
        x: Covariates of n samples, the first column is 1, (G, n, p).
        y: Values of the samples, (G, n).
        weights: Of the n samples for each of m points, (G, m, n).
        ridge: Added to the diagonal of the normal equations, except for the intercept; 0 is plain GWR.

    Returns:
        Coefficients, (G, m, p); 0 for a point without samples.
    """
    groups, samples, terms = x.shape
    # normal equations of all points by one matrix product per block
    products = (x[..., :, None] * x[..., None, :]).reshape(groups, samples, -1)
    gram = (weights @ products).reshape(groups, -1, terms, terms)
    moment = weights @ (x * y[..., None])
    shrink = torch.full((terms,), ridge, dtype=x.dtype, device=x.device)
    # the intercept is not shrunk: it is the local mean of the residuals
    shrink[0] = 0
    empty = weights.sum(-1) < EMPTY
    gram = gram + torch.diag(shrink)
    # an identity in place of a singular matrix, which would fail the whole batch
    gram = torch.where(empty[..., None, None], torch.eye(terms, dtype=x.dtype, device=x.device), gram)
    return torch.where(empty[..., None], 0.0, torch.linalg.solve(gram, moment))


def smoothed(values: Tensor, known: Tensor) -> Tensor:
    """Return maps smoothed by a normalised 5 x 5 Gaussian filter, (T, H, W); 0 where no known cell is near.

    Args:
        values: (T, H, W).
        known: Cells that the filter uses, (T, H, W) bool.
    """
    offsets = torch.arange(KERNEL, dtype=values.dtype, device=values.device) - KERNEL // 2
    wave = torch.exp(-offsets.square() / (2 * SIGMA**2))
    kernel = (wave[:, None] * wave)[None, None]
    mask = known.to(values.dtype)[:, None]
    total = conv2d(torch.where(known, values, 0.0)[:, None], kernel, padding=KERNEL // 2)
    weight = conv2d(mask, kernel, padding=KERNEL // 2)
    return torch.where(weight > 0, total / weight.clamp(min=EMPTY), 0.0)[:, 0]
