"""Soil moisture of a filled file beside that of stations: subsets of days, metrics of stations and networks.

Files in, numbers out: the stations come as a Dataset, which the command reads by the product readers. Observed and
filled days are scored apart, because they are not the same days: filled ones are frosty, rainy or wintry. Their
difference is therefore given with both sides weighed to the same months too.

Source: Gruber et al., Remote Sens. Environ. 244, 111806, 2020 (validation practices); QA4SM (metrics and status).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.days import SEASONS, season_numbers
from sgdsm.core.filled import FILLED, OBSERVED
from sgdsm.core.random import Stream
from sgdsm.evaluation.moving_anomaly import LEAST_IN_WINDOW, moving_anomaly
from sgdsm.evaluation.station_matching import DENSE, FEW, FLAT, HALF, NO_DAYS, OK
from sgdsm.evaluation.statistics import (
    block_copies,
    climatology_anomalies,
    fisher_mean,
    interval,
    p_value,
    pair_metrics,
    pearson,
)

AGES = {"1": (1, 1), "2": (2, 2), "3": (3, 3), "4_to_7": (4, 7), "8_or_more": (8, 10**6)}
# name: units and long name; `scaled` units are those of the stations
METRICS: dict[str, tuple[str, str]] = {
    "n": ("1", "number of pairs"),
    "r": ("1", "Pearson correlation"),
    "r_anomaly": ("1", "Pearson correlation of anomalies from a moving mean"),
    "r_climatology_anomaly": ("1", "Pearson correlation of anomalies from the mean of the time of the year"),
    "spearman": ("1", "Spearman rank correlation"),
    "rmsd": ("m3 m-3", "root mean square difference"),
    "ubrmsd": ("m3 m-3", "root mean square difference without bias"),
    "ubrmsd_anomaly": ("m3 m-3", "root mean square difference of anomalies from a moving mean, without bias"),
    "mae": ("m3 m-3", "mean absolute difference"),
    "bias": ("m3 m-3", "mean of product minus station"),
    "nse": ("1", "R2 with the station in the denominator: efficiency of Nash and Sutcliffe"),
    "mse": ("m6 m-6", "mean square difference"),
    "mse_corr": ("m6 m-6", "part of the mean square difference from imperfect correlation"),
    "mse_bias": ("m6 m-6", "part of the mean square difference from the bias"),
    "mse_var": ("m6 m-6", "part of the mean square difference from unequal spread"),
    "coverage": ("1", "share of the station's values inside the interval of the product"),
    "p_r": ("1", "significance of r for independent days: too small, days are alike"),
    "p_spearman": ("1", "significance of spearman for independent days: too small, days are alike"),
}
WITH_INTERVAL = (
    "r", "r_anomaly", "r_climatology_anomaly", "spearman", "rmsd", "ubrmsd", "ubrmsd_anomaly", "mae", "bias", "nse",
    "coverage",
)  # fmt: skip
CORRELATIONS = ("r", "r_anomaly", "r_climatology_anomaly", "spearman")
STATUS = ("ok", "too_few_pairs", "no_spread", "outside_the_grid", "no_value_in_the_cell", "no_common_day")
MINUS, SAME_MONTHS = " minus observed", ", same months"


def subsets(pairs: xr.Dataset) -> dict[str, np.ndarray]:
    """Return which values are in each subset of days, (T, S) bool, by name: observed, filled, and parts of both."""
    source = pairs["source"].values
    seen, filled = source == OBSERVED, source == FILLED
    found = {"observed": seen, "filled": filled}
    for k, name in enumerate(pairs.attrs["reason_names"]):
        here = filled & (pairs["reason"].values == k)
        if here.any():
            found[f"filled_{name}"] = here
    age = pairs["gap_age"].values
    found |= {f"filled_age_{name}": filled & (age >= low) & (age <= high) for name, (low, high) in AGES.items()}
    season = season_numbers(pairs["time"].values)[:, None]
    for whose, mask in (("observed", seen), ("filled", filled)):
        found |= {f"{whose}_{name}": mask & (season == k) for k, name in enumerate(SEASONS)}
    return found


@dataclass
class InSitu:
    """Metrics of stations.

    Attributes:
        table: Dims (station, subset): the METRICS, `_lower` and `_upper` of WITH_INTERVAL, `status`; coords of the
            stations.
        draws: Of WITH_INTERVAL: resampled values (draws, station, subset).
        pairs: The series that they are of.
        chosen: Stations (draws, S) of a resampled network of S stations are these shares of S, so that all networks and
            files with one seed are resampled alike.
        level: Of the intervals.
    """

    table: xr.Dataset
    draws: dict[str, np.ndarray]
    pairs: xr.Dataset
    seed: int
    level: float


def compare(
    pairs: xr.Dataset,
    *,
    least: int = 100,
    anomaly_days: int = 35,
    block_days: int = 60,
    draws: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> InSitu:
    """Return the metrics of each station in each subset of days, with intervals by moving blocks.

    A further subset `filled minus observed` has differences; `..., same months` weighs both sides: a day of a month
    counts by the share of the other side among the pairs of that month.

    Args:
        pairs: As `matched` returns it.
        least: Number of pairs below which a subset of a station has no metrics.
        anomaly_days: Window of the moving mean and of the climatology that anomalies are counted from.
        block_days: Length of a block.
        draws: Number of resampled series.
        level: Of the intervals, 0 to 1.
        seed: Of the draws.
    """
    masks = subsets(pairs)
    compared = [name for name in ("filled", "filled_orbit") if name in masks]
    differences = [f"{name}{MINUS}{more}" for name in compared for more in ("", SAME_MONTHS)]
    names = [*masks, *differences]
    step = pairs.attrs["step_days"]
    time = pairs["time"].values
    blocks = max(2, round(block_days / step))
    copies = block_copies(len(time), blocks, draws, seed)
    count = pairs.sizes["station"]
    table = {name: np.full((count, len(names)), np.nan) for name in METRICS}
    sampled = {name: np.full((draws, count, len(names)), np.nan, np.float32) for name in WITH_INTERVAL}
    status = np.full((count, len(names)), NO_DAYS)
    month = (time.astype("datetime64[M]").astype(int) % 12)[:, None] == np.arange(12)
    for s in range(count):
        station = _Station.of(pairs.isel(station=s), anomaly_days)
        reached: dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = {}
        own = int(pairs["status"].values[s])
        for k, name in enumerate(masks):
            chosen = np.flatnonzero(masks[name][:, s] & station.known)
            table["n"][s, k] = len(chosen)
            status[s, k] = own if own != OK else FEW if len(chosen) < max(least, 3) else OK
            if status[s, k] == OK:
                reached[name] = station.metrics(chosen, None), station.metrics(chosen, copies[:, chosen])
                status[s, k] = FLAT if np.isnan(reached[name][0]["r"]) else OK
        for k, name in enumerate(differences, len(masks)):
            part = name.partition(MINUS)[0]
            lacking = [n for n in (part, "observed") if n not in reached]
            status[s, k] = status[s, names.index(lacking[0])] if lacking else OK
            table["n"][s, k] = min(table["n"][s, names.index(n)] for n in (part, "observed"))
            if lacking:
                continue
            sides: Any = (reached[part], reached["observed"])
            if name.endswith(SAME_MONTHS):
                sides = station.same_months(masks[part][:, s], masks["observed"][:, s], month, copies)
            (value, copied), (other, others) = sides
            reached[name] = _minus(value, other), _minus(copied, others)
        for name, (values, resampled) in reached.items():
            k = names.index(name)
            for key in METRICS:
                if key in values and key != "n":
                    table[key][s, k] = values[key]
            for key in WITH_INTERVAL:
                sampled[key][:, s, k] = resampled[key]
    return InSitu(
        _dataset(pairs, names, table, sampled, status, len(time) / blocks, level), sampled, pairs, seed, level
    )


@dataclass
class _Station:
    """The series of a station, its anomalies and its interval, each (T,)."""

    estimate: np.ndarray
    in_situ: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    anomalies: tuple[np.ndarray, np.ndarray]
    climatology: tuple[np.ndarray, np.ndarray]
    known: np.ndarray

    @classmethod
    def of(cls, pairs: xr.Dataset, anomaly_days: int) -> _Station:
        estimate, in_situ = pairs["estimate"].values, pairs["in_situ"].values
        known = np.isfinite(estimate) & np.isfinite(in_situ)
        # anomalies of both are counted from the same days
        both = [np.where(known, series, np.nan) for series in (estimate, in_situ)]
        window = max(3, round(anomaly_days / pairs.attrs["step_days"]))
        least = min(window, LEAST_IN_WINDOW)
        lower, upper = pairs["lower"].values, pairs["upper"].values
        noise, level = float(pairs["noise"]), pairs.attrs["level"]
        if np.isfinite(noise) and 0 < level < 1:
            # the station's own error is independent of that of the product
            wider = (noise * _normal_quantile((1 + level) / 2)) ** 2
            lower = estimate - np.sqrt((estimate - lower) ** 2 + wider)
            upper = estimate + np.sqrt((upper - estimate) ** 2 + wider)
        days = pairs["time"].values
        return cls(
            estimate,
            in_situ,
            lower,
            upper,
            (moving_anomaly(both[0], window, least), moving_anomaly(both[1], window, least)),
            (
                climatology_anomalies(both[0], days, anomaly_days),
                climatology_anomalies(both[1], days, anomaly_days),
            ),
            known,
        )

    def metrics(self, chosen: np.ndarray, weights: np.ndarray | None) -> dict[str, np.ndarray]:
        """Return the metrics of chosen days, (N,), for weights (draws, N) of them, by default 1."""
        bounds = {"lower": self.lower[chosen], "upper": self.upper[chosen]}
        found = pair_metrics(self.estimate[chosen], self.in_situ[chosen], weights, **bounds)
        for name, (a, b) in (("r_anomaly", self.anomalies), ("r_climatology_anomaly", self.climatology)):
            there = np.isfinite(a[chosen]) & np.isfinite(b[chosen])
            days = chosen[there]
            of_days = None if weights is None else weights[:, there]
            # a correlation of a few anomalies says nothing
            enough = there.sum() >= HALF * len(chosen)
            found[name] = pearson(a[days], b[days], of_days) if enough else np.full(found["n"].shape, np.nan)
            if name == "r_anomaly":
                spread = pair_metrics(a[days], b[days], of_days)["ubrmsd"] if enough else found[name]
                found["ubrmsd_anomaly"] = spread
        found["p_r"], found["p_spearman"] = (p_value(found[name], found["n"]) for name in ("r", "spearman"))
        return found

    def same_months(
        self, part: np.ndarray, seen: np.ndarray, month: np.ndarray, copies: np.ndarray
    ) -> tuple[tuple[dict[str, np.ndarray], dict[str, np.ndarray]], ...]:
        """Return the metrics of two subsets of days (T,), each weighed by the share of the other in its month."""
        days = [np.flatnonzero(mask & self.known) for mask in (part, seen)]
        sides = []
        for mine, others in (days, days[::-1]):
            both = []
            for drawn in (np.ones((1, len(month))), copies):
                own, other = (drawn[:, d] @ month[d] for d in (mine, others))
                with np.errstate(invalid="ignore", divide="ignore"):
                    share = np.where(own + other > 0, other / (own + other), 0)
                both.append(self.metrics(mine, drawn[:, mine] * (share @ month[mine].T)))
            sides.append(({key: value[0] for key, value in both[0].items()}, both[1]))
        return tuple(sides)


def _minus(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value - others[name] for name, value in values.items()}


def _normal_quantile(probability: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(probability))


def _dataset(
    pairs: xr.Dataset,
    names: list[str],
    table: Mapping[str, np.ndarray],
    sampled: Mapping[str, np.ndarray],
    status: np.ndarray,
    blocks: float,
    level: float,
) -> xr.Dataset:
    dims = ("station", "subset")
    data: dict[str, Any] = {}
    for name, (units, long_name) in METRICS.items():
        data[name] = (dims, table[name], {"units": units, "long_name": long_name})
        if name not in WITH_INTERVAL:
            continue
        low, high = interval(sampled[name].astype(np.float64), level, value=table[name], blocks=blocks)
        if name in CORRELATIONS:
            limits = np.where([MINUS in subset for subset in names], 2.0, 1.0)
            low, high = np.maximum(low, -limits), np.minimum(high, limits)
        if name in ("rmsd", "ubrmsd", "ubrmsd_anomaly", "mae", "coverage"):
            low = np.where([MINUS in subset for subset in names], low, np.maximum(low, 0))
        for bound, values in (("lower", low), ("upper", high)):
            about = {"units": units, "long_name": f"{bound} bound of the {100 * level:g} % interval of {name}"}
            data[f"{name}_{bound}"] = (dims, values, about)
    flags = {"flag_values": np.arange(len(STATUS), dtype=np.int8), "flag_meanings": " ".join(STATUS)}
    data["status"] = (dims, status.astype(np.int8), {"long_name": "whether there are metrics, or why not", **flags})
    kept = ("network", "lat", "lon", "depth_m", "cell_lat", "cell_lon", "distance_km", "class", "count")
    coords: dict[str, Any] = {n: ("station", pairs[n].values) for n in kept if n in pairs.coords}
    unit_of = {"lat": "degrees_north", "cell_lat": "degrees_north", "lon": "degrees_east", "cell_lon": "degrees_east"}
    unit_of |= {"depth_m": "m", "distance_km": "km"}
    dataset = xr.Dataset(data, {**coords, "station": pairs["station"].values, "subset": names})
    for name, unit in unit_of.items():
        if name in dataset.coords:
            dataset[name].attrs["units"] = unit
    return dataset


def groups_of(table: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the stations of each group, (S,) bool: all (without means of cells), networks and classes, if several."""
    network = table["network"].values.astype(str)
    single = network != DENSE
    found = {"all": single}
    networks = sorted(set(network))
    if len(networks) > 1:
        found |= {f"network {name}": network == name for name in networks}
    kinds = sorted(set(table["class"].values.astype(str)) - {""})
    found |= {f"class {kind}": single & (table["class"].values == kind) for kind in kinds}
    return found


def network_median(result: InSitu, metric: str, subset: str, stations: np.ndarray) -> tuple[float, float, float]:
    """Return the median over stations with its interval: blocks of days are resampled within stations, and stations.

    Args:
        result: Of `compare`.
        metric: Name of a metric.
        subset: Name of a subset of days.
        stations: Which stations, (S,) bool.
    """
    k = list(result.table["subset"].values).index(subset)
    values = result.table[metric].values[:, k]
    used = np.flatnonzero(stations & np.isfinite(values))
    if not used.size:
        return float("nan"), float("nan"), float("nan")
    middle = float(np.median(values[used]))
    if metric not in WITH_INTERVAL or used.size < 3:
        return middle, float("nan"), float("nan")
    return (middle, *_resampled(result.draws[metric][:, used, k], result.seed, result.level))


def paired_difference(
    result: InSitu, reference: InSitu, metric: str, subset: str
) -> tuple[float, float, float, float, int]:
    """Return the median over stations of the difference between two products, on the same stations and draws.

    Args:
        result: Of `compare`, for a product.
        reference: Of `compare` with the same stations and seed, for another.
        metric: Name of a metric with intervals.
        subset: Name of a subset of days.

    Returns:
        Median difference, its lower and upper bound, the share of stations where it is above 0, and their number.
    """
    k = list(result.table["subset"].values).index(subset)
    other = list(reference.table["subset"].values).index(subset)
    apart = result.table[metric].values[:, k] - reference.table[metric].values[:, other]
    used = np.flatnonzero(np.isfinite(apart) & (result.table["network"].values != DENSE))
    if used.size < 3:
        return float("nan"), float("nan"), float("nan"), float("nan"), int(used.size)
    drawn = result.draws[metric][:, used, k] - reference.draws[metric][:, used, other]
    low, high = _resampled(drawn, result.seed, result.level)
    return float(np.median(apart[used])), low, high, float((apart[used] > 0).mean()), int(used.size)


def _resampled(drawn: np.ndarray, seed: int, level: float) -> tuple[float, float]:
    """Return the interval of the median of resampled values (draws, S) of resampled stations."""
    rng = np.random.default_rng([Stream.MOVING_BLOCKS, seed, 1])
    chosen = rng.integers(0, drawn.shape[1], drawn.shape)
    some = np.take_along_axis(drawn, chosen, 1).astype(np.float64)
    medians = np.full(len(some), np.nan)
    there = np.isfinite(some).any(1)
    medians[there] = np.nanmedian(some[there], 1)
    low, high = interval(medians, level)
    return float(low), float(high)


def summary(result: InSitu) -> list[dict[str, Any]]:
    """Return a row for each group of stations and subset of days: medians with intervals, quartiles, mean R.

    Returns:
        Rows with `group`, `subset`, `stations`, `n` (median), and for each metric its median, `_lower`, `_upper`, and
        `_iqr`; `r_fisher` is the mean of R by Fisher's z weighed by N - 3.
    """
    rows = []
    table = result.table
    for group, stations in groups_of(table).items():
        for k, subset in enumerate(table["subset"].values):
            used = stations & (table["status"].values[:, k] == OK)
            if not used.any():
                continue
            row: dict[str, Any] = {"group": group, "subset": str(subset), "stations": int(used.sum())}
            row["n"] = float(np.median(table["n"].values[used, k]))
            for metric in WITH_INTERVAL:
                row[metric], row[f"{metric}_lower"], row[f"{metric}_upper"] = network_median(
                    result, metric, str(subset), used
                )
                values = table[metric].values[used, k]
                values = values[np.isfinite(values)]
                row[f"{metric}_iqr"] = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) if values.size else np.nan
            row["r_fisher"] = (
                float("nan")
                if MINUS in str(subset)
                else fisher_mean(table["r"].values[used, k], table["n"].values[used, k])
            )
            rows.append(row)
    return rows


def format_summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of `summary` as text: medians over stations, intervals in brackets."""
    width = max((len(row["subset"]) for row in rows), default=6)
    head = (
        f"{'':{width}} stations      N  {'R':22} {'R anomaly':22} {'rho':>6} {'ubRMSD':24} {'RMSD':>6} {'bias':>7} "
        f"{'NSE':>6} {'cover':>6}"
    )
    lines: list[str] = []
    group = None
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            lines += [*([""] if lines else []), f"{group}: medians over stations", head]
        sign = "+" if MINUS in row["subset"] else ""
        lines.append(
            f"{row['subset']:{width}} {row['stations']:8d} {row['n']:6.0f}  {_ranged(row, 'r', 3, sign):22} "
            f"{_ranged(row, 'r_anomaly', 3, sign):22} {_short(row['spearman'], 3, sign):>6} "
            f"{_ranged(row, 'ubrmsd', 4, sign):24} {_short(row['rmsd'], 4, sign):>6} {_short(row['bias'], 4, '+'):>7} "
            f"{_short(row['nse'], 2, sign):>6} {_short(row['coverage'], 3, sign):>6}"
        )
    return "\n".join(lines)


def _short(value: float, digits: int, sign: str = "") -> str:
    return "-" if not np.isfinite(value) else f"{value:{sign}.{digits}f}"


def _ranged(row: Mapping[str, Any], metric: str, digits: int, sign: str = "") -> str:
    text = _short(row[metric], digits, sign)
    low, high = (row[f"{metric}_{bound}"] for bound in ("lower", "upper"))
    return text if not np.isfinite(low) else f"{text} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def left_out(result: InSitu) -> dict[str, list[str]]:
    """Return the stations that no row has, by reason: those without metrics on observed and on filled days."""
    status = result.table["status"].sel(subset=["observed", "filled"]).values
    names = result.table["station"].values.astype(str)
    found: dict[str, list[str]] = {}
    for s in np.flatnonzero((status != OK).all(1)):
        found.setdefault(STATUS[int(status[s].min())], []).append(str(names[s]))
    return found
