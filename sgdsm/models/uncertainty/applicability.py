"""Area of applicability: distance of a value's covariates from those of the training values."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sgdsm.data.batch import Batch

POINTS = 1000  # training values kept
AT_ONCE = 256  # rows together: their distances fit in a processor's cache
MOST_SAMPLED = 10**6  # torch.quantile refuses more than 16 million values


class Applicability(nn.Module):
    """Dissimilarity index over its threshold (Meyer and Pebesma, Methods Ecol. Evol. 12, 1620, 2021).

    The index is the distance of a value's scaled covariates and maps to the nearest of a sample of training values,
    over the mean distance of these from one another. The threshold is the upper whisker (third quartile plus 1.5 times
    the interquartile range) of the index on the calibration split, whose values the filler was not trained on. Unlike
    in the paper all predictors have the same weight.

    Args:
        features: Number of covariates and maps.
    """

    points: Tensor
    unit: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("points", torch.zeros(POINTS, features))
        self.register_buffer("unit", torch.tensor(math.nan))

    def fit(self, training: Iterable[Batch], calibration: Iterable[Batch]) -> None:
        """Sample training values and set the threshold.

        Args:
            training: Batches whose wanted values are training values.
            calibration: Batches of the calibration split.
        """
        rows = torch.cat([_rows(batch) for batch in training])
        generator = torch.Generator().manual_seed(0)
        if len(rows) < POINTS:
            # few rows are repeated, so that the buffer has one size in all checkpoints
            chosen = torch.arange(POINTS) % len(rows)
        else:
            chosen = torch.randperm(len(rows), generator=generator)[:POINTS]
        self.points.copy_(rows[chosen])
        # without the distances of points to themselves, which are 0
        mean = torch.cdist(self.points, self.points).sum() / (POINTS * (POINTS - 1))
        self.unit.fill_(max(float(mean), 1e-6))
        index = torch.cat([self(batch)[batch.wanted] for batch in calibration])
        sample = index[:: len(index) // MOST_SAMPLED + 1]
        low, high = torch.quantile(sample, torch.tensor([0.25, 0.75])).tolist()
        self.unit.mul_(max(high + 1.5 * (high - low), 1e-6))

    def forward(self, batch: Batch) -> Tensor:
        """Return the index over its threshold.

        Args:
            batch: Windows.

        Returns:
            Above 1 outside the area of applicability, 0 where no value is wanted, (B, 1, T, H, W).
        """
        nearest = [torch.cdist(part, self.points).amin(1) for part in _rows(batch).split(AT_ONCE)]
        index = torch.zeros_like(batch.sm)
        index[batch.wanted] = (torch.cat(nearest) / self.unit).to(index.dtype)
        return index


def _rows(batch: Batch) -> Tensor:
    """Return covariates and maps at the wanted values, (N, features)."""
    maps = batch.static[:, :, None].expand(-1, -1, *batch.sm.shape[2:])
    return torch.cat([batch.dynamic, maps], 1).movedim(1, -1)[batch.wanted[:, 0]].float()
