"""Is a record that was joined from several sensors one record? Maps of R by part, breaks, and variability of years.

The product is compared with a reference that does not change where the sensors change (a reanalysis, stations put on
the grid, the truth of a simulation). CASM (Skulovich and Gentine, Sci. Data 10, 154, 2023) maps R and R of residuals
and shows that neither sensors nor years stand out; the tests of breaks are those of Su et al. (Geophys. Res. Lett. 43,
11245, 2016) on soil moisture of several satellites: Wilcoxon's rank sum for the level, Fligner and Killeen's for the
spread, on monthly means of product minus reference before and after a change of sensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import chi2, norm, rankdata

from sgdsm.core.cube import row_bands
from sgdsm.core.days import DAYS_PER_YEAR
from sgdsm.core.errors import CubeError

SIGNIFICANT = 0.05
LEAST_OF_CYCLE = 40  # pairs of a cell for a seasonal cycle, as in CASM; with fewer its mean
LEAST_OF_YEAR = 6  # months
LEAST_RUN = 6  # months for which a part must lead to count as the sensor of its time
NOT_TESTED, NO_BREAK, LEVEL, SPREAD, BOTH = -1, 0, 1, 2, 3  # codes of `break_kind`
KINDS = "not_tested no_break level spread level_and_spread"


@dataclass(frozen=True)
class Parts:
    """Which part of the record each value comes from.

    Attributes:
        codes: (T, H, W) whole numbers.
        values: Codes that are scored apart.
        names: Of these parts.
    """

    codes: xr.DataArray
    values: list[int]
    names: list[str]


def homogeneity(
    product: xr.DataArray,
    reference: xr.DataArray,
    parts: Parts | None,
    breaks: list[np.datetime64],
    *,
    harmonics: int = 1,
    least: int = 40,
    least_days: int = 3,
    least_months: int = 12,
) -> xr.Dataset:
    """Return scores of each cell, tests of breaks, and anomalies of the years.

    Values count where both variables have one. The residual of a series is its departure from its own seasonal cycle,
    fitted to all its values that count, so that a step between sensors stays in it.

    Args:
        product: (T, H, W).
        reference: The same days and cells, in the same units.
        parts: Scored one by one as well; None for a record of one part.
        breaks: Days on which a new part begins.
        harmonics: Of the seasonal cycle; CASM has one.
        least: Fewest pairs of R.
        least_days: Fewest pairs of a month.
        least_months: Fewest months on each side of a break.

    Returns:
        Dims `subset` ('all', and the parts), `break`, `year`, and those of a map. `r`, `r_residual`, `bias`, `n` by
        subset; `shift`, `p_level`, `p_spread`, `break_kind` by break; `product_year` and `reference_year`, the mean
        residuals of years; `product_month` and `reference_month`, means of them over the cells with values.
    """
    names = ["all", *(parts.names if parts else [])]
    rows, columns = (str(d) for d in product.dims[1:])
    time = product["time"].values.astype("datetime64[D]")
    months, month = np.unique(time.astype("datetime64[M]"), return_inverse=True)
    years = np.unique(months.astype("datetime64[Y]"))
    bands = [
        _band(
            product[:, band].values.astype(np.float64),
            reference[:, band].values.astype(np.float64),
            None if parts is None else (parts.codes[:, band].values, parts.values),
            time,
            _Calendar(months, month, years, breaks),
            _Least(harmonics, least, least_days, least_months),
        )
        for band in row_bands(product, 2**24 // max(1, len(time)))
    ]
    made: dict[str, Any] = {}
    units = product.attrs.get("units", "1")
    for name, (dim, unit, long_name) in DESCRIBED.items():
        values = np.concatenate([part[name] for part in bands], axis=-2)
        attrs = {"long_name": long_name, "units": units if unit is None else unit}
        made[name] = (((dim, rows, columns)) if values.ndim == 3 else (rows, columns), values, attrs)
    coords = {
        "subset": names,
        "break": ("break", np.array(breaks, "datetime64[ns]"), {"long_name": "first day of a new part"}),
        "year": ("year", years.astype(int) + 1970, {"long_name": "calendar year"}),
        "month": ("month", months.astype("datetime64[ns]"), {"long_name": "first day of the month"}),
        **{d: product[d] for d in (rows, columns) if d in product.coords},
    }
    found = xr.Dataset(made, coords)
    found["break_kind"].attrs |= {"flag_values": np.arange(-1, 4, dtype=np.int8), "flag_meanings": KINDS}
    del found["break_kind"].attrs["units"]
    return found


# name: dim beside those of the map, units (None: of the target), long name
DESCRIBED = {
    "r": ("subset", "1", "correlation of product and reference"),
    "r_residual": ("subset", "1", "correlation of their departures from the seasonal cycle"),
    "bias": ("subset", None, "mean of product minus reference"),
    "n": ("subset", "1", "number of pairs"),
    "shift": ("break", None, "median of product minus reference after the break, minus that before it"),
    "p_level": ("break", "1", "p value of Wilcoxon's rank sum test of the level, months for independent"),
    "p_spread": ("break", "1", "p value of Fligner and Killeen's test of the spread, months for independent"),
    "break_kind": ("break", "1", "what changes at the break, at 5 %"),
    "product_year": ("year", None, "mean departure of the product from its seasonal cycle, of the months of a year"),
    "reference_year": ("year", None, "the same of the reference"),
    "product_month": ("month", None, "mean departure of the product from its seasonal cycle"),
    "reference_month": ("month", None, "the same of the reference"),
}


@dataclass(frozen=True)
class _Calendar:
    """Months and years of a record: `month` is the number of the month of each day."""

    months: np.ndarray
    month: np.ndarray
    years: np.ndarray
    breaks: list[np.datetime64]


@dataclass(frozen=True)
class _Least:
    """Fewest pairs of what is computed, and harmonics of the cycle."""

    harmonics: int
    pairs: int
    days: int
    months: int


def _band(
    product: np.ndarray,
    reference: np.ndarray,
    parts: tuple[np.ndarray, list[int]] | None,
    time: np.ndarray,
    calendar: _Calendar,
    least: _Least,
) -> dict[str, np.ndarray]:
    """Return the results of a band of rows, (T, h, W) in and (K, h, W) out."""
    paired = np.isfinite(product) & np.isfinite(reference)
    product, reference = np.where(paired, product, np.nan), np.where(paired, reference, np.nan)
    basis = season_basis(time, least.harmonics)
    left = [values - _cycle(values, paired, basis) for values in (product, reference)]
    subsets = [paired] + ([paired & (parts[0] == value) for value in parts[1]] if parts else [])
    scores = [_scores((product, reference), (left[0], left[1]), mask, least.pairs) for mask in subsets]
    found = {name: np.stack([score[name] for score in scores]) for name in scores[0]}
    monthly = [_means(values, calendar.month, len(calendar.months), least.days) for values in left]
    found["product_month"], found["reference_month"] = monthly
    year = np.searchsorted(calendar.years, calendar.months.astype("datetime64[Y]"))
    for name, values in zip(("product_year", "reference_year"), monthly, strict=True):
        found[name] = _means(values, year, len(calendar.years), LEAST_OF_YEAR)
    difference = monthly[0] - monthly[1]
    edges = [calendar.months[0], *(day.astype("datetime64[M]") for day in calendar.breaks), None]
    tests = []
    for before, at, after in zip(edges, edges[1:-1], edges[2:], strict=False):
        old = (calendar.months >= before) & (calendar.months < at)
        # the month in which the sensors change belongs to neither
        new = (calendar.months > at) & (True if after is None else calendar.months < after)
        tests.append(_break(difference[old], difference[new], least.months))
    for name in ("shift", "p_level", "p_spread", "break_kind"):
        empty = np.zeros((0, *product.shape[1:]), np.int8 if name == "break_kind" else float)
        found[name] = np.stack([test[name] for test in tests]) if tests else empty
    return found


def season_basis(time: np.ndarray, harmonics: int) -> np.ndarray:
    """Return 1 and the sines and cosines of the year, (T, 1 + 2 harmonics).

    Args:
        time: Days, datetime64, (T,).
        harmonics: Of the year.
    """
    angle = 2 * np.pi * time.astype("datetime64[D]").astype(int) / DAYS_PER_YEAR
    waves = [wave(k * angle) for k in range(1, harmonics + 1) for wave in (np.sin, np.cos)]
    return np.stack([np.ones(len(time)), *waves], axis=1)


def _cycle(values: np.ndarray, known: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return the seasonal cycle of each cell by least squares, (T, h, W); its mean where there are few values."""
    mask = known.reshape(len(basis), -1).astype(float)
    flat = np.where(known, values, 0.0).reshape(len(basis), -1)
    gram = np.einsum("tk,tl,ts->skl", basis, basis, mask, optimize=True)
    moment = np.einsum("tk,ts->sk", basis, flat)
    count = mask.sum(0)
    solved = np.zeros((mask.shape[1], basis.shape[1]))
    solved[:, 0] = moment[:, 0] / np.maximum(count, 1)
    many = count >= max(LEAST_OF_CYCLE, 2 * basis.shape[1])
    # a cell that is seen in one season only has no cycle either
    many[many] &= np.linalg.cond(gram[many]) < 1e6
    solved[many] = np.linalg.solve(gram[many], moment[many][..., None])[..., 0]
    return (basis @ solved.T).reshape(values.shape)


def _scores(
    pair: tuple[np.ndarray, np.ndarray], left: tuple[np.ndarray, np.ndarray], mask: np.ndarray, least: int
) -> dict[str, np.ndarray]:
    """Return the scores of a subset of the values; `left` are the departures of the pair from its cycles."""
    count = mask.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = np.where(mask, pair[0] - pair[1], 0.0).sum(0) / count
    return {
        "r": correlation(*pair, mask, least),
        "r_residual": correlation(*left, mask, least),
        "bias": np.where(count >= least, bias, np.nan),
        "n": count.astype(np.int32),
    }


def correlation(x: np.ndarray, y: np.ndarray, mask: np.ndarray, least: int = 3) -> np.ndarray:
    """Return Pearson's correlation along the first axis where a mask is True.

    Args:
        x: (T, ...).
        y: (T, ...).
        mask: (T, ...) bool; both are finite where it is True.
        least: NaN where there are fewer pairs.
    """
    count = mask.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (np.where(mask, v - np.where(mask, v, 0.0).sum(0) / count, 0.0) for v in (x, y))
        r: np.ndarray = (a * b).sum(0) / np.sqrt((a * a).sum(0) * (b * b).sum(0))
    return np.where((count >= max(least, 3)) & np.isfinite(r), r, np.nan)


def _means(values: np.ndarray, group: np.ndarray, groups: int, least: int) -> np.ndarray:
    """Return means of the finite values of each group of the first axis, (groups, ...); NaN where there are few."""
    known = np.isfinite(values)
    total, count = np.zeros((groups, *values.shape[1:])), np.zeros((groups, *values.shape[1:]))
    np.add.at(total, group, np.where(known, values, 0.0))
    np.add.at(count, group, known)
    return np.where(count >= least, total / np.maximum(count, 1), np.nan)


def _break(old: np.ndarray, new: np.ndarray, least: int) -> dict[str, np.ndarray]:
    """Test the months before and after a change, (n, ...) and (m, ...)."""
    space = old.shape[1:]
    flat_old, flat_new = (part.reshape(len(part), -1) for part in (old, new))
    tested = (np.isfinite(flat_old).sum(0) >= least) & (np.isfinite(flat_new).sum(0) >= least)
    shift, level, spread = (np.full(tested.shape, np.nan) for _ in range(3))
    a, b = flat_old[:, tested], flat_new[:, tested]
    if tested.any():
        shift[tested] = np.nanmedian(b, 0) - np.nanmedian(a, 0)
        level[tested], spread[tested] = rank_sum(a, b), fligner_killeen(a, b)
    kind = np.where(tested, NO_BREAK + LEVEL * (level < SIGNIFICANT) + SPREAD * (spread < SIGNIFICANT), NOT_TESTED)
    found = {"shift": shift, "p_level": level, "p_spread": spread, "break_kind": kind.astype(np.int8)}
    return {name: values.reshape(space) for name, values in found.items()}


def rank_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return two-sided p values of Wilcoxon's rank sum test, normal approximation as in `scipy.stats.ranksums`.

    Args:
        a: (n, ...), NaN = missing.
        b: (m, ...).
    """
    ranks = rankdata(np.concatenate([a, b]), axis=0, nan_policy="omit")
    first, second = (np.isfinite(part).sum(0) for part in (a, b))
    total = first + second + 1
    z = (np.nansum(ranks[: len(a)], 0) - first * total / 2) / np.sqrt(first * second * total / 12)
    p: np.ndarray = 2 * norm.sf(abs(z))
    return p


def fligner_killeen(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return p values of the test of equal spread of Fligner and Killeen, about medians as `scipy.stats.fligner`.

    Args:
        a: (n, ...), NaN = missing.
        b: (m, ...).
    """
    away = np.concatenate([abs(part - np.nanmedian(part, 0)) for part in (a, b)])
    count = np.isfinite(away).sum(0)
    score = norm.ppf(rankdata(away, axis=0, nan_policy="omit") / (2 * (count + 1)) + 0.5)
    middle = np.nanmean(score, 0)
    between = sum(
        np.isfinite(part).sum(0) * (np.nanmean(part, 0) - middle) ** 2 for part in (score[: len(a)], score[len(a) :])
    )
    p: np.ndarray = chi2.sf(between / np.nanvar(score, 0, ddof=1), 1)
    return p


def breaks_of(parts: Parts) -> list[np.datetime64]:
    """Return the first days of the months in which another part gives most of the values.

    Months without values of the parts, and a few months of another part, go on with the part before.

    Args:
        parts: Parts of the record.
    """
    months = parts.codes["time"].values.astype("datetime64[M]")
    every = np.unique(months)
    counts = np.zeros((len(every), len(parts.values)), np.int64)
    for band in row_bands(parts.codes):
        codes = parts.codes[:, band].values
        for k, value in enumerate(parts.values):
            np.add.at(counts[:, k], np.searchsorted(every, months), (codes == value).sum((1, 2)))
    known = counts.any(1)
    every, most = every[known], counts[known].argmax(1)
    # runs of months with one part; short ones go on with the part before
    begins = np.flatnonzero(np.diff(most, prepend=-1))
    found: list[np.datetime64] = []
    before = None
    for begin, end in zip(begins, [*begins[1:], len(most)], strict=True):
        if end - begin >= LEAST_RUN or before is None:
            if before is not None and most[begin] != before:
                found.append(every[begin].astype("datetime64[D]"))
            before = most[begin]
    return found


def check_pairs(found: xr.Dataset, product: str, reference: str) -> None:
    """Raise CubeError where no cell has enough pairs for R.

    Args:
        found: What `homogeneity` returns.
        product: Name of the product's file, for the message.
        reference: Name of the other file.
    """
    if not np.isfinite(found["r"][0].values).any():
        most = int(found["n"][0].max())
        raise CubeError(f"{product} and {reference}: no cell has enough pairs of values; the most is {most}")


def format_homogeneity(found: xr.Dataset, units: str) -> str:
    """Return the results as text: R by part, breaks, and the variability of years.

    Args:
        found: What `homogeneity` returns.
        units: Of the target.
    """
    width = max(24, *(len(str(s)) for s in found["subset"].values))
    lines = [f"{'medians over cells':{width}} {'cells':>7} {'pairs':>9} {'R':>7} {'R resid.':>8} {'bias':>9}"]
    for name in found["subset"].values:
        one = found.sel(subset=name)
        cells = int(np.isfinite(one["r"]).sum())
        numbers = [float(one[key].median()) for key in ("r", "r_residual", "bias")]
        lines.append(
            f"{name:{width}} {cells:7d} {int(one['n'].sum()):9d} {numbers[0]:7.3f} {numbers[1]:8.3f} {numbers[2]:+9.4f}"
        )
    lines += ["", f"{'change of sensors':{width}} {'cells':>7} {'median shift':>13} {'level':>7} {'spread':>7}"]
    for day in found["break"].values:
        one = found.sel({"break": day})
        tested = one["break_kind"].values != NOT_TESTED
        text = f"{str(day)[:10]:{width}} {tested.sum():7d}"
        if tested.any():
            shares = [float((one[p].values[tested] < SIGNIFICANT).mean()) for p in ("p_level", "p_spread")]
            text += f" {float(one['shift'].median()):+13.4f} {shares[0]:7.1%} {shares[1]:7.1%}"
        lines.append(text if tested.any() else f"{text}   too few months on a side")
    if not found.sizes["break"]:
        lines.append("none")
    else:
        lines.append(
            f"shift in {units}; level, spread: share of the cells with p below 5 %, of which 5 % are expected of a "
            "record\nwithout breaks, and more where months are correlated"
        )
    return "\n".join([*lines, "", *_year_lines(found, width)])


def interannual(found: xr.Dataset) -> dict[str, float]:
    """Return how far the years of the product vary as those of the reference do.

    Args:
        found: What `homogeneity` returns.

    Returns:
        `ratio`, the median over cells of the standard deviations of yearly means, product over reference; `r`, the
        correlation of all yearly means of all cells, each cell's mean over the years taken away; `cells`.
    """
    product, reference = found["product_year"].values, found["reference_year"].values
    both = np.isfinite(product) & np.isfinite(reference)
    enough = both.sum(0) >= 3
    if not enough.any():
        return {"ratio": float("nan"), "r": float("nan"), "cells": 0.0}
    a, b = (np.where(both, v, np.nan)[:, enough] for v in (product, reference))
    a, b = a - np.nanmean(a, 0), b - np.nanmean(b, 0)
    there = np.isfinite(a)
    return {
        "ratio": float(np.median(np.nanstd(a, 0, ddof=1) / np.nanstd(b, 0, ddof=1))),
        "r": float(np.corrcoef(a[there], b[there])[0, 1]),
        "cells": float(enough.sum()),
    }


def _year_lines(found: xr.Dataset, width: int) -> list[str]:
    lines = [f"{'year (mean departure)':{width}} {'cells':>7} {'product':>9} {'reference':>9}"]
    for year in found["year"].values:
        one = found.sel(year=year)
        both = np.isfinite(one["product_year"].values) & np.isfinite(one["reference_year"].values)
        if both.any():
            values = [float(one[name].values[both].mean()) for name in ("product_year", "reference_year")]
            lines.append(f"{year!s:{width}} {both.sum():7d} {values[0]:+9.4f} {values[1]:+9.4f}")
    years = interannual(found)
    return [
        *lines,
        f"variability of years: standard deviation {years['ratio']:.2f} times that of the reference (median of "
        f"{years['cells']:.0f} cells), R of yearly means {years['r']:.3f}",
    ]
