"""Scores of a filled file on values that it was not shown.

Three files: *filled* (`sm_filled`, perhaps `sm_lower` and `sm_upper`), *hidden* (`truth`, boolean variables that say
which values were hidden, by class, and the attribute `target`) and *visible* (what the filler could see). Nothing in
here knows how the gaps were filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.axes import SPACE_DIMS
from sgdsm.core.cube import ConfigError, CubeError, ever_observed, open_dataset
from sgdsm.core.days import SEASON_MONTHS
from sgdsm.core.filled import SM_FILLED, SM_LOWER, SM_STD, SM_UPPER
from sgdsm.core.units import PER_DAY, per_day
from sgdsm.core.validation import check_values
from sgdsm.evaluation.metrics import STATISTICS, State, bin_statistics, error_statistics, metrics
from sgdsm.evaluation.reliability import Calibration
from sgdsm.evaluation.scored_files import Named, aligned
from sgdsm.evaluation.strata import (
    ARIDITY,
    TEMPERATURE,
    air_temperature_of,
    aridity,
    in_celsius,
    mean_map,
    potential_evaporation_of,
    thirds,
)

GAP_LENGTHS = {
    "gap_1_day": (1, 1),
    "gap_2_days": (2, 2),
    "gap_3_days": (3, 3),
    "gap_4_to_7_days": (4, 7),
    "gap_8_or_more_days": (8, 10**6),
}
RAIN_MM_PER_DAY = 2.4
BLOCK_DAYS = 30
REGION_KM = 1000.0


@dataclass
class Scores:
    """States of each class, by block of days and region: (classes, blocks, regions); calibration: of all values, empty
    where the filled file has no `sm_std`."""

    classes: list[str]
    state: State
    calibration: Calibration

    def table(self) -> dict[str, dict[str, float]]:
        """Metrics of each class; see `metrics.metrics`. `all` has the slope of skill over spread too."""
        whole = metrics(self.state.total((1, 2)))
        found = {name: {k: float(v[c]) for k, v in whole.items()} for c, name in enumerate(self.classes)}
        found["all"]["slope"] = self.calibration.slope()
        return found

    def units(self, name: str = "all") -> State:
        """The State of a class by unit (block of days in a region), (units,)."""
        c = self.classes.index(name)
        return State(self.state.sum[c].reshape(-1, len(STATISTICS)), self.state.weight[c].ravel())

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """Of several places, whose regions are told apart."""
        classes = list(dict.fromkeys(name for part in parts for name in part.classes))
        blocks = max(part.state.weight.shape[1] for part in parts)
        states = []
        for part in parts:
            state = State.zeros((len(classes), blocks, part.state.weight.shape[2]))
            where = [classes.index(name) for name in part.classes], slice(part.state.weight.shape[1])
            state.sum[where], state.weight[where] = part.state
            states.append(state)
        calibration = sum((part.calibration for part in parts), Calibration.zeros())
        return cls(classes, State(*(np.concatenate(field, 2) for field in zip(*states, strict=True))), calibration)

    def save(self, path: str | Path) -> None:
        """Write to a netCDF file."""
        dims = ("class", "block", "region")
        dataset = xr.Dataset(
            {
                "sum": ((*dims, "statistic"), self.state.sum),
                "weight": (dims, self.state.weight),
                "pit": ("probability", self.calibration.pit),
                "spread": (("octave", "sums"), self.calibration.spread),
            },
            {"class": self.classes, "statistic": list(STATISTICS)},
        )
        dataset.to_netcdf(path)

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Read what `save` wrote."""
        with open_dataset(path) as dataset:
            lacking = [
                n for n in ("statistic", "sum", "weight", "pit", "spread", "class") if n not in dataset.variables
            ]
            if lacking:
                raise CubeError(f"{path}: no variable '{lacking[0]}', expected the scores of a run: score it again")
            if dataset["statistic"].values.tolist() != list(STATISTICS):
                raise CubeError(f"{path}: holds other statistics than this version uses: score the run again")
            state = State(dataset["sum"].values, dataset["weight"].values)
            calibration = Calibration(dataset["pit"].values, dataset["spread"].values)
            return cls([str(c) for c in dataset["class"].values], state, calibration)


@checked
def score(
    filled: str | Path | xr.Dataset,
    hidden: str | Path | xr.Dataset,
    visible: str | Path | xr.Dataset,
    precipitation: str | None = None,
    rows_at_once: int | None = None,
    temperature: str | None = None,
) -> Scores:
    """Score a filled file (or Dataset).

    Classes: those of the hidden file; `all` of them; gap lengths (unseen days in a row at the cell); seasons; `rain`
    and `dry` (2.4 mm a day or more) where the visible file has precipitation, named or told by its `standard_name`;
    zones, thirds of the land by aridity and by mean air temperature, where it has what they are made of
    (`sgdsm.evaluation.strata`). A metric by anomalies removes the mean of the cell's visible values.

    Raises CubeError where a file lacks a variable, the grids differ, a hidden value has no truth or is not filled, or
    a visible value was changed.
    """
    if rows_at_once is not None and rows_at_once < 1:
        raise ConfigError(f"score: rows_at_once={rows_at_once}: expected at least 1")
    product, question, shown = (Named.of(source) for source in (filled, hidden, visible))
    truth, masks = _hidden(question)
    seen = aligned(shown.variable(str(truth.attrs["target"])), truth, shown.name)
    values = aligned(product.variable(SM_FILLED), truth, product.name)
    bounds = [
        aligned(product.variable(b), truth, product.name) if b in product.dataset else None
        for b in (SM_LOWER, SM_UPPER, SM_STD)
    ]
    level = None if bounds[0] is None else bounds[0].attrs.get("level")
    rain = _rain(shown, precipitation, truth)
    zones = _zones(shown, rain, temperature, truth, seen)
    classes = [*masks, "all", *GAP_LENGTHS, *SEASON_MONTHS, *(("rain", "dry") if rain is not None else ()), *zones]
    block, blocks = _blocks(truth)
    region, regions = _regions(truth)
    total, calibration = State.zeros((len(classes), blocks, regions)), Calibration.zeros()
    rows = truth.shape[1]
    step = rows_at_once or max(1, 2**26 // (truth.shape[0] * truth.shape[2]))
    for begin in range(0, rows, step):
        part = (slice(None), slice(begin, begin + step))
        kinds = {name: mask[part].values.astype(bool) for name, mask in masks.items()}
        anywhere = np.logical_or.reduce(list(kinds.values()))
        t, q, v = truth[part].values, values[part].values, seen[part].values
        for variable, found, path in ((truth, t, question.name), (values, q, product.name), (seen, v, shown.name)):
            _check_values(variable, found, path)
        _check(t, q, v, anywhere, product.name, question.name)
        kinds["all"] = anywhere
        length = gap_lengths(np.isfinite(v))
        kinds |= {name: anywhere & (length >= low) & (length <= high) for name, (low, high) in GAP_LENGTHS.items()}
        month = truth["time"].dt.month.values[:, None, None]
        kinds |= {name: anywhere & np.isin(month, months) for name, months in SEASON_MONTHS.items()}
        if rain is not None:
            wet = rain[0][part].values * rain[1] >= RAIN_MM_PER_DAY
            kinds |= {"rain": anywhere & wet, "dry": anywhere & ~wet}
        kinds |= {name: anywhere & zone[part[1]] for name, zone in zones.items()}
        low, high, std = (None if b is None else b[part].values[anywhere] for b in bounds)
        _check_bounds(low, high, std, product.name)
        if std is not None:
            calibration = calibration + Calibration.of(q[anywhere], t[anywhere], std)
        count = np.isfinite(v).sum(0)
        mean = np.nansum(v, 0, dtype=np.float64) / np.maximum(count, 1)
        cell_mean = np.broadcast_to(mean, t.shape)[anywhere]
        per_value = error_statistics(q[anywhere], t[anywhere], cell_mean, low, high, std, level)
        unit = (block[:, None, None] * regions + region[part[1]][None])[anywhere]
        for c, name in enumerate(classes):
            chosen = kinds[name][anywhere]
            state = bin_statistics(per_value[chosen], unit[chosen], blocks * regions)
            total.sum[c] += state.sum.reshape(blocks, regions, -1)
            total.weight[c] += state.weight.reshape(blocks, regions)
    if not total.weight.any():
        raise CubeError(f"{question.name}: hides no value, there is nothing to score")
    return Scores(classes, total, calibration)


def format_table(table: dict[str, dict[str, float]]) -> str:
    """Six digits of every metric, a line for each class that has values."""
    lines = []
    for name, m in table.items():
        if not m["n"]:
            continue
        line = (
            f"{name}: N {m['n']:.0f} RMSE {m['rmse']:.6f} MAE {m['mae']:.6f} bias {m['bias']:+.6f} "
            f"ubRMSE {m['ubrmse']:.6f} R {m['r']:.6f} R-cell-anomaly {m['r_anomaly']:.6f}"
        )
        if np.isfinite(m["coverage"]):
            line += f" coverage {m['coverage']:.6f} width {m['width']:.6f}"
        more = ("interval_score", "crps", "spread", "slope")
        line += "".join(f" {n.replace('_', ' ')} {m[n]:.6f}" for n in more if np.isfinite(m.get(n, np.nan)))
        lines.append(line)
    return "\n".join(lines)


def gap_lengths(seen: np.ndarray) -> np.ndarray:
    """Number of days in a row without a seen value, at each unseen value; 0 where seen; (T, H, W)."""
    length = np.zeros(seen.shape, np.int32)
    run = np.zeros(seen.shape[1:], np.int32)
    for day in range(len(seen)):
        run = np.where(seen[day], 0, run + 1)
        length[day] = run
    for day in range(len(seen) - 2, -1, -1):
        length[day] = np.where((length[day] > 0) & (length[day + 1] > 0), length[day + 1], length[day])
    return length


def _hidden(question: Named) -> tuple[xr.DataArray, dict[str, xr.DataArray]]:
    dataset = question.dataset
    if "target" not in dataset.attrs:
        raise CubeError(f"{question.name}: lacks the attribute 'target', the name of the variable that was hidden")
    truth = question.variable("truth").assign_attrs(target=dataset.attrs["target"])
    space = next((s for s in SPACE_DIMS if set(s) < set(truth.dims)), None)
    if space is None or set(truth.dims) != {"time", *space}:
        raise CubeError(
            f"{question.name}: 'truth' has dims {truth.dims}, expected time and lat, lon (or time and y, x)"
        )
    if 0 in truth.shape:
        raise CubeError(f"{question.name}: 'truth' is empty: {dict(truth.sizes)}")
    truth = truth.transpose("time", *space)
    masks = {
        str(n): v.transpose(*truth.dims)
        for n, v in dataset.data_vars.items()
        if n != "truth" and set(v.dims) == set(truth.dims) and v.dtype.kind in "biu"
    }
    if not masks:
        raise CubeError(
            f"{question.name}: has no boolean variable with the dims {truth.dims} that says what was hidden"
        )
    return truth, masks


def _check(
    truth: np.ndarray, filled: np.ndarray, visible: np.ndarray, hidden: np.ndarray, path: str, hidden_path: str
) -> None:
    if not np.isfinite(truth[hidden]).all():
        raise CubeError(f"{hidden_path}: {(~np.isfinite(truth[hidden])).sum()} hidden values have no truth")
    missing = ~np.isfinite(filled[hidden])
    if missing.any():
        raise CubeError(f"{path}: {missing.sum()} of {missing.size} hidden values are not filled")
    if np.isfinite(visible[hidden]).any():
        raise CubeError(f"{hidden_path}: {np.isfinite(visible[hidden]).sum()} hidden values are visible")
    seen = np.isfinite(visible)
    if seen.any() and not (abs(filled[seen] - visible[seen]) < 1e-4).all():
        changed = (~(abs(filled[seen] - visible[seen]) < 1e-4)).sum()
        raise CubeError(f"{path}: {changed} of {seen.sum()} visible values were changed or left out")


def _check_values(variable: xr.DataArray, values: np.ndarray, path: str) -> None:
    """Raise CubeError for undeclared fill values, and for soil moisture of a satellite beyond what its units can mean;
    an estimate may be as wrong as it likes."""
    role = {} if variable.name == SM_FILLED else {"role": "target"}
    try:
        check_values(variable.assign_attrs(role), values)
    except CubeError as error:
        raise error if str(error).startswith(path) else CubeError(f"{path}: {error}") from error


def _check_bounds(low: np.ndarray | None, high: np.ndarray | None, std: np.ndarray | None, path: str) -> None:
    if std is not None and not (std >= 0).all():
        raise CubeError(f"{path}: {(~(std >= 0)).sum()} hidden values have no sm_std, or a negative one")
    if low is None or high is None:
        return
    if not (np.isfinite(low) & np.isfinite(high)).all():
        raise CubeError(f"{path}: {(~(np.isfinite(low) & np.isfinite(high))).sum()} hidden values have no bounds")
    if (low > high).any():
        raise CubeError(f"{path}: sm_lower lies above sm_upper at {(low > high).sum()} hidden values")


def _rain(shown: Named, name: str | None, like: xr.DataArray) -> tuple[xr.DataArray, float] | None:
    """Precipitation, and the factor that makes it mm a day."""
    if name is None:
        told = (n for n, v in shown.dataset.data_vars.items() if "time" in v.dims and _is_rain(v))
        name = next((str(n) for n in told), None)
        if name is None:
            return None
    rain = aligned(shown.variable(name), like, shown.name)
    units = str(rain.attrs.get("units", ""))
    factor = per_day(units)
    if factor is None:
        raise CubeError(f"{shown.name}: precipitation '{name}' is in '{units}', expected one of {', '.join(PER_DAY)}")
    return rain, factor


def _is_rain(variable: xr.DataArray) -> bool:
    standard = str(variable.attrs.get("standard_name", ""))
    return variable.attrs.get("quantity") == "precipitation" or "precipitation" in standard or "rainfall" in standard


def _zones(
    shown: Named,
    rain: tuple[xr.DataArray, float] | None,
    temperature: str | None,
    truth: xr.DataArray,
    seen: xr.DataArray,
) -> dict[str, np.ndarray]:
    """Masks (H, W) of the zones, by name, from all days of the visible file."""
    dataset, place = shown.dataset, truth.isel(time=0, drop=True)

    def mean(name: str) -> np.ndarray:
        found: np.ndarray = aligned(mean_map(dataset[name]), place, shown.name).values
        return found

    if temperature is not None:
        units = str(aligned(shown.variable(temperature), truth, shown.name).attrs.get("units", ""))
        if in_celsius(units) is None:
            raise CubeError(f"{shown.name}: temperature '{temperature}' is in '{units}', expected K or degC")
    name, demand = temperature or air_temperature_of(dataset), potential_evaporation_of(dataset)
    if name is None and (rain is None or demand is None):
        return {}
    air = None if name is None else _converted(mean(name), in_celsius(dataset[name].attrs["units"]))
    index = None
    if rain is not None:
        evaporation = None if demand is None else mean(demand) * (per_day(dataset[demand].attrs["units"]) or np.nan)
        index = aridity(mean(str(rain[0].name)) * rain[1], evaporation, air)
    land = _land(dataset, place, shown.name)
    land = ever_observed(seen) if land is None else land
    zones = {} if index is None else thirds(index, land, ARIDITY)
    return zones if air is None else zones | thirds(air, land, TEMPERATURE)


def _converted(values: np.ndarray, conversion: tuple[float, float] | None) -> np.ndarray:
    factor, offset = conversion or (np.nan, np.nan)
    return values * factor + offset


def _land(dataset: xr.Dataset, place: xr.DataArray, path: str) -> np.ndarray | None:
    if "land" not in dataset or set(dataset["land"].dims) != set(place.dims):
        return None
    found: np.ndarray = np.nan_to_num(aligned(dataset["land"], place, path).values) != 0
    return found


def _blocks(truth: xr.DataArray) -> tuple[np.ndarray, int]:
    days = truth["time"].values.astype("datetime64[D]").astype(int)
    block = (days - days[0]) // BLOCK_DAYS
    return block, int(block[-1]) + 1


def _regions(truth: xr.DataArray) -> tuple[np.ndarray, int]:
    """Squares of about REGION_KM: errors in different ones are nearly independent."""
    rows, columns = truth.dims[1:]
    if rows == "lat":
        lat, lon = truth["lat"].values, truth["lon"].values
        y = (lat.max() - lat) * 111.2
        x = (lon - lon.min()) * 111.2 * np.cos(np.deg2rad(lat.mean()))
    else:
        y, x = (
            abs(truth[rows].values - truth[rows].values[0]) / 1000,
            abs(truth[columns].values - truth[columns].values[0]) / 1000,
        )
    i, j = (y // REGION_KM).astype(int), (x // REGION_KM).astype(int)
    return i[:, None] * (int(j.max()) + 1) + j[None, :], (int(i.max()) + 1) * (int(j.max()) + 1)
