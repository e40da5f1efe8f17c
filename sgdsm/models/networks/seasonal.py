"""Seasonal cycles of many series, fitted in one batched solve."""

from __future__ import annotations

import torch
from torch import Tensor

FEWEST = 40  # values
# smallest eigenvalue of the mean normal matrix at which a fit is accepted; a whole year gives 0.5, half a year 0.03
WORST = 0.01


def seasonal_cycle(values: Tensor, present: Tensor, season: Tensor, harmonics: int = 1) -> Tensor:
    """Return b + sum_k A_k sin(2 pi k t / T + phi_k) with T = 365.2425 days, fitted to each series, on all its days.

    Linear least squares in 1, cos and sin. The median of a series replaces its cycle if the series has fewer than 40
    values, if they do not determine the terms, if the cycle spans more than twice their range, or if b lies outside
    that range. (CASM bounds A and b in the units of soil moisture and of brightness temperature and takes the median
    there too; the range of the values works for any variable.)

    Source: CASM (Skulovich and Gentine, Sci. Data 10, 154, 2023), which fits T too, one cell at a time.

    Args:
        values: (B, C, T, H, W), 0 where not present.
        present: (B, C, T, H, W) bool.
        season: Cosine and sine of the year, then any further channels, (B, 2 or more, T).
        harmonics: Number of terms k.

    Returns:
        The cycle, (B, C, T, H, W); 0 for a series without values.
    """
    cosine, sine = season[:, 0], season[:, 1]
    angle = torch.atan2(sine, cosine).double()
    terms = [torch.ones_like(angle)]
    for k in range(1, harmonics + 1):
        terms += [torch.cos(k * angle), torch.sin(k * angle)]
    basis = torch.stack(terms, -1)
    # float64: normal equations square the condition number
    series = values.movedim(2, -1).double()
    mask = present.movedim(2, -1)
    gram = torch.einsum("bchwt,btk,btl->bchwkl", mask.double(), basis, basis)
    moment = torch.einsum("bchwt,btk->bchwk", series * mask, basis)
    count = mask.sum(-1)
    mean_gram = gram / count.clamp(min=1)[..., None, None]
    fitted = (count >= FEWEST) & (torch.linalg.eigvalsh(mean_gram)[..., 0] > WORST)
    # the identity where the fit is not used: a singular matrix would fail the whole batch
    gram = torch.where(fitted[..., None, None], gram, torch.eye(len(terms), dtype=gram.dtype, device=gram.device))
    coefficients = torch.linalg.solve(gram, moment[..., None])[..., 0]
    cycle = torch.einsum("bchwk,btk->bchwt", coefficients, basis)
    low = series.masked_fill(~mask, float("inf")).amin(-1)
    high = series.masked_fill(~mask, float("-inf")).amax(-1)
    offset, span = coefficients[..., 0], cycle.amax(-1) - cycle.amin(-1)
    fitted &= (offset >= low) & (offset <= high) & (span <= 2 * (high - low))
    median = torch.nan_to_num(series.masked_fill(~mask, float("nan")).nanmedian(-1).values)
    result = torch.where(fitted[..., None], cycle, median[..., None])
    return result.movedim(-1, 2).to(values.dtype)
