"""Adaptation of calibrated intervals to drift, from weighted errors at recent values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sgdsm.models.uncertainty.quantiles import CORNER, minimise, pinball

UNCHANGED = [[0.0, -math.inf]] * 2  # a = 1, b = 0 for interval and standard deviation


class DriftAdjustment(nn.Module):
    """Growth of squared half-widths and variances, h^2 -> a h^2 + b.

    A sensor that gets noisier adds variance (b), a filler that gets worse multiplies it (a).
    """

    growth: Tensor

    def __init__(self) -> None:
        super().__init__()
        # rows: half-width and standard deviation; columns: logs of the roots of a and b
        self.register_buffer("growth", torch.tensor(UNCHANGED))

    def forward(self, log_half: Tensor, log_std: Tensor) -> tuple[Tensor, Tensor]:
        """Return adjusted half-widths and standard deviations, (N,) each, in the target's units.

        Args:
            log_half: Logs of the half-widths, (N,).
            log_std: Logs of the standard deviations, (N,).
        """
        return torch.exp(_grown(log_half, self.growth[0])), torch.exp(_grown(log_std, self.growth[1]))

    def reset(self) -> None:
        """Remove the adjustment."""
        self.growth.copy_(torch.tensor(UNCHANGED))

    def fit(self, log_half: Tensor, log_std: Tensor, log_errors: Tensor, weights: Tensor, level: float) -> None:
        """Fit the growth: of the interval by weighted quantile regression, of the variance by likelihood.

        Args:
            log_half: Logs of the half-widths without adjustment, (N,) float64.
            log_std: Logs of the standard deviations without adjustment, (N,) float64.
            log_errors: Logs of the absolute errors, (N,) float64.
            weights: Of the errors, (N,) float64.
            level: Coverage of the interval, a share of 1.
        """
        share, evidence = weights / weights.sum(), float(weights.sum() / weights.max())
        # margin of split conformal prediction: the value to be predicted counts as one more error
        rank = min(1.0, level * (1 + 1 / evidence))
        start = torch.stack([torch.zeros((), dtype=torch.float64), log_half.median() - 1])
        growth = minimise(lambda w: pinball(log_errors - _grown(log_half, w), rank, CORNER) @ share, start)
        # the smoothed loss misses the quantile a little: shift both terms so that the weighted coverage is exact
        order = (log_errors - _grown(log_half, growth)).sort()
        reached = int((share[order.indices].cumsum(0) < rank - 1e-12).sum())
        growth += order.values[min(reached, len(log_errors) - 1)]
        self.growth[0].copy_(growth)

        def likelihood(w: Tensor) -> Tensor:
            log_size = _grown(log_std, w)
            return (torch.exp(2 * (log_errors - log_size)) + 2 * log_size) @ share

        self.growth[1].copy_(minimise(likelihood, start))


def _grown(log_size: Tensor, growth: Tensor) -> Tensor:
    """Return the log of the root of a h^2 + b.

    Args:
        log_size: Logs of h, (N,).
        growth: Logs of the roots of a and b, (2,).
    """
    return 0.5 * torch.logaddexp(2 * (log_size + growth[0]), 2 * growth[1])
