"""Intervals of estimates from rows: quantile trees with a conformal correction, and the distance from training rows."""

from __future__ import annotations

import math

import numpy as np
import torch
import xgboost
from torch import Tensor, nn

from sgdsm.core.random import Stream
from sgdsm.downscaling.regressors import predicted, threads_of
from sgdsm.models.trees.boosting import booster_bytes, booster_of

POINTS = 1000  # training rows kept
AT_ONCE = 4096  # rows together
PARAMETERS = {
    "objective": "reg:quantileerror",
    "tree_method": "hist",
    "eta": 0.1,
    "max_depth": 5,
    "min_child_weight": 20.0,
    "subsample": 0.7,
}
ROUNDS = 150


class QuantileTrees(nn.Module):
    """Lower and upper bound of the target, widened by conformal correction.

    Boosted trees estimate two quantiles (Chen and Guestrin, KDD 2016, with the pinball loss). How far the truth of
    validation rows lies outside of them, taken at the level of the interval, is added on both sides (conformalized
    quantile regression: Romano et al., NeurIPS 2019, eq. 7 to 9). The bounds describe the errors of values of the
    resolution that was trained on.

    Args:
        level: Share of the truth between the bounds.

    Attributes:
        widening: Added on both sides, in the target's units.
    """

    widening: Tensor

    def __init__(self, level: float = 0.9) -> None:
        super().__init__()
        self.level = level
        self.booster: xgboost.Booster | None = None
        self.register_buffer("widening", torch.tensor(0.0))

    def fit(self, rows: Tensor, truth: Tensor, held: Tensor, held_truth: Tensor, seed: int) -> None:
        """Fit the quantiles to training rows and the correction to validation rows.

        Args:
            rows: Training rows, (N, P) float32.
            truth: Their target, (N,).
            held: Validation rows, (M, P).
            held_truth: Their target, (M,).
            seed: Of the rows drawn for a tree.
        """
        alpha = (1 - self.level) / 2
        data = xgboost.QuantileDMatrix(rows.numpy(), truth.numpy(), nthread=threads_of(0))
        own = {"quantile_alpha": [alpha, 1 - alpha], "seed": seed, "nthread": threads_of(0)}
        self.booster = xgboost.train({**PARAMETERS, **own}, data, ROUNDS)
        self.widening.fill_(0.0)
        lower, upper = self(held)
        outside = torch.maximum(lower - held_truth, held_truth - upper).sort().values
        place = math.ceil(self.level * (len(outside) + 1)) - 1
        self.widening.fill_(outside[min(place, len(outside) - 1)])

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return lower and upper bounds of rows, (N,) each."""
        assert self.booster is not None
        quantiles = predicted(self.booster, rows, 0)
        # quantiles of trees may cross
        return quantiles.amin(1) - self.widening, quantiles.amax(1) + self.widening

    def get_extra_state(self) -> Tensor:
        """Return the booster as UBJSON bytes in a tensor."""
        return torch.empty(0, dtype=torch.uint8) if self.booster is None else booster_bytes(self.booster)

    def set_extra_state(self, state: Tensor) -> None:
        """Read a booster as `get_extra_state` returns it.

        Args:
            state: UBJSON bytes.
        """
        self.booster = booster_of(state) if len(state) else None


class Distance(nn.Module):
    """Dissimilarity index over its threshold (Meyer and Pebesma, Methods Ecol. Evol. 12, 1620, 2021).

    As `sgdsm.models.uncertainty.applicability` has it for windows: the distance of scaled predictors to the nearest of
    a sample of training rows, over the upper whisker (third quartile plus 1.5 times the interquartile range) of that
    distance at validation rows. All predictors have the same weight.

    Args:
        predictors: Their number.
    """

    points: Tensor
    unit: Tensor

    def __init__(self, predictors: int) -> None:
        super().__init__()
        self.register_buffer("points", torch.zeros(POINTS, predictors))
        self.register_buffer("unit", torch.tensor(1.0))

    def fit(self, scaled: Tensor, held: Tensor, seed: int) -> None:
        """Sample training rows and set the threshold.

        Args:
            scaled: Training rows without unit, (N, P).
            held: Validation rows without unit, (M, P).
            seed: Of the sample.
        """
        rng = np.random.default_rng([Stream.APPLICABILITY, seed])
        # few rows are repeated, so that the buffer has one size in all checkpoints
        chosen = rng.permutation(len(scaled))[:POINTS] if len(scaled) >= POINTS else np.arange(POINTS) % len(scaled)
        self.points.copy_(scaled[torch.from_numpy(chosen)])
        self.unit.fill_(1.0)
        low, high = np.quantile(self(held).numpy(), [0.25, 0.75])
        self.unit.fill_(max(high + 1.5 * (high - low), 1e-6))

    def forward(self, scaled: Tensor) -> Tensor:
        """Return the index over its threshold, above 1 outside the area of applicability, (N,).

        Args:
            scaled: Rows without unit, (N, P).
        """
        # by differences: products would lose digits, differently for each number of rows
        mode = "donot_use_mm_for_euclid_dist"
        nearest = [torch.cdist(part, self.points, compute_mode=mode).amin(1) for part in scaled.split(AT_ONCE)]
        return torch.cat(nearest) / self.unit if nearest else scaled.new_zeros(0)
