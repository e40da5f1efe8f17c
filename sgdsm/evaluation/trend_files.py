"""Trends of a filled file: of its filled values, of the observed ones alone, and of their difference."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import xarray as xr

from sgdsm.core.axes import SPACE_DIMS
from sgdsm.core.cube import step_days
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import OBSERVED, OBSERVED_NAME, SM_FILLED, SM_SOURCE
from sgdsm.core.units import same_units
from sgdsm.core.validation import check_values
from sgdsm.evaluation.scored_files import ScoredFile, aligned
from sgdsm.evaluation.strata import flag_names
from sgdsm.evaluation.trends import (
    LEVEL,
    Robust,
    Trend,
    false_discovery_rate,
    monthly_means,
    trends,
    yearly_means,
    years_of,
)

Step = Literal["year", "month", "raw"]
LEAST_DAYS = {"year": 30, "month": 3, "raw": 1}  # with a value, that a mean needs
LEAST_YEARS = 3
BAND = 2**26  # values that are in memory at once
MOST_ZONES = 30
KINDS = {"filled": "filled values", "observed": "observed values alone", "difference": "filled minus observed values"}
TESTS = {
    "none": "Mann-Kendall test",
    "covariance": "seasonal Kendall test with the covariance between months (Hirsch and Slack 1984)",
    "hamed_rao": "Mann-Kendall test, variance corrected by three lags (Hamed and Rao 1998)",
}
WARNING = (
    "WARNING: this test takes values for independent. Without any trend it finds one in about 30 % of the cells, not "
    "in 5 %, where months have a correlation of 0.6: use annual means, or robust="
)
# LIU (HESS 27, 577, 2023), Fig. 16: R2 of the trends of 1 km ESA CCI with those of stations
LIU = {"observed": 0.23, "filled": 0.45}


@dataclass(frozen=True)
class Calendar:
    """Steps of the series whose trends are sought.

    Attributes:
        step: 'year', 'month' or 'raw'.
        days: Dates of the maps, (T,) datetime64[D], rising.
        map_days: Days between two maps.
        first: The first whole year.
        count: Number of whole years.
        least: Days with a value that a mean needs.
    """

    step: Step
    days: np.ndarray
    map_days: int
    first: int
    count: int
    least: int

    @classmethod
    def of(cls, time: xr.DataArray, step: Step, least_days: int | None = None) -> Calendar:
        """Return the steps of a time axis; only years that it holds whole count.

        Raises:
            CubeError: There are fewer than three whole years, or three maps.
        """
        days = time.values.astype("datetime64[D]")
        apart, least = step_days(time), LEAST_DAYS[step] if least_days is None else least_days
        if step == "raw":
            if days.size < LEAST_YEARS:
                raise CubeError(f"{days.size} maps: a trend needs at least {LEAST_YEARS}")
            return cls(step, days, apart, 0, 0, 1)
        # a part of a year has a part of the seasonal cycle
        slack = np.timedelta64(apart - 1, "D")
        begin, end = days[0] - slack, days[-1] + np.timedelta64(apart, "D") + slack
        years = [y for y in range(_year(begin), _year(end) + 1) if begin <= _january(y) and _january(y + 1) <= end]
        if len(years) < LEAST_YEARS:
            raise CubeError(
                f"{days[0]} to {days[-1]} holds {len(years)} whole years, expected at least {LEAST_YEARS}: step=raw "
                "takes the maps themselves"
            )
        return cls(step, days, apart, years[0], len(years), least)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Return the series (steps, cells), or (years, 12, cells) of months, of maps (T, cells)."""
        if self.step == "raw":
            return values.astype(np.float64)
        mean = yearly_means if self.step == "year" else monthly_means
        return mean(values, self.days, self.first, self.count, self.least, self.map_days)

    @property
    def years(self) -> np.ndarray:
        """Times of the steps in years since the first, (T,); of months those of their years."""
        return years_of(self.days) if self.step == "raw" else np.arange(self.count, dtype=np.float64)

    @property
    def dates(self) -> np.ndarray:
        """First days of the steps, months included, datetime64[ns]."""
        if self.step == "raw":
            return self.days.astype("datetime64[ns]")
        unit, each = ("Y", 1) if self.step == "year" else ("M", 12)
        first = _january(self.first).astype(f"datetime64[{unit}]").astype(np.int64)
        return (first + np.arange(self.count * each)).astype(f"datetime64[{unit}]").astype("datetime64[ns]")

    @property
    def period(self) -> str:
        """First and last day that count."""
        if self.step == "raw":
            return f"{self.days[0]} to {self.days[-1]}"
        return f"{self.first}-01-01 to {self.first + self.count - 1}-12-31"


@dataclass(frozen=True)
class TrendFiles:
    """Variables that trends are made from, on the axes of the estimate, (T, H, W), lazy.

    Attributes:
        estimate: Filled values.
        observed: Observed values; where `sm_source` says them, its codes.
        by_source: True if `observed` holds codes of `sm_source`.
        truth: True values, or None.
        names: File names for messages, of the estimate, the observed values and the truth.
        source: Attribute `source` of the filled file.
    """

    estimate: xr.DataArray
    observed: xr.DataArray
    by_source: bool
    truth: xr.DataArray | None
    names: tuple[str, str, str]
    source: str

    @classmethod
    def of(
        cls,
        filled: ScoredFile,
        visible: ScoredFile | None = None,
        truth: tuple[ScoredFile, str] | None = None,
        estimate: str = SM_FILLED,
        observed: str | None = None,
    ) -> TrendFiles:
        """Find the variables.

        Args:
            filled: The filled file.
            visible: A cube with the observed values; by default they are in the filled file.
            truth: A file with true values, and their variable.
            estimate: Variable of `filled`.
            observed: Variable of the observed values; by default the one that the estimate names, else `sm_source`
                tells them.

        Raises:
            CubeError: A variable is missing, has other axes, or is in other units.
        """
        own = filled.variable(estimate)
        space = next((s for s in SPACE_DIMS if set(s) < set(own.dims)), None)
        if space is None or set(own.dims) != {"time", *space} or not own.size:
            raise CubeError(
                f"{filled.name}: '{estimate}' has dims {dict(own.sizes)}, expected time and lat, lon (or y, x)"
            )
        own = own.transpose("time", *space)
        holder = visible or filled
        name = observed or own.attrs.get(OBSERVED_NAME)
        by_source = visible is None and name not in filled.dataset and observed is None
        if by_source:
            if SM_SOURCE not in filled.dataset:
                raise CubeError(
                    f"{filled.name}: nothing says which values were observed (no attribute {OBSERVED_NAME} of "
                    f"'{estimate}', no {SM_SOURCE}): give observed=NAME, or visible=CUBE and observed=NAME"
                )
            name = SM_SOURCE
        if name is None:
            raise CubeError(
                f"{filled.name}: '{estimate}' does not name its target: give observed=NAME, of {holder.name}"
            )
        seen = aligned(holder.variable(str(name)), own, holder.name)
        if not by_source:
            _same_units(own, seen, holder.name)
        known, where = None, ""
        if truth is not None:
            where = truth[0].name
            known = aligned(truth[0].variable(truth[1]), own, where)
            _same_units(own, known, where)
        names = (filled.name, holder.name, where)
        return cls(own, seen, by_source, known, names, str(filled.dataset.attrs.get("source", "")))

    def bands(self) -> list[slice]:
        """Return rows that fit into memory."""
        days, rows, columns = self.estimate.shape
        step = max(1, BAND // (days * columns))
        return [slice(row, min(row + step, rows)) for row in range(0, rows, step)]

    def values(self, rows: slice) -> dict[str, np.ndarray]:
        """Return filled, observed and true values of some rows, (T, cells) each, after a check of each."""
        filled = _values(self.estimate, rows, self.names[0])
        observed = _values(self.observed, rows, self.names[1])
        found = {
            "filled": filled,
            "observed": np.where(observed == OBSERVED, filled, np.nan) if self.by_source else observed,
        }
        return found if self.truth is None else {**found, "truth": _values(self.truth, rows, self.names[2])}


def trend_maps(
    files: TrendFiles,
    calendar: Calendar,
    robust: Robust,
    zones: tuple[np.ndarray, list[str]] | None = None,
) -> xr.Dataset:
    """Return maps of trends, and the mean series of zones.

    Args:
        files: What trends are made from.
        calendar: Steps of the series.
        robust: Of the test, see `sgdsm.evaluation.trends.trends`.
        zones: Zone of each cell, (H, W), -1 for none, and the names of the zones; by default one of all cells.

    Returns:
        For `_filled`, `_observed` and `_difference` (of the series), and `_truth` where it is known: `slope`,
        `intercept`, `p_value`, `z`, `n`, `significant`, `significant_fdr`, `mean`, (H, W); `series` and
        `series_error`, (zone, step).
    """
    height, width = files.estimate.shape[1:]
    number, names = zones if zones is not None else (np.zeros((height, width), np.int64), ["all cells"])
    kinds = [*KINDS, *(["truth"] if files.truth is not None else [])]
    found: dict[str, list[Trend]] = {kind: [] for kind in kinds}
    means: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
    sums = {kind: np.zeros((3, len(names), calendar.dates.size)) for kind in kinds}
    for rows in files.bands():
        series = {kind: calendar.means(values) for kind, values in files.values(rows).items()}
        series["difference"] = series["filled"] - series["observed"]
        for kind in kinds:
            found[kind].append(trends(series[kind], calendar.years, robust))
            flat = series[kind].reshape(calendar.dates.size, -1)
            known = np.isfinite(flat)
            flat = np.where(known, flat, 0)
            count = known.sum(0)
            means[kind].append(np.where(count > 0, flat.sum(0) / np.maximum(count, 1), np.nan))
            for zone in range(len(names)):
                inside = number[rows].ravel() == zone
                part = flat[:, inside]
                sums[kind][:, zone] += known[:, inside].sum(1), part.sum(1), (part**2).sum(1)
    dataset = xr.Dataset(coords=_coords(files.estimate))
    dims = files.estimate.dims[1:]
    for kind in kinds:
        trend = Trend(*(np.concatenate(field).reshape(height, width) for field in zip(*found[kind], strict=True)))
        mean = np.concatenate(means[kind]).reshape(height, width)
        dataset = dataset.assign(_maps(kind, trend, mean, files.estimate, calendar, robust, dims))
    dataset = dataset.assign_coords(step=calendar.dates, zone=names)
    for kind in kinds:
        dataset = dataset.assign(_series(kind, sums[kind], files.estimate))
    return dataset.assign_attrs(_attributes(files, calendar, robust))


def zones_of(classes: xr.DataArray, name: str) -> tuple[np.ndarray, list[str]]:
    """Return the zone of each cell of a map of classes, (H, W), -1 where it has none, and the names of the zones.

    Args:
        classes: Map of classes, like land cover or climate.
        name: Its file and variable, for messages.

    Raises:
        CubeError: The map has too few or too many values for classes.
    """
    values = np.asarray(classes.values, np.float64)
    known = np.unique(values[np.isfinite(values)])
    if not 1 <= known.size <= MOST_ZONES:
        raise CubeError(f"classes={name}: {known.size} different values, expected 1 to {MOST_ZONES} classes")
    zone = np.where(np.isin(values, known), np.searchsorted(known, values), -1)
    said = flag_names(classes.attrs)
    return zone, [said.get(int(value), f"{classes.name} {value:g}") for value in known]


def slope_scores(estimate: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return scores of slopes against known ones.

    Args:
        estimate: Slopes, (N,).
        truth: Known slopes, (N,).

    Returns:
        `n`; `r2`: 1 minus squared errors over squared deviations of the truth (LIU Eq. 7 with the truth in the
        denominator), may be below 0; `r_squared`: squared correlation; `rmse` and `bias` in the units of the slopes;
        `same_sign`: share of slopes with the right sign.
    """
    error = estimate - truth
    deviations = ((truth - truth.mean()) ** 2).sum() if truth.size else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "n": float(truth.size),
            "r2": float(1 - (error**2).sum() / deviations) if truth.size > 1 else np.nan,
            "r_squared": float(np.corrcoef(estimate, truth)[0, 1] ** 2) if truth.size > 1 else np.nan,
            "rmse": float(np.sqrt((error**2).mean())) if truth.size else np.nan,
            "bias": float(error.mean()) if truth.size else np.nan,
            "same_sign": float((np.sign(estimate) == np.sign(truth)).mean()) if truth.size else np.nan,
        }


def truth_table(result: xr.Dataset) -> dict[str, dict[str, float]]:
    """Return `slope_scores` of observed and filled values, at the cells where all slopes are known.

    Args:
        result: What `trend_maps` returns, with a truth.
    """
    slopes = {kind: result[f"slope_{kind}"].values for kind in ("observed", "filled", "truth")}
    known = np.logical_and.reduce([np.isfinite(slope) for slope in slopes.values()])
    return {kind: slope_scores(slopes[kind][known], slopes["truth"][known]) for kind in ("observed", "filled")}


def format_truth(tables: dict[str, dict[str, float]], units: str) -> str:
    """Return scores of slopes as text, a line for each set of slopes, with what LIU report.

    Args:
        tables: Label -> `slope_scores`. The first is of observed values alone, by which the others are measured.
        units: Of the slopes.
    """
    width = max(len(label) for label in tables)
    lines = [
        f"slopes against known ones [{units}]",
        f"{'':{width}}      N  R2 (Eq. 7)     r2     RMSE       bias  same sign",
    ]
    base = next(iter(tables.values()))
    for label, row in tables.items():
        said = ""
        if row is not base:
            said = "  better than observed alone" if row["rmse"] < base["rmse"] else "  WORSE than observed alone"
        lines.append(
            f"{label:{width}} {row['n']:6.0f} {row['r2']:11.3f} {row['r_squared']:6.3f} {row['rmse']:8.6f} "
            f"{row['bias']:+10.6f} {row['same_sign']:10.1%}{said}"
        )
    lines.append(f"LIU, Fig. 16, against stations in China: R2 {LIU['observed']} observed, {LIU['filled']} filled")
    return "\n".join(lines)


def format_trends(result: xr.Dataset) -> str:
    """Return the maps of trends in short: cells, median slope, share with a significant trend of either sign."""
    units = result["slope_filled"].attrs["units"]
    lines = [
        f"trends, {result.attrs['period']}, {result.attrs['test']}",
        f"{'':10}  cells  median slope [{units}]    up  down  false discovery rate: up  down",
    ]
    for kind in KINDS:
        slope = result[f"slope_{kind}"].values
        cells = int(np.isfinite(slope).sum())
        if not cells:
            lines.append(f"{kind:10} {0:6}  no cell has two means")
            continue
        shares = [
            ((result[f"{name}_{kind}"].values == 1) & (np.sign(slope) == sign)).sum() / cells
            for name in ("significant", "significant_fdr")
            for sign in (1, -1)
        ]
        text = f"{kind:10} {cells:6}  {np.nanmedian(slope):+.6f}"
        lines.append(f"{text:42} {shares[0]:6.1%} {shares[1]:6.1%} {shares[2]:26.1%} {shares[3]:6.1%}")
    return "\n".join(lines)


def slope_units(units: str) -> str:
    """Return the units of slopes of values in `units`."""
    return "year-1" if units == "1" else f"{units} year-1"


def _year(day: np.datetime64) -> int:
    return int(day.astype("datetime64[Y]").astype(np.int64)) + 1970


def _january(year: int) -> np.datetime64:
    return np.datetime64(f"{year:04d}-01-01", "D")


def _values(variable: xr.DataArray, rows: slice, path: str) -> np.ndarray:
    values = variable[:, rows].values
    try:
        check_values(variable.assign_attrs(role=""), values)
    except CubeError as error:
        raise error if str(error).startswith(path) else CubeError(f"{path}: {error}") from error
    flat = values.reshape(len(values), -1)
    return np.where(np.isfinite(flat), flat, np.nan) if flat.dtype.kind == "f" else flat.astype(np.float32)


def _same_units(own: xr.DataArray, other: xr.DataArray, path: str) -> None:
    one, two = (str(array.attrs.get("units", "1")) for array in (own, other))
    # 'm3 m-3' and '1' are the same share
    if not same_units(one, two):
        raise CubeError(f"{path}: '{other.name}' is in '{two}', '{own.name}' in '{one}': expected the same units")


def _coords(estimate: xr.DataArray) -> dict[str, Any]:
    """Return the coordinates of the maps."""
    return {str(n): c for n, c in estimate.coords.items() if "time" not in c.dims and n != "time"}


def _maps(
    kind: str, trend: Trend, mean: np.ndarray, like: xr.DataArray, calendar: Calendar, robust: Robust, dims: Any
) -> dict[str, Any]:
    """Return the variables of one kind of values, with attributes."""
    what = KINDS.get(kind, "true values")
    units = str(like.attrs.get("units", "1"))
    mapping = {k: like.attrs[k] for k in ("grid_mapping",) if k in like.attrs}
    steps = {"year": "annual means", "month": "monthly means", "raw": "maps"}[calendar.step]
    known = np.isfinite(trend.p)
    comment = ". ".join(_about_test(calendar.step, robust).values())
    flags = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "no yes", "_FillValue": np.int8(-1)}
    significant = np.where(known, trend.p < LEVEL, -1).astype(np.int8)
    discovered = np.where(known, false_discovery_rate(trend.p), -1).astype(np.int8)
    start = calendar.dates[0].astype("datetime64[D]")
    maps: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "slope": (trend.slope, {"units": slope_units(units), "long_name": f"Theil-Sen slope of {steps} of {what}"}),
        "intercept": (trend.intercept, {"units": units, "long_name": f"value of the line on {start}, {what}"}),
        "p_value": (trend.p, {"units": "1", "long_name": f"two-sided p value of no trend, {what}", "comment": comment}),
        "z": (trend.z, {"units": "1", "long_name": f"standardised S of Kendall, {what}"}),
        "n": (trend.n.astype(np.int32), {"units": "1", "long_name": f"number of {steps} of {what}"}),
        "significant": (significant, {"long_name": f"p value below {LEVEL:g}, {what}", **flags}),
        "significant_fdr": (
            discovered,
            {"long_name": f"significant with at most {LEVEL:.0%} false discoveries over the cells, {what}", **flags},
        ),
        "mean": (mean, {"units": units, "long_name": f"mean of {steps} of {what}"}),
    }
    maps["slope"][1]["ancillary_variables"] = f"p_value_{kind} significant_{kind} significant_fdr_{kind}"
    for name in ("slope", "intercept", "mean"):
        maps[name][1]["cell_methods"] = f"time: mean (comment: of {steps}, {calendar.period})"
    return {
        f"{name}_{kind}": (
            dims,
            values.astype(np.float32) if values.dtype == np.float64 and name == "mean" else values,
            {**attrs, **mapping},
        )
        for name, (values, attrs) in maps.items()
    }


def _series(kind: str, sums: np.ndarray, like: xr.DataArray) -> dict[str, Any]:
    """Return mean and standard error over the cells of each zone."""
    count, total, squares = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(count > 0, total / count, np.nan)
        variance = np.maximum(squares - count * mean**2, 0) / (count - 1)
        error = np.where(count > 1, np.sqrt(variance / count), np.nan)
    what, units = KINDS.get(kind, "true values"), str(like.attrs.get("units", "1"))
    about = f"mean over the cells of the zone, {what}"
    return {
        f"series_{kind}": (("zone", "step"), mean, {"units": units, "long_name": about}),
        f"series_error_{kind}": (
            ("zone", "step"),
            error,
            {"units": units, "long_name": f"standard error of the {about}"},
        ),
    }


def _attributes(files: TrendFiles, calendar: Calendar, robust: Robust) -> dict[str, Any]:
    written = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "Conventions": "CF-1.10",
        "title": "trends of soil moisture",
        "source": files.source,
        "history": f"{written} trends computed by sgdsm, step={calendar.step} robust={robust} of {files.names[0]}",
        "period": calendar.period,
        "step": calendar.step,
        "least_days": np.int32(calendar.least),
        **_about_test(calendar.step, robust),
    }


def _about_test(step: Step, robust: Robust) -> dict[str, str]:
    """Return the name of a test, and a warning where it finds trends too often."""
    if robust != "none":
        return {"test": TESTS[robust]}
    name = "seasonal Kendall test of independent months" if step == "month" else TESTS[robust]
    better = {"month": "covariance", "raw": "hamed_rao"}
    return {"test": name, **({"warning": WARNING + better[step]} if step in better else {})}


def robust_of(step: Step, robust: Robust | None) -> Robust:
    """Return the test of a step; by default the one that holds its level for soil moisture.

    Raises:
        ConfigError: The test is not for series of that step.
    """
    if robust is None:
        return "covariance" if step == "month" else "none"
    if (robust == "covariance") != (step == "month") and robust != "none":
        fit = "none or covariance" if step == "month" else "none or hamed_rao"
        raise ConfigError(f"robust={robust}: not for step={step}; expected {fit}")
    return robust
