"""Penalised least squares by cosine transforms (DCT-PLS): smooth fields from gappy ones, in plain torch.

Garcia, Comput. Stat. Data Anal. 54, 1167, 2010; equations by their numbers there. The windows of a batch are
independent: each has its own convergence, and its own s where that is found by generalised cross-validation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sgdsm.models.classical.cosine import Cosine, frequencies

RELAXATION = 1.75  # of weighted or gappy data; between 1 and 2 (Eq. 17)
COARSE = 0.1  # share of the lowest frequencies that the first guess keeps, on each axis
ROUNDS = 3  # rounds of robust weights
BISQUARE = 4.685  # residuals beyond, in standard deviations, get no weight: 95 % efficiency for normal errors
GOLDEN = (math.sqrt(5) - 1) / 2
SEARCH = 11  # steps of the golden-section search for s: to a tenth of a decade


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
    """Return the field z that minimises the weighted squares of z - values plus s times the squares of its Laplacian.

    Args:
        values: (B, T, H, W), any number where missing.
        weight: From 0 (missing) to 1, (B, T, H, W).
        s: Strength of the smoothing; None: by generalised cross-validation (Eq. 20).
        start: First guess, (B, T, H, W); None: `guess`.
        time_weight: Weight of the differences in time against those in space.
        robust: True for two more rounds, in which the weights of large residuals are lowered (bisquare, Eqs. 21-24).
        tolerance: A round ends when the values with data change by a smaller share.
        iterations: Largest number of steps of a round.

    Returns:
        The smooth field, (B, T, H, W).
    """
    seen = weight > 0
    transform, penalty = Cosine(tuple(values.shape[1:]), values), _penalty(values, time_weight)
    z = guess(values, seen, transform) if start is None else start.clone()
    rank, (low, high) = sum(n > 1 for n in values.shape[1:]), bounds(values.shape[1:])
    exponent = z.new_full((len(z), 1, 1, 1), high if s is None else math.log10(s))
    gamma = 1 / (1 + 10**exponent * penalty)
    # buffers are reused: the fields of a globe are large
    mask, current, scratch = seen.to(values), weight, torch.empty_like(values)
    for number in range(ROUNDS if robust else 1):
        # 1 for windows that have not converged, 0 for the others
        running = torch.ones_like(z[:, :1, :1, :1])
        for step in range(iterations):
            coefficients = transform.forward(torch.lerp(z, values, current, out=scratch))
            if s is None and (step & (step - 1)) == 0:  # at powers of two: a search costs many transforms
                best = search(coefficients, penalty, values, current, transform, low, high)
                exponent = torch.where(running > 0, best, exponent)
                gamma = 1 / (1 + 10**exponent * penalty)
            change = transform.inverse(coefficients.mul_(gamma)).sub_(z).mul_(RELAXATION * running)
            z.add_(change)
            # relative change of the values with data
            small = _norm(change.mul_(mask)) <= tolerance * _norm(torch.mul(z, mask, out=scratch))
            running = running * ~small
            if not running.any():
                break
        if robust and number < ROUNDS - 1:
            current = weight * bisquare(values - z, seen, 10**exponent, rank)
    return z


def guess(values: Tensor, seen: Tensor, transform: Cosine) -> Tensor:
    """Return a first guess: nearest seen values, of which only the low frequencies are kept.

    Args:
        values: (B, T, H, W).
        seen: (B, T, H, W) bool.
        transform: Of fields of this shape.

    Returns:
        The guess, (B, T, H, W).
    """
    coefficients = transform.forward(nearest(values, seen))
    t, h, w = (math.ceil(COARSE * n) for n in values.shape[1:])
    coarse = torch.zeros_like(coefficients)
    coarse[:, :t, :h, :w] = coefficients[:, :t, :h, :w]
    return transform.inverse(coarse)


def nearest(values: Tensor, seen: Tensor) -> Tensor:
    """Return the nearest seen value of each cell and day, distances counted in steps of the axes.

    Squared distances are minimised in time, then over rows, then over columns. This is exact because they are sums
    over the axes.

    Args:
        values: (B, T, H, W).
        seen: (B, T, H, W) bool.

    Returns:
        Values, (B, T, H, W); 0 in a window without seen values.
    """
    length = seen.shape[1]
    days = torch.arange(length, dtype=torch.int32, device=seen.device)[:, None, None]
    # beyond the ends: so far away that it is never the nearest
    last = torch.where(seen, days, -length).cummax(1).values
    following = torch.where(seen, days, 2 * length).flip(1).cummin(1).values.flip(1)
    day = torch.where(days - last <= following - days, last, following)
    known = (day >= 0) & (day < length)
    result = torch.where(known, values.gather(1, day.clamp(0, length - 1).long()), 0)
    square = torch.where(known, (day - days).square().to(values), math.inf)
    for axis in (2, 3):
        length = values.shape[axis]
        candidates, before = result.clone(), square.clone()
        for shift in range(1, length):
            # no cell can be improved by a farther one
            if shift * shift >= square.max():
                break
            for to, of in ((0, shift), (shift, 0)):
                distance, value = (field.narrow(axis, to, length - shift) for field in (square, result))
                other = before.narrow(axis, of, length - shift) + shift * shift
                closer = other < distance
                torch.minimum(distance, other, out=distance)
                torch.where(closer, candidates.narrow(axis, of, length - shift), value, out=value)
    return result


def search(
    coefficients: Tensor,
    penalty: Tensor,
    values: Tensor,
    weight: Tensor,
    transform: Cosine,
    low: float,
    high: float,
) -> Tensor:
    """Return log10 of the s with the smallest score of generalised cross-validation (Eqs. 10, 20).

    Args:
        coefficients: Of the field that is smoothed in this step, (B, T, H, W).
        penalty: See `_penalty`, (T, H, W).
        values: (B, T, H, W).
        weight: Of the values, (B, T, H, W).
        transform: Of fields of this shape.
        low: Lower end of the golden-section search, log10.
        high: Its upper end.

    Returns:
        log10 of s for each window, (B, 1, 1, 1).
    """
    count, seen = coefficients[0].numel(), (weight > 0).flatten(1).sum(1)

    def score(exponent: Tensor) -> Tensor:
        gamma = 1 / (1 + 10**exponent * penalty)
        residual = weight * (values - transform.inverse(gamma * coefficients)).square()
        freedom = 1 - gamma.flatten(1).sum(1) / count
        gcv: Tensor = residual.flatten(1).sum(1) / seen.clamp(min=1) / freedom**2
        return gcv[:, None, None, None]

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
    """Return log10 of the smallest and the largest useful s: those of mean leverages of 0.99 and 1e-6 (Eq. 12).

    Args:
        shape: Of a field, (T, H, W).
    """
    rank = max(1, sum(n > 1 for n in shape))

    def strength(leverage: float) -> float:
        # the inverse of the leverage in `bisquare`
        h = leverage ** (2 / rank)
        return math.log10((((1 + math.sqrt(1 + 8 * h)) / 4 / h) ** 2 - 1) / 16)

    return strength(0.99), strength(1e-6)


def bisquare(residual: Tensor, seen: Tensor, s: Tensor, rank: int) -> Tensor:
    """Return robust weights of residuals, from 1 to 0 (Eqs. 21-24).

    Args:
        residual: (B, T, H, W).
        seen: (B, T, H, W) bool.
        s: Strength of the smoothing of each window, (B, 1, 1, 1).
        rank: Number of axes longer than 1.

    Returns:
        Weights, (B, T, H, W).
    """
    root = torch.sqrt(1 + 16 * s)
    leverage = (torch.sqrt(1 + root) / math.sqrt(2) / root) ** rank
    known = torch.where(seen, residual, math.nan).flatten(1)
    centre = known.nanmedian(1, keepdim=True).values
    deviation = (known - centre).abs().nanmedian(1).values[:, None, None, None].nan_to_num(0.0).clamp(min=1e-9)
    # 1.4826: from the median absolute deviation to the standard deviation of a normal distribution
    student = (residual / (1.4826 * deviation * torch.sqrt(1 - leverage))).abs()
    return (1 - (student / BISQUARE).square()).clamp(min=0).square()


def _penalty(values: Tensor, time_weight: float) -> Tensor:
    """Return the squares of the eigenvalues of the Laplacian, (T, H, W), those of time times `time_weight`."""
    time, rows, columns = (frequencies(n, values) for n in values.shape[1:])
    return (time_weight * time[:, None, None] + rows[:, None] + columns).square()


def _norm(field: Tensor) -> Tensor:
    return field.flatten(1).norm(dim=1)[:, None, None, None]
