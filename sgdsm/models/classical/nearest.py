"""Kriging in a local neighbourhood of space and time: choice of neighbours and their weights.

Plain torch, batched over values; used by `sgdsm.models.classical.kriging`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# of two values, from their distances in days and in space; without the noise of each value
Covariance = Callable[[Tensor, Tensor], Tensor]
FEWEST = 5  # neighbours needed to estimate an unknown mean


class Neighbours(NamedTuple):
    """K seen values around each of N wanted ones, the most correlated first.

    Attributes:
        window: Index of the window in the batch, (N, K) int64.
        day: Index of the day, (N, K) int64.
        row: Index of the row, (N, K) int64.
        column: Index of the column, (N, K) int64.
        present: False where fewer than K were found, (N, K) bool.
    """

    window: Tensor
    day: Tensor
    row: Tensor
    column: Tensor
    present: Tensor


def seen_days(seen: Tensor, steps: int) -> Tensor:
    """Return the days on which each cell was last seen, up to each day, and is next seen, after it.

    Args:
        seen: (B, T, H, W) bool.
        steps: Number of days in each direction.

    Returns:
        Indices of days, (B, T, H, W, 2 steps) int64; -1 where there is none.
    """
    before = _last_seen(seen, steps)
    after = _last_seen(seen.flip(1), steps).flip(1)
    # indices of the reversed record, counted from its end
    after = torch.where(after >= 0, seen.shape[1] - 1 - after, -1)
    none = torch.full_like(after[:, :1], -1)
    return torch.cat([before, torch.cat([after[:, 1:], none], 1)], -1)


def _last_seen(seen: Tensor, steps: int) -> Tensor:
    """Return the last `steps` seen days up to each day, latest first, (B, T, H, W, steps)."""
    days = torch.arange(seen.shape[1], device=seen.device)[:, None, None]
    latest = [torch.where(seen, days, -1).cummax(1).values]
    earlier = torch.cat([torch.full_like(latest[0][:, :1], -1), latest[0][:, :-1]], 1)
    for _ in range(steps - 1):
        latest.append(torch.where(latest[-1] >= 0, earlier.gather(1, latest[-1].clamp(min=0)), -1))
    return torch.stack(latest, -1)


def nearest(
    covariance: Covariance, days: Tensor, place: Tensor, wanted: Tensor, halo: tuple[int, int], count: int
) -> Neighbours:
    """Return the seen values around each wanted one that are the most correlated with it.

    Args:
        covariance: From which the correlation follows.
        days: Candidates in time, of `seen_days`, (B, T, H, W, D) int64.
        place: Positions of the cells, (B, H, W, 3).
        wanted: Indices (window, day, row, column) of the wanted values, (N, 4) int64.
        halo: Largest distance in days and in cells.
        count: Number of neighbours K; fewer if the neighbourhood has fewer candidates.
    """
    halo_days, halo_cells = halo
    window, day, row, column = (part[:, None] for part in wanted.T)
    offsets = _disc(halo_cells).to(days.device)
    rows, columns = row + offsets[:, 0], column + offsets[:, 1]
    height, width = days.shape[2:4]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    candidates = days[window, day, rows, columns]
    apart = (candidates - day[..., None]).abs()
    usable = inside[..., None] & (candidates >= 0) & (apart <= halo_days)
    distance = _distance(place[window, row, column], place[window, rows, columns])[:, 0, :, None]
    similarity = torch.where(usable, covariance(apart.to(place.dtype), distance), -1).flatten(1)
    best, index = similarity.topk(min(count, similarity.shape[1]))
    present, cell = best >= 0, index // days.shape[-1]
    chosen = torch.where(present, candidates.flatten(1).gather(1, index), 0)
    return Neighbours(window.expand_as(index), chosen, rows.gather(1, cell), columns.gather(1, cell), present)


def _disc(cells: int) -> Tensor:
    """Return the offsets (row, column) of the cells at most `cells` cells away, (S, 2)."""
    reach = torch.arange(-cells, cells + 1)
    offsets = torch.cartesian_prod(reach, reach)
    return offsets[offsets.square().sum(1) <= cells**2]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Return Euclidean distances, (N, P, Q)."""
    # by differences: products of coordinates lose the digits of small distances, and their rounding depends on the
    # size of the batch
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def local_weights(
    covariance: Covariance, nugget: Tensor, days: Tensor, place: Tensor, present: Tensor, ordinary: bool
) -> tuple[Tensor, Tensor]:
    """Return the kriging weights of neighbours and the kriging variance.

    Simple and ordinary kriging as in Cressie, Statistics for Spatial Data (Wiley 1993), section 3.2; simple kriging is
    the mean of a Gaussian process (Rasmussen and Williams, MIT Press 2006, equations 2.25 and 2.26).

    Args:
        covariance: Of two values, without their noise.
        nugget: Variance of the noise of each value, a scalar tensor.
        days: Days of the wanted value and of its neighbours, (N, 1 + K).
        place: Their positions, (N, 1 + K, 3).
        present: False for neighbours that do not exist, which get no weight, (N, K) bool.
        ordinary: True: the weights add up to 1, for an unknown mean. Otherwise, and with fewer than FEWEST neighbours,
            the mean is 0.

    Returns:
        Weights, (N, K), and the variance of the errors, (N,), which includes the noise of the wanted value; without
        neighbours it is the variance of the values.
    """
    between = covariance((days[:, 1:, None] - days[:, None, 1:]).abs(), _distance(place[:, 1:], place[:, 1:]))
    towards = covariance((days[:, 1:] - days[:, :1]).abs(), _distance(place[:, :1], place[:, 1:])[:, 0])
    exists = present.to(towards.dtype)
    towards = towards * exists
    # an absent neighbour becomes noise that is correlated with nothing, so that the matrix stays regular
    identity = torch.eye(present.shape[1], dtype=towards.dtype, device=towards.device)
    between = between * (exists[:, :, None] * exists[:, None]) + identity * (nugget + 1 - exists[:, None])
    factor = torch.linalg.cholesky(between)
    weights, share = torch.cholesky_solve(torch.stack([towards, exists], -1), factor).unbind(-1)
    zero = towards.new_zeros(())
    variance = covariance(zero, zero) + nugget - (weights * towards).sum(1)
    if ordinary:
        total = share.sum(1).clamp(min=1e-9)
        # Lagrange multiplier of the condition that weights add up to 1
        lack = torch.where(present.sum(1) >= FEWEST, 1 - weights.sum(1), 0)
        weights = weights + share * (lack / total)[:, None]
        variance = variance + lack.square() / total
    return weights, variance
