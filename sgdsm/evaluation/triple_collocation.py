"""Triple collocation: the errors of three data sets of one quantity, without a known truth.

Each data set i is taken as a_i + b_i t + e_i, with the truth t and errors e_i that depend neither on the truth nor on
each other. The covariances C of the three then give all that follows. i, j and k are the three in any order.

- error variance: C_ii - C_ij C_ik / C_jk
- scaling, the factor to the units of the reference: C_ref,k / C_ik
- fMSE, the share of errors in the variance: error variance / C_ii
- R to the truth: sqrt(1 - fMSE)
- signal-to-noise ratio: 10 log10(1 / fMSE - 1), dB

Sources: Stoffelen, J. Geophys. Res. 103, 7755, 1998; McColl et al., Geophys. Res. Lett. 41, 6229, 2014 (R to the
truth); Gruber et al., Int. J. Appl. Earth Obs. 45, 200, 2016, Eqs. 5 to 12 (covariance form, fMSE and SNR).
"""

from __future__ import annotations

import numpy as np

ESTIMATED, TOO_FEW, NOT_CORRELATED, NEGATIVE_VARIANCE = range(4)  # codes of `status`
STATUS = "estimated too_few_values covariance_not_positive negative_error_variance"
STATISTICS = ("error_std", "scaling", "snr", "fmse", "r")
LEVEL = 0.95  # of the intervals
DEFINED = 0.95  # least share of the draws that give a value, where an interval is given
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
AT_ONCE = 2**20  # products of values in memory at once


def triple_collocation(
    values: np.ndarray, reference: int = 0, least: int = 200, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the errors of three data sets at N places.

    Args:
        values: The data sets, (3, T, N), NaN in gaps. Days are used where all three have a value.
        reference: Number of the data set whose units `error_std` and `scaling` have.
        least: Least number of such days.
        weights: How often each day occurs in each resampled series, (draws, T), see `resampled`; None: no intervals.

    Returns:
        `n` (N,) int32, days with three values; `status` (3, N) int8, a code of STATUS; and float64 (3, N), NaN where
        not estimated: `error_std` (of the data set times its scaling, in units of the reference), `scaling`, `snr` in
        dB, `fmse` and `r`. With weights also `X_lower` and `X_upper` of each, the bounds of the 95 % interval.
    """
    days, places = values.shape[1:]
    # of a few places at a time: products of all would be many times the values
    step = max(1, AT_ONCE // (10 * max(days, 0 if weights is None else len(weights))))
    parts = [
        _collocated(values[:, :, start : start + step], reference, least, weights)
        for start in range(0, max(1, places), step)
    ]
    return {name: np.concatenate([part[name] for part in parts], -1) for name in parts[0]}


def resampled(drawn: np.ndarray) -> np.ndarray:
    """Return how often each day occurs in each resampled series, (draws, T) float64.

    Args:
        drawn: Day indices of the series, (draws, T), as `sgdsm.evaluation.blocks.moving_blocks` gives them.
    """
    draws, days = drawn.shape
    places = (drawn + days * np.arange(draws)[:, None]).ravel()
    return np.bincount(places, minlength=draws * days).reshape(draws, days).astype(np.float64)


def _collocated(values: np.ndarray, reference: int, least: int, weights: np.ndarray | None) -> dict[str, np.ndarray]:
    known = np.isfinite(values).all(0)
    count = known.sum(0)
    products = _products(values, known)
    estimates = _estimates(_covariances(products.sum(0)), reference)
    status = np.where(estimates["error_variance"] < 0, NEGATIVE_VARIANCE, ESTIMATED)
    status[:, ~estimates["defined"]] = NOT_CORRELATED
    status[:, count < max(2, least)] = TOO_FEW
    found = {"n": count.astype(np.int32), "status": status.astype(np.int8)}
    statistics = _statistics(estimates["error_variance"], estimates["scaling"], estimates["fmse"])
    if weights is not None:
        # one product of matrices gives the sums of all resampled series
        sums = weights @ products.reshape(len(products), -1)
        statistics |= _bounds(sums.reshape(len(weights), *products.shape[1:]).swapaxes(0, 1), reference)
    return found | {name: np.where(status == ESTIMATED, value, np.nan) for name, value in statistics.items()}


def _products(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return 1, the values and their products on days with three values, else 0, (T, 10, N); sums of them add up."""
    products = np.empty((len(known), 10, known.shape[1]))
    products[:, 0] = known
    for i in range(3):
        value = np.where(known, values[i], 0).astype(np.float64)
        # sums of values near 0 keep more digits
        products[:, 1 + i] = np.where(known, value - value.sum(0) / np.maximum(known.sum(0), 1), 0)
    for place, (i, j) in enumerate(PAIRS, 4):
        np.multiply(products[:, 1 + i], products[:, 1 + j], out=products[:, place])
    return products


def _covariances(sums: np.ndarray) -> np.ndarray:
    """Return the covariances (3, 3, ...) from the sums of `_products`, (10, ...); NaN of fewer than two days."""
    count, totals, squares = sums[0], sums[1:4], sums[4:]
    covariance = np.empty((3, 3, *count.shape))
    with np.errstate(invalid="ignore", divide="ignore"):
        for (i, j), square in zip(PAIRS, squares, strict=True):
            covariance[i, j] = (square - totals[i] * totals[j] / count) / (count - 1)
            covariance[j, i] = covariance[i, j]
    covariance[:, :, count < 2] = np.nan
    return covariance


def _estimates(covariance: np.ndarray, reference: int) -> dict[str, np.ndarray]:
    """Return `error_variance` in the data sets' own units, `scaling` and `fmse`, (3, ...), and where these are defined.

    They are not where two data sets have no positive covariance: they then do not show the same quantity.
    """
    error, scaling = np.empty(covariance.shape[1:]), np.ones(covariance.shape[1:])
    with np.errstate(invalid="ignore", divide="ignore"):
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            error[i] = covariance[i, i] - covariance[i, j] * covariance[i, k] / covariance[j, k]
            if i != reference:
                third = 3 - i - reference
                scaling[i] = covariance[reference, third] / covariance[i, third]
        fmse = error / covariance[range(3), range(3)]
        defined = np.logical_and.reduce([covariance[i, j] > 0 for i, j in PAIRS])
    return {"error_variance": error, "scaling": scaling, "fmse": fmse, "defined": defined}


def _statistics(error_variance: np.ndarray, scaling: np.ndarray, fmse: np.ndarray) -> dict[str, np.ndarray]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "error_std": np.sqrt(error_variance) * scaling,
            "scaling": scaling,
            "snr": 10 * np.log10(1 / fmse - 1),
            "fmse": fmse,
            "r": np.sqrt(1 - fmse),
        }


def _bounds(sums: np.ndarray, reference: int) -> dict[str, np.ndarray]:
    """Return the bounds of each statistic, (3, N), from the sums of resampled series, (10, draws, N)."""
    found = _estimates(_covariances(sums), reference)
    # a share of errors below 0 stands for none; above 1 it cannot be where all covariances are positive
    share = np.maximum(found["fmse"], 0)
    error = np.sqrt(np.maximum(found["error_variance"], 0)) * found["scaling"]
    bounds = {}
    for name, values in {"error_std": error, "scaling": found["scaling"], "fmse": share}.items():
        bounds[f"{name}_lower"], bounds[f"{name}_upper"] = _ends(np.where(found["defined"], values, np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        # both fall where the share of errors rises
        for ours, other in (("lower", "upper"), ("upper", "lower")):
            fmse = bounds[f"fmse_{other}"]
            bounds[f"r_{ours}"], bounds[f"snr_{ours}"] = np.sqrt(1 - fmse), 10 * np.log10(1 / fmse - 1)
    return bounds


def _ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantiles (1 - LEVEL) / 2 and (1 + LEVEL) / 2 over the draws, (3, draws, N) -> (3, N)."""
    # NaN comes last; numpy.nanquantile would take one place after the other
    ranked = np.sort(values, axis=1)
    count = np.isfinite(values).sum(1)
    enough = count >= DEFINED * values.shape[1]
    ends = []
    for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        position = share * (np.maximum(count, 1) - 1)
        below = np.floor(position).astype(int)
        above = np.minimum(below + 1, np.maximum(count, 1) - 1)
        low, high = (np.take_along_axis(ranked, index[:, None], 1)[:, 0] for index in (below, above))
        ends.append(np.where(enough, low + (position - below) * (high - low), np.nan))
    return ends[0], ends[1]
