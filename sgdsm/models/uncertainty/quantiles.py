"""Quantile and variance of scaled errors, regressed on classes with a ridge."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sgdsm.models.uncertainty.effective_size import FEWEST_DAYS, student

RIDGE = 3.0  # number of values that the prior "a class is like all others" counts as
CORNER = 0.05  # width over which the corner of the pinball loss is smoothed, in units of the log


class ErrorQuantiles(nn.Module):
    """Log-linear models of the interval's half-width and of the variance, both over the expected size of the error.

    Args:
        columns: Number of columns of the design matrix.
        level: Coverage of the interval, a share of 1.
    """

    half_width: Tensor
    variance: Tensor

    def __init__(self, columns: int, level: float) -> None:
        super().__init__()
        self.level = level
        # coefficients of the logs; NaN: not fitted
        for name in ("half_width", "variance"):
            self.register_buffer(name, torch.full((columns,), math.nan))

    def forward(self, design: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logs of the half-width and of the standard deviation, (N,) each.

        Args:
            design: Design matrix, (N, columns).
            log_scale: Logs of the expected sizes of the errors, (N,).
        """
        return log_scale + design @ self.half_width, log_scale + 0.5 * design @ self.variance

    def fit(self, design: Tensor, log_ratios: Tensor, class_ridge: float) -> None:
        """Regress quantile and variance of the scaled errors.

        Args:
            design: Design matrix, (N, columns) float64.
            log_ratios: Logs of the absolute errors over their expected sizes, (N,) float64.
            class_ridge: Ridge on the coefficients of the classes, in addition to the common one.
        """
        ridge = RIDGE / len(log_ratios), class_ridge
        # the finite-sample margin of split conformal prediction
        rank = min(1.0, math.ceil((len(log_ratios) + 1) * self.level) / len(log_ratios))
        if rank >= 1:  # so few values that the margin asks for the largest error, in all classes
            design = design * (torch.arange(design.shape[1]) == 0)
        start = design.new_zeros(design.shape[1])
        start[0] = quantile(log_ratios, rank)
        if rank < 1:
            weights = minimise(lambda w: pinball(log_ratios - design @ w, rank, CORNER).mean(), start, *ridge)
            # smoothing and ridge shift the quantile a little: correct it so that the overall coverage is exact
            weights[0] += quantile(log_ratios - design @ weights, rank)
            self.half_width.copy_(weights)
        else:
            self.half_width.copy_(start)
        squares = torch.exp(2 * log_ratios)
        begin = design.new_zeros(design.shape[1])
        begin[0] = torch.log(squares.mean())
        weights = minimise(lambda w: (squares * torch.exp(-design @ w) + design @ w).mean(), begin, *ridge)
        self.variance.copy_(weights)

    def widen(self, days: float) -> float:
        """Widen interval and standard deviation to those of Student's t with few degrees of freedom.

        Args:
            days: Effective number of independent days of the errors.

        Returns:
            The factor by which the interval got wider.
        """
        freedom = max(days, FEWEST_DAYS)
        wider = student(self.level, freedom)
        self.half_width[0] += math.log(wider)
        self.variance[0] += math.log(freedom / (freedom - 2))
        return wider


def quantile(values: Tensor, share: float) -> Tensor:
    """Return a quantile of any number of values; torch.quantile accepts 16 million at most.

    Args:
        values: (N,).
        share: From 0 to 1.
    """
    return values.quantile(share) if len(values) < 10**7 else values.kthvalue(max(1, int(share * len(values))))[0]


def pinball(residual: Tensor, level: float, width: float) -> Tensor:
    """Return the pinball loss of residuals, smoothed at its corner so that L-BFGS converges.

    Args:
        residual: (N,).
        level: Share of the quantile.
        width: Width of the smoothing, in the residuals' units.
    """
    return level * residual + width * nn.functional.softplus(-residual / width)


def minimise(loss: Callable[[Tensor], Tensor], start: Tensor, ridge: float = 0.0, class_ridge: float = 0.0) -> Tensor:
    """Minimise a penalised loss by L-BFGS.

    Args:
        loss: Of the coefficients, (columns,).
        start: First guess, (columns,).
        ridge: Penalty on the squares of all coefficients but the first one.
        class_ridge: Further penalty on all but the first two.

    Returns:
        Coefficients at the minimum, (columns,).
    """
    weights = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = loss(weights) + ridge * weights[1:].square().sum() + class_ridge * weights[2:].square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(closure)
    return weights.detach()
