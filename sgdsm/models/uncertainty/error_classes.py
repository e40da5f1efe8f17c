"""Classes of values in which an interval has its coverage: gap age, rain, season, mean and spread of the cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sgdsm.data.batch import Batch

AGES = (1, 2, 3, 4, 8)  # days: first gap age of each class
RAIN_QUANTILES = (0.5, 0.8, 0.95)
TERCILES = (1 / 3, 2 / 3)
SEASONS = 4
MOST_SAMPLED = 10**6  # torch.quantile refuses more than 16 million values


class ErrorClasses(nn.Module):
    """Design matrix of the regressions in `quantiles`: intercept, log of the scale, and class indicators.

    Args:
        rain: Channel of the precipitation among the dynamic covariates; None if there is none.
    """

    rain_edges: Tensor
    mean_edges: Tensor
    spread_edges: Tensor
    centre: Tensor

    def __init__(self, rain: int | None) -> None:
        super().__init__()
        self.rain = rain
        for name, sizes in {"rain": len(RAIN_QUANTILES), "mean": len(TERCILES), "spread": len(TERCILES)}.items():
            # infinite edges: before the fit all values are in the first class
            self.register_buffer(f"{name}_edges", torch.full((sizes,), math.inf))
        self.register_buffer("centre", torch.tensor(0.0))

    @property
    def columns(self) -> int:
        """Number of columns of the design matrix."""
        return 2 + len(AGES) + len(RAIN_QUANTILES) + 1 + SEASONS + 2 * (len(TERCILES) + 1)

    def fit(self, batches: Sequence[Batch], log_scales: Sequence[Tensor]) -> None:
        """Set the edges of the classes to quantiles of the wanted values, and the centre of the logs of the scale.

        Args:
            batches: Windows.
            log_scales: Logs of the expected sizes of the errors at their wanted values, (N,) each.
        """
        if self.rain is not None:
            rain = [batch.dynamic[:, self.rain, None][batch.wanted] for batch in batches]
            self.rain_edges.copy_(_quantiles(rain, RAIN_QUANTILES))
        means = [_at_wanted(batch.cell_mean, batch) for batch in batches]
        self.mean_edges.copy_(_quantiles(means, TERCILES))
        spreads = [_at_wanted(batch.cell_log_spread, batch) for batch in batches]
        self.spread_edges.copy_(_quantiles(spreads, TERCILES))
        self.centre.copy_(torch.cat([*log_scales]).mean())

    def forward(self, batch: Batch, log_scale: Tensor) -> Tensor:
        """Return the design matrix at the wanted values.

        Args:
            batch: Windows with N wanted values.
            log_scale: Logs of the expected sizes of their errors, (N,).

        Returns:
            Rows of 1, the centred log of the scale, and indicators of the classes, (N, columns).
        """
        wanted = batch.wanted
        age = torch.bucketize(batch.gap_age[wanted], batch.gap_age.new_tensor(AGES[1:]), right=True)
        rain = torch.zeros_like(age)
        if self.rain is not None:
            rain = torch.bucketize(batch.dynamic[:, self.rain, None][wanted].float(), self.rain_edges)
        angle = torch.atan2(batch.sin_year, batch.cos_year)
        # seasons of three months, the first one from December on
        month = (angle / (2 * math.pi) * 12 + 1) % 12
        season = (month // 3).long().clamp(0, SEASONS - 1)[:, None, :, None, None].expand(batch.sm.shape)[wanted]
        mean = torch.bucketize(_at_wanted(batch.cell_mean, batch), self.mean_edges)
        spread = torch.bucketize(_at_wanted(batch.cell_log_spread, batch), self.spread_edges)
        numbers = [
            (age, len(AGES)),
            (rain, len(RAIN_QUANTILES) + 1),
            (season, SEASONS),
            (mean, len(TERCILES) + 1),
            (spread, len(TERCILES) + 1),
        ]
        indicators = [nn.functional.one_hot(number, count).to(log_scale.dtype) for number, count in numbers]
        return torch.cat([torch.ones_like(log_scale)[:, None], (log_scale - self.centre)[:, None], *indicators], 1)


def _at_wanted(field: Tensor, batch: Batch) -> Tensor:
    """Return a map (B, H, W) at the wanted values of its batch, (N,)."""
    return field[:, None, None].expand(batch.sm.shape)[batch.wanted].float().contiguous()


def _quantiles(values: list[Tensor], shares: tuple[float, ...]) -> Tensor:
    """Return quantiles of the joined values, of a regular sample of them where they are many."""
    joined = torch.cat(values).float()
    sample = torch.linspace(0, len(joined) - 1, min(len(joined), MOST_SAMPLED)).long()
    return torch.quantile(joined[sample], torch.tensor(shares))
