"""Local prediction in space and time: which seen values tell most of each wanted one, and the weights that they get.

Plain torch, batched over values: what `sgdsm.models.classical.kriging` is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# of two values so many days and so far apart, their noise left out
Covariance = Callable[[Tensor, Tensor], Tensor]
FEWEST = 5  # neighbours that tell an unknown mean


class Neighbours(NamedTuple):
    """K seen values around each of N wanted ones, the most correlated first.

    window, day, row, column: where they lie in a batch, (N, K) int64. present: False where fewer than K were found.
    """

    window: Tensor
    day: Tensor
    row: Tensor
    column: Tensor
    present: Tensor


def seen_days(seen: Tensor, steps: int) -> Tensor:
    """The days on which each cell was seen last, up to each day, and is seen next, after it; -1 where there is none.

    seen: (B, T, H, W) bool. steps: how many in each direction. Returns (B, T, H, W, 2 steps) int64.
    """
    before = _last_seen(seen, steps)
    after = _last_seen(seen.flip(1), steps).flip(1)
    after = torch.where(after >= 0, seen.shape[1] - 1 - after, -1)
    none = torch.full_like(after[:, :1], -1)
    return torch.cat([before, torch.cat([after[:, 1:], none], 1)], -1)


def _last_seen(seen: Tensor, steps: int) -> Tensor:
    days = torch.arange(seen.shape[1], device=seen.device)[:, None, None]
    found = [torch.where(seen, days, -1).cummax(1).values]
    earlier = torch.cat([torch.full_like(found[0][:, :1], -1), found[0][:, :-1]], 1)
    for _ in range(steps - 1):
        found.append(torch.where(found[-1] >= 0, earlier.gather(1, found[-1].clamp(min=0)), -1))
    return torch.stack(found, -1)


def nearest(
    covariance: Covariance, days: Tensor, place: Tensor, wanted: Tensor, halo: tuple[int, int], count: int
) -> Neighbours:
    """Of the `seen_days` of the cells around each wanted value, those that are the most correlated with it.

    days: (B, T, H, W, D), of `seen_days`. place: of the cells, (B, H, W, 3). wanted: (window, day, row, column),
    (N, 4). halo: how many days and cells away they may lie. count: K, less where there cannot be as many.
    """
    halo_days, halo_cells = halo
    window, day, row, column = (part[:, None] for part in wanted.T)
    offsets = _disc(halo_cells).to(days.device)
    rows, columns = row + offsets[:, 0], column + offsets[:, 1]
    height, width = days.shape[2:4]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    found = days[window, day, rows, columns]
    apart = (found - day[..., None]).abs()
    usable = inside[..., None] & (found >= 0) & (apart <= halo_days)
    distance = _distance(place[window, row, column], place[window, rows, columns])[:, 0, :, None]
    likeness = torch.where(usable, covariance(apart.to(place.dtype), distance), -1).flatten(1)
    best, index = likeness.topk(min(count, likeness.shape[1]))
    present, cell = best >= 0, index // days.shape[-1]
    chosen = torch.where(present, found.flatten(1).gather(1, index), 0)
    return Neighbours(window.expand_as(index), chosen, rows.gather(1, cell), columns.gather(1, cell), present)


def _disc(cells: int) -> Tensor:
    """Offsets (row, column) of the cells at most `cells` cells away, (S, 2)."""
    reach = torch.arange(-cells, cells + 1)
    offsets = torch.cartesian_prod(reach, reach)
    return offsets[offsets.square().sum(1) <= cells**2]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    # by differences: products of coordinates would lose the digits of near ones, and round by the size of the batch
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def local_weights(
    covariance: Covariance, nugget: Tensor, days: Tensor, place: Tensor, present: Tensor, ordinary: bool
) -> tuple[Tensor, Tensor]:
    """Weights of the K neighbours of N values, (N, K), and the variance of the errors of what they give, (N,).

    nugget: variance of the noise of each value; that of the estimated one is part of the variance. days, place: of the
    value itself, then of its neighbours, (N, 1 + K) and (N, 1 + K, 3). present: the neighbours that there are, (N, K);
    the others get no weight. ordinary: the weights sum to 1, for an unknown mean; otherwise, and where there are fewer
    than FEWEST neighbours to tell the mean, it is 0. Where there is none the variance is that of the values.

    Source: simple and ordinary kriging as in Cressie, Statistics for Spatial Data (Wiley 1993), section 3.2; simple
    kriging is the mean of a Gaussian process (Rasmussen and Williams, MIT Press 2006, equations 2.25 and 2.26).
    """
    between = covariance((days[:, 1:, None] - days[:, None, 1:]).abs(), _distance(place[:, 1:], place[:, 1:]))
    towards = covariance((days[:, 1:] - days[:, :1]).abs(), _distance(place[:, :1], place[:, 1:])[:, 0])
    there = present.to(towards.dtype)
    towards = towards * there
    # an absent neighbour is noise that goes with nothing
    identity = torch.eye(present.shape[1], dtype=towards.dtype, device=towards.device)
    between = between * (there[:, :, None] * there[:, None]) + identity * (nugget + 1 - there[:, None])
    factor = torch.linalg.cholesky(between)
    weights, share = torch.cholesky_solve(torch.stack([towards, there], -1), factor).unbind(-1)
    zero = towards.new_zeros(())
    variance = covariance(zero, zero) + nugget - (weights * towards).sum(1)
    if ordinary:
        total = share.sum(1).clamp(min=1e-9)
        lack = torch.where(present.sum(1) >= FEWEST, 1 - weights.sum(1), 0)
        weights = weights + share * (lack / total)[:, None]
        variance = variance + lack.square() / total
    return weights, variance
