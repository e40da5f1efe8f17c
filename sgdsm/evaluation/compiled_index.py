"""Normal scores of gamma and beta distributions in compiled loops: the numbers of scipy, many times faster.

The power series of both distribution functions have the same factors for all values of a day of the year. So these are
computed once, and the values go through the series together (Abramowitz and Stegun, Eqs. 6.5.29 and 26.5.4). This module
is imported only where numba is installed.
"""

from __future__ import annotations

from math import exp, lgamma, log, log1p, pi, sqrt
from typing import Any

import numpy as np

from sgdsm.core.compiled import compiled

ROUNDING = 1e-17
MOST_TERMS = 40_000  # of the narrowest distributions that are fitted
CERTAIN = 45.0  # -log of a probability that counts as 0: beyond any index that is given
HALF_LOG_2PI = 0.5 * log(2 * pi)
# rational approximations of the normal quantile: numerators and denominators, highest power first
# fmt: off
MIDDLE = (2.5090809287301226727e+3, 3.3430575583588128105e+4, 6.7265770927008700853e+4, 4.5921953931549871457e+4, 1.3731693765509461125e+4, 1.9715909503065514427e+3, 1.3314166789178437745e+2, 3.3871328727963666080e+0)
MIDDLE_BELOW = (5.2264952788528545610e+3, 2.8729085735721942674e+4, 3.9307895800092710610e+4, 2.1213794301586595867e+4, 5.3941960214247511077e+3, 6.8718700749205790830e+2, 4.2313330701600911252e+1, 1.0)
OUTER = (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e+0, 3.64784832476320460504e+0, 5.76949722146069140550e+0, 4.63033784615654529590e+0, 1.42343711074968357734e+0)
OUTER_BELOW = (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e+0, 2.05319162663775882187e+0, 1.0)
FAR = (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e+0, 5.46378491116411436990e+0, 6.65790464350110377720e+0)
FAR_BELOW = (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0)
# fmt: on


@compiled()
def _ratio(above: Any, below: Any, r: float) -> float:
    one, two = 0.0, 0.0
    for k in range(len(above)):
        one, two = one * r + above[k], two * r + below[k]
    return one / two


@compiled()
def _normal_quantile(p: float, largest: float) -> float:
    """Return the normal quantile of a probability (Wichura, Applied Statistics 37, 477, 1988, AS 241)."""
    q = p - 0.5
    if abs(q) <= 0.425:
        return q * _ratio(MIDDLE, MIDDLE_BELOW, 0.180625 - q * q)
    r = p if q < 0 else 1 - p
    if r <= 0:
        return -largest if q < 0 else largest
    r = sqrt(-log(r))
    x = _ratio(OUTER, OUTER_BELOW, r - 1.6) if r <= 5 else _ratio(FAR, FAR_BELOW, r - 5.0)
    return max(-x, -largest) if q < 0 else min(x, largest)


@compiled()
def _stirling_rest(a: float) -> float:
    """Return log of gamma(a) minus Stirling's approximation of it."""
    if a < 10:
        return lgamma(a) - ((a - 0.5) * log(a) - a + HALF_LOG_2PI)
    s = 1 / (a * a)
    return (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s * (1 / 1188 - s * 691 / 360360))))) / a


@compiled()
def _terms(ratios: Any, largest: float) -> int:
    """Return how many terms a series needs whose k-th term is the one before times `ratios[k] * largest`."""
    term, total = 1.0, 1.0
    for k in range(len(ratios)):
        factor = ratios[k] * largest
        term *= factor
        total += term
        if factor < 1 and term < ROUNDING * total * (1 - factor):
            return k + 1
    return len(ratios)


@compiled()
def _series(x: Any, count: int, ratios: Any, terms: int, sums: Any) -> None:
    """Sum the series of `count` values at once."""
    sums[:count] = 1.0
    for k in range(terms - 1, -1, -1):
        ratio = ratios[k]
        for j in range(count):
            sums[j] = 1.0 + x[j] * ratio * sums[j]


@compiled()
def gamma_index(values: Any, shapes: Any, scales: Any, order: Any, starts: Any, largest: float, index: Any) -> None:
    """Write the normal scores of values under the gamma distributions of their days of the year.

    Args:
        values: (T, N) float64, NaN where missing.
        shapes: (365, N), NaN where there is no fit.
        scales: (365, N).
        order: Positions in time, sorted by day of the year, (T,).
        starts: Where each day of the year begins in `order`, (366,).
        largest: Scores are within it and its negative.
        index: The result, (T, N); NaN before, and left where a value or a fit is missing.
    """
    most = 0
    for day in range(len(starts) - 1):
        most = max(most, starts[day + 1] - starts[day])
    x, sums, at = np.empty(most), np.empty(most), np.empty(most, np.int64)
    ratios = np.empty(MOST_TERMS)
    for cell in range(values.shape[1]):
        for day in range(len(starts) - 1):
            a, scale = shapes[day, cell], scales[day, cell]
            if not a > 0:
                continue
            count, top = 0, 0.0
            for k in range(starts[day], starts[day + 1]):
                v = values[order[k], cell] / scale
                if v != v:
                    continue
                if v <= 0:
                    index[order[k], cell] = -largest
                    continue
                if a * ((v - a) / a - log1p((v - a) / a)) > CERTAIN:
                    index[order[k], cell] = largest if v > a else -largest
                    continue
                x[count], at[count] = v, order[k]
                count, top = count + 1, max(top, v)
            # x^k / ((a + 1) ... (a + k)); as many factors as the largest value needs
            number = int(min(MOST_TERMS, 60 + top - a + 14 * sqrt(max(a, top))))
            for k in range(number):
                ratios[k] = 1 / (a + 1 + k)
            _series(x, count, ratios, _terms(ratios[:number], top), sums)
            constant = -0.5 * log(a) - HALF_LOG_2PI - _stirling_rest(a)
            for j in range(count):
                away = (x[j] - a) / a
                p = sums[j] * exp(constant - a * (away - log1p(away)))
                index[at[j], cell] = _normal_quantile(min(p, 1.0), largest)


@compiled()
def _power(v: float, a: float, b: float) -> float:
    """Return the log of v^a (1 - v)^b over its value at the mean, exact also for very narrow distributions."""
    mean = a / (a + b)
    return a * log1p((v - mean) / mean) + b * log1p((mean - v) / (1 - mean))


@compiled()
def _beta_probabilities(x: Any, count: int, a: float, b: float, ratios: Any, sums: Any) -> None:
    """Replace values by their probabilities under a beta distribution."""
    top = 0.0
    for j in range(count):
        top = max(top, x[j])
    for k in range(len(ratios)):
        ratios[k] = (a + b + k) / (a + 1 + k)
        if k % 64 == 63 and _terms(ratios[: k + 1], top) < k + 1:
            number = k + 1
            break
    else:
        number = len(ratios)
    _series(x, count, ratios, _terms(ratios[:number], top), sums)
    total = a + b
    constant = 0.5 * (log(b) - log(a) - log(total)) - HALF_LOG_2PI
    constant += _stirling_rest(total) - _stirling_rest(a) - _stirling_rest(b)
    for j in range(count):
        x[j] = min(sums[j] * exp(constant + _power(x[j], a, b)), 1.0)


@compiled()
def beta_index(values: Any, shapes: Any, others: Any, order: Any, starts: Any, largest: float, index: Any) -> None:
    """Write the normal scores of values under the beta distributions of their days of the year.

    Args:
        values: Between 0 and 1, (T, N) float64, NaN where missing.
        shapes: First shape, (365, N), NaN where there is no fit.
        others: Second shape, (365, N).
        order: As in `gamma_index`.
        starts: As in `gamma_index`.
        largest: As in `gamma_index`.
        index: As in `gamma_index`.
    """
    most = 0
    for day in range(len(starts) - 1):
        most = max(most, starts[day + 1] - starts[day])
    x, sums, at = np.empty(most), np.empty(most), np.empty(most, np.int64)
    ratios = np.empty(MOST_TERMS)
    for cell in range(values.shape[1]):
        for day in range(len(starts) - 1):
            a, b = shapes[day, cell], others[day, cell]
            if not a > 0:
                continue
            # of a mean above a half the other side: the series is shorter there
            sign = 1.0 if a <= b else -1.0
            a, b = min(a, b), max(a, b)
            mean = a / (a + b)
            count = 0
            for k in range(starts[day], starts[day + 1]):
                v = values[order[k], cell]
                if v != v:
                    continue
                v = v if sign > 0 else 1 - v
                if v <= 0 or v >= 1 or -_power(v, a, b) > CERTAIN:
                    index[order[k], cell] = sign * (largest if v > mean else -largest)
                else:
                    x[count], at[count] = v, order[k]
                    count += 1
            _beta_probabilities(x, count, a, b, ratios, sums)
            for j in range(count):
                index[at[j], cell] = sign * _normal_quantile(x[j], largest)


@compiled()
def count_below(ranked: Any, counts: Any, values: Any, near: Any, twice: Any) -> None:
    """Write how many of the values of a pool are smaller than a value, plus how many are not larger.

    Args:
        ranked: Values of each cell in rising order, (N, M).
        counts: How many of them there are, (N,).
        values: (T, N), NaN where missing.
        near: Values so near are equal, (N,).
        twice: The result, (T, N); NaN before, and left where a value is missing or there is no pool.
    """
    for cell in range(values.shape[1]):
        known = ranked[cell, : counts[cell]]
        if len(known) == 0:
            continue
        for k in range(values.shape[0]):
            v = values[k, cell]
            if v == v:
                below = np.searchsorted(known, v - near[cell])
                twice[k, cell] = below + np.searchsorted(known, v + near[cell], side="right")
