"""Penalised least squares by cosine transforms (DCT-PLS): smooth fields from gappy ones, in plain torch.

Garcia, Comput. Stat. Data Anal. 54, 1167, 2010; equations by their numbers there. Windows of a batch do not touch each
other: each has its own convergence, and its own s where that is found by generalised cross-validation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sgdsm.models.classical.cosine import Cosine, frequencies

RELAXATION = 1.75  # of weighted or gappy data; between 1 and 2 (Eq. 17)
COARSE = 0.1  # share of the lowest frequencies that the first guess keeps, on each axis
ROUNDS = 3  # of weights that come from residuals
BISQUARE = 4.685
GOLDEN = (math.sqrt(5) - 1) / 2
SEARCH = 11  # steps of the search for s, which narrow it to a tenth of a decade


def smooth(
    values: Tensor,
    weight: Tensor,
    s: float | None,
    start: Tensor | None = None,
    *,
    time_weight: float = 1.0,
    robust: bool = False,
    tolerance: float = 1e-3,
    iterations: int = 100,
) -> Tensor:
    """The field z that minimises the weighted squares of z - values plus s times the squares of its Laplacian.

    values: (B, T, H, W), any number where missing. weight: the same shape, 0 (missing, not to be looked at) to 1.
    s: strength of the smoothing, None: by generalised cross-validation (Eq. 20). start: first guess, None: `guess`.
    time_weight: of the differences in time against those in space. robust: two more rounds, where residuals lower the
    weights by the bisquare (Eqs. 21-24). tolerance, iterations: a round ends when the values where there is data
    change by a smaller share, or after so many steps.
    """
    seen = weight > 0
    transform, penalty = Cosine(tuple(values.shape[1:]), values), _penalty(values, time_weight)
    z = guess(values, seen, transform) if start is None else start.clone()
    rank, (low, high) = sum(n > 1 for n in values.shape[1:]), bounds(values.shape[1:])
    exponent = z.new_full((len(z), 1, 1, 1), high if s is None else math.log10(s))
    gamma = 1 / (1 + 10**exponent * penalty)
    mask, current, scratch = seen.to(values), weight, torch.empty_like(values)
    for number in range(ROUNDS if robust else 1):
        running = torch.ones_like(z[:, :1, :1, :1])
        for step in range(iterations):
            coefficients = transform.forward(torch.lerp(z, values, current, out=scratch))
            if s is None and (step & (step - 1)) == 0:  # at powers of two: a search costs many transforms
                found = search(coefficients, penalty, values, current, transform, low, high)
                exponent = torch.where(running > 0, found, exponent)
                gamma = 1 / (1 + 10**exponent * penalty)
            change = transform.inverse(coefficients.mul_(gamma)).sub_(z).mul_(RELAXATION * running)
            z.add_(change)
            small = _norm(change.mul_(mask)) <= tolerance * _norm(torch.mul(z, mask, out=scratch))
            running = running * ~small
            if not running.any():
                break
        if robust and number < ROUNDS - 1:
            current = weight * bisquare(values - z, seen, 10**exponent, rank)
    return z


def guess(values: Tensor, seen: Tensor, transform: Cosine) -> Tensor:
    """Nearest seen values, of which only the slow waves are kept; (B, T, H, W)."""
    coefficients = transform.forward(nearest(values, seen))
    t, h, w = (math.ceil(COARSE * n) for n in values.shape[1:])
    coarse = torch.zeros_like(coefficients)
    coarse[:, :t, :h, :w] = coefficients[:, :t, :h, :w]
    return transform.inverse(coarse)


def nearest(values: Tensor, seen: Tensor) -> Tensor:
    """The nearest seen value (in steps of the axes) of each cell, 0 where there is none; (B, T, H, W).

    Squared distances are minimised in time, then over rows, then over columns: exact, for they are sums over the axes.
    """
    length = seen.shape[1]
    days = torch.arange(length, dtype=torch.int32, device=seen.device)[:, None, None]
    last = torch.where(seen, days, -length).cummax(1).values
    following = torch.where(seen, days, 2 * length).flip(1).cummin(1).values.flip(1)
    day = torch.where(days - last <= following - days, last, following)
    known = (day >= 0) & (day < length)
    found = torch.where(known, values.gather(1, day.clamp(0, length - 1).long()), 0)
    square = torch.where(known, (day - days).square().to(values), math.inf)
    for axis in (2, 3):
        length = values.shape[axis]
        there, before = found.clone(), square.clone()
        for shift in range(1, length):
            if shift * shift >= square.max():
                break
            for to, of in ((0, shift), (shift, 0)):
                own, place = (field.narrow(axis, to, length - shift) for field in (square, found))
                other = before.narrow(axis, of, length - shift) + shift * shift
                closer = other < own
                torch.minimum(own, other, out=own)
                torch.where(closer, there.narrow(axis, of, length - shift), place, out=place)
    return found


def search(
    coefficients: Tensor, penalty: Tensor, values: Tensor, weight: Tensor, transform: Cosine, low: float, high: float
) -> Tensor:
    """log10 of the s with the smallest score of generalised cross-validation (Eqs. 10, 20), (B, 1, 1, 1).

    coefficients: of the field that is smoothed in this step. low, high: where to look; by the golden section.
    """
    count, seen = coefficients[0].numel(), (weight > 0).flatten(1).sum(1)

    def score(exponent: Tensor) -> Tensor:
        gamma = 1 / (1 + 10**exponent * penalty)
        residual = weight * (values - transform.inverse(gamma * coefficients)).square()
        freedom = 1 - gamma.flatten(1).sum(1) / count
        found: Tensor = residual.flatten(1).sum(1) / seen.clamp(min=1) / freedom**2
        return found[:, None, None, None]

    a = coefficients.new_full((len(coefficients), 1, 1, 1), low)
    b = torch.full_like(a, high)
    inner = [b - GOLDEN * (b - a), a + GOLDEN * (b - a)]
    scores = [score(x) for x in inner]
    for _ in range(SEARCH):
        left = scores[0] < scores[1]  # the smallest lies left of the second point
        a, b = torch.where(left, a, inner[0]), torch.where(left, inner[1], b)
        fresh = torch.where(left, b - GOLDEN * (b - a), a + GOLDEN * (b - a))
        new = score(fresh)
        inner = [torch.where(left, fresh, inner[1]), torch.where(left, inner[0], fresh)]
        scores = [torch.where(left, new, scores[1]), torch.where(left, scores[0], new)]
    return (a + b) / 2


def bounds(shape: torch.Size) -> tuple[float, float]:
    """log10 of the smallest and the largest s worth trying: those of mean leverages of 0.99 and 1e-6 (Eq. 12)."""
    rank = max(1, sum(n > 1 for n in shape))

    def strength(leverage: float) -> float:
        # the inverse of `leverage` below
        h = leverage ** (2 / rank)
        return math.log10((((1 + math.sqrt(1 + 8 * h)) / 4 / h) ** 2 - 1) / 16)

    return strength(0.99), strength(1e-6)


def bisquare(residual: Tensor, seen: Tensor, s: Tensor, rank: int) -> Tensor:
    """Weights of residuals, from 1 to 0 (Eqs. 21-24); (B, T, H, W). s: (B, 1, 1, 1). rank: axes longer than 1."""
    root = torch.sqrt(1 + 16 * s)
    leverage = (torch.sqrt(1 + root) / math.sqrt(2) / root) ** rank
    known = torch.where(seen, residual, math.nan).flatten(1)
    centre = known.nanmedian(1, keepdim=True).values
    deviation = (known - centre).abs().nanmedian(1).values[:, None, None, None].nan_to_num(0.0).clamp(min=1e-9)
    student = (residual / (1.4826 * deviation * torch.sqrt(1 - leverage))).abs()
    return (1 - (student / BISQUARE).square()).clamp(min=0).square()


def _penalty(values: Tensor, time_weight: float) -> Tensor:
    """Squares of the eigenvalues of the Laplacian, (T, H, W); `time_weight` times those of time."""
    time, rows, columns = (frequencies(n, values) for n in values.shape[1:])
    return (time_weight * time[:, None, None] + rows[:, None] + columns).square()


def _norm(field: Tensor) -> Tensor:
    return field.flatten(1).norm(dim=1)[:, None, None, None]
