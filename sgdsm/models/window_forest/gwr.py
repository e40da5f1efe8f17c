"""Geographically weighted regression of residuals, and the filter that smooths what it gives (LIU, Eqs. 5-6)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

KERNEL, SIGMA = 5, 1.5
EMPTY = 1e-12


def bisquare(distance: Tensor, bandwidth: Tensor | float) -> Tensor:
    """(1 - (d / b)^2)^2 for d < b, else 0: the truncation is missing in the text of the paper."""
    share = distance / bandwidth
    return torch.where(share < 1, (1 - share.square()).square(), 0.0)


def coefficients(x: Tensor, y: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """Weighted least squares at many points at once; all float64.

    x: (G, n, p), whose first column is 1. y: (G, n). weights: (G, m, n), of the n samples for each of m points.
    ridge: added to the diagonal of the normal equations, save for the intercept; 0 is plain GWR.

    Returns (G, m, p), 0 for a point without any sample of weight.
    """
    groups, samples, terms = x.shape
    products = (x[..., :, None] * x[..., None, :]).reshape(groups, samples, -1)
    gram = (weights @ products).reshape(groups, -1, terms, terms)
    moment = weights @ (x * y[..., None])
    shrink = torch.full((terms,), ridge, dtype=x.dtype, device=x.device)
    shrink[0] = 0
    empty = weights.sum(-1) < EMPTY
    gram = gram + torch.diag(shrink)
    gram = torch.where(empty[..., None, None], torch.eye(terms, dtype=x.dtype, device=x.device), gram)
    return torch.where(empty[..., None], 0.0, torch.linalg.solve(gram, moment))


def smoothed(values: Tensor, known: Tensor) -> Tensor:
    """Normalised 5 x 5 Gaussian filter of maps (T, H, W), over the cells that are known; 0 where none is near."""
    offsets = torch.arange(KERNEL, dtype=values.dtype, device=values.device) - KERNEL // 2
    wave = torch.exp(-offsets.square() / (2 * SIGMA**2))
    kernel = (wave[:, None] * wave)[None, None]
    mask = known.to(values.dtype)[:, None]
    total = conv2d(torch.where(known, values, 0.0)[:, None], kernel, padding=KERNEL // 2)
    weight = conv2d(mask, kernel, padding=KERNEL // 2)
    return torch.where(weight > 0, total / weight.clamp(min=EMPTY), 0.0)[:, 0]
