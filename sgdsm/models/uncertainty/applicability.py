"""Where a filler knows what it does: how far the covariates of a value lie from those of the training values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sgdsm.data.batch import Batch

POINTS = 1000
AT_ONCE = 8192


class Applicability(nn.Module):
    """Dissimilarity index over its threshold (Meyer and Pebesma, Methods Ecol. Evol. 12, 1620, 2021).

    The distance of a value's scaled covariates and maps to the nearest of a sample of training values, over the mean
    distance of these from one another. 1 is the upper whisker (third quartile plus 1.5 times the interquartile range)
    of what is found for the calibration draw, whose values the filler was not trained on. All predictors count alike.
    """

    points: Tensor
    unit: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("points", torch.zeros(POINTS, features))
        self.register_buffer("unit", torch.tensor(math.nan))

    def learn(self, known: list[Batch], judged: list[Batch]) -> None:
        """known: batches whose wanted values are training values. judged: those of the calibration draw."""
        rows = torch.cat([_rows(batch) for batch in known])
        generator = torch.Generator().manual_seed(0)
        if len(rows) < POINTS:
            chosen = torch.arange(POINTS) % len(rows)
        else:
            chosen = torch.randperm(len(rows), generator=generator)[:POINTS]
        self.points.copy_(rows[chosen])
        mean = torch.cdist(self.points, self.points).sum() / (POINTS * (POINTS - 1))
        self.unit.fill_(max(float(mean), 1e-6))
        found = torch.cat([self(batch)[batch.wanted] for batch in judged])
        # torch has no quantiles of more than 16 million values
        low, high = torch.quantile(found[:: len(found) // 10**6 + 1], torch.tensor([0.25, 0.75])).tolist()
        self.unit.mul_(max(high + 1.5 * (high - low), 1e-6))

    def forward(self, batch: Batch) -> Tensor:
        """(B, 1, T, H, W); 0 where nothing is wanted."""
        nearest = [torch.cdist(part, self.points).amin(1) for part in _rows(batch).split(AT_ONCE)]
        found = torch.zeros_like(batch.sm)
        found[batch.wanted] = (torch.cat(nearest) / self.unit).to(found.dtype)
        return found


def _rows(batch: Batch) -> Tensor:
    """Covariates and maps at the wanted values, (N, features)."""
    maps = batch.static[:, :, None].expand(-1, -1, *batch.sm.shape[2:])
    return torch.cat([batch.dynamic, maps], 1).movedim(1, -1)[batch.wanted[:, 0]].float()
