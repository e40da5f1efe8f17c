"""Scores of a filled file at values that were hidden from the filler.

Three files: *filled* (`sm_filled`, perhaps `sm_lower` and `sm_upper`), *hidden* (`truth`, boolean variables that say
which values were hidden, by class, and the attribute `target`) and *visible* (what the filler could see). Scores do
not depend on how the gaps were filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.axes import SPACE_DIMS
from sgdsm.core.cube import ever_observed, open_dataset
from sgdsm.core.days import SEASON_MONTHS
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.units import PER_DAY, per_day
from sgdsm.core.validation import check_values
from sgdsm.evaluation.metrics import METRICS, STATISTICS, State, bin_statistics, error_statistics, metrics
from sgdsm.evaluation.reliability import Calibration
from sgdsm.evaluation.scored_files import ScoredFile, aligned
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
# errors farther apart than these are taken for independent
BLOCK_DAYS = 30
REGION_KM = 1000.0
KM_PER_DEGREE = 111.2  # of latitude
Part = tuple[slice, slice]  # all days of some rows


@dataclass
class Scores:
    """Errors of a filled file, from which metrics and their intervals are made.

    Attributes:
        classes: Names of the classes of values.
        state: Of each class, by block of days and region, (classes, blocks, regions).
        calibration: Of all values; empty where the filled file has no `sm_std`.
    """

    classes: list[str]
    state: State
    calibration: Calibration

    def table(self) -> dict[str, dict[str, float]]:
        """Return the metrics of each class, by name; see `sgdsm.evaluation.metrics.metrics`.

        The slope of skill over spread is known for the class `all` only.
        """
        whole = metrics(self.state.total((1, 2)))
        table = {name: {k: float(v[c]) for k, v in whole.items()} for c, name in enumerate(self.classes)}
        table["all"]["slope"] = self.calibration.slope()
        return table

    def units(self, name: str = "all") -> State:
        """Return the State of a class by unit (a block of days in a region), leading shape (units,)."""
        c = self.classes.index(name)
        return State(self.state.sum[c].reshape(-1, self.state.sum.shape[-1]), self.state.weight[c].ravel())

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """Return the scores of several places together; regions of different places are different ones."""
        classes = list(dict.fromkeys(name for part in parts for name in part.classes))
        blocks = max(part.state.weight.shape[1] for part in parts)
        states = []
        for part in parts:
            # a class or block that a place lacks stays empty
            state = State.zeros((len(classes), blocks, part.state.weight.shape[2]))
            where = [classes.index(name) for name in part.classes], slice(part.state.weight.shape[1])
            state.sum[where], state.weight[where] = part.state
            states.append(state)
        calibration = sum((part.calibration for part in parts), Calibration.zeros())
        return cls(classes, State(*(np.concatenate(field, 2) for field in zip(*states, strict=True))), calibration)

    def save(self, path: str | Path) -> None:
        """Write to a netCDF file, with the names of the statistics."""
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
        """Read what `save` wrote.

        Statistics are found by their names. One that the file does not have, because it was written before the
        metric was added, is NaN, and so is the metric.

        Raises:
            CubeError: If the file does not hold scores.
        """
        with open_dataset(path) as dataset:
            variables = ("statistic", "sum", "weight", "pit", "spread", "class")
            lacking = [n for n in variables if n not in dataset.variables]
            if lacking:
                raise CubeError(f"{path}: no variable '{lacking[0]}', expected the scores of a run: score it again")
            names = [str(name) for name in dataset["statistic"].values]
            if not set(names) & set(STATISTICS):
                raise CubeError(f"{path}: holds other statistics than this version uses: score the run again")
            stored = dataset["sum"].values
            sums = np.full((*stored.shape[:-1], len(STATISTICS)), np.nan)
            for k, name in enumerate(STATISTICS):
                if name in names:
                    sums[..., k] = stored[..., names.index(name)]
            state = State(sums, dataset["weight"].values)
            calibration = Calibration(dataset["pit"].values, dataset["spread"].values)
            return cls([str(c) for c in dataset["class"].values], state, calibration)


@dataclass
class _Files:
    """Variables that scores are made from, on the axes of the truth, (T, H, W), lazy.

    Attributes:
        product: The filled file.
        question: The hidden file.
        shown: The visible file.
        truth: Soil moisture in the hidden file.
        masks: Class -> which values were hidden, bool.
        seen: Soil moisture in the visible file.
        filled: Soil moisture in the filled file.
        bounds: `sm_lower`, `sm_upper` and `sm_std` of the filled file, None for one that it lacks.
        rain: Precipitation, and the factor that converts it to mm d-1; None if the visible file has none.
        strata: Stratum -> its cells, (H, W) bool.
    """

    product: ScoredFile
    question: ScoredFile
    shown: ScoredFile
    truth: xr.DataArray
    masks: dict[str, xr.DataArray]
    seen: xr.DataArray
    filled: xr.DataArray
    bounds: list[xr.DataArray | None]
    rain: tuple[xr.DataArray, float] | None
    strata: dict[str, np.ndarray]

    @classmethod
    def of(
        cls, product: ScoredFile, question: ScoredFile, shown: ScoredFile, precipitation: str | None, air: str | None
    ) -> _Files:
        truth, masks = _hidden(question)
        target = str(truth.attrs["target"])
        seen = aligned(shown.variable(target), truth, shown.name)
        filled = aligned(product.variable("sm_filled"), truth, product.name)
        bounds = [
            aligned(product.variable(b), truth, product.name) if b in product.dataset else None
            for b in ("sm_lower", "sm_upper", "sm_std")
        ]
        weather = shown.companions(target)
        rain = _rain(shown, weather, precipitation, truth)
        strata = _strata(shown, weather, rain, air, truth, seen)
        return cls(product, question, shown, truth, masks, seen, filled, bounds, rain, strata)

    @property
    def classes(self) -> list[str]:
        """Names of the classes that values are scored in."""
        wet = ("rain", "dry") if self.rain is not None else ()
        return [*self.masks, "all", *GAP_LENGTHS, *SEASON_MONTHS, *wet, *self.strata]

    @property
    def level(self) -> float | None:
        """Probability that the intervals are to hold the truth with, 0 to 1; None where the file does not say it."""
        level: float | None = None if self.bounds[0] is None else self.bounds[0].attrs.get("level")
        return level

    def soil_moisture(self, part: Part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the true, filled and visible values of a part, (T, rows, W) each, after a check of each."""
        # checked after reading: a check of the whole variable would read it twice
        truth, filled, seen = (variable[part].values for variable in (self.truth, self.filled, self.seen))
        _check_values(self.truth, truth, self.question.name, satellite=True)
        _check_values(self.filled, filled, self.product.name)
        _check_values(self.seen, seen, self.shown.name, satellite=True)
        return truth, filled, seen

    def members(self, part: Part, seen: np.ndarray) -> dict[str, np.ndarray]:
        """Return which hidden values of a part are in each class.

        Args:
            part: Rows of the grid.
            seen: Visible values of the part, (T, rows, W).

        Returns:
            Class -> mask, (T, rows, W) bool; that of `all` has the values of all classes of the hidden file.
        """
        kinds = {name: np.nan_to_num(mask[part].values).astype(bool) for name, mask in self.masks.items()}
        anywhere = np.logical_or.reduce(list(kinds.values()))
        kinds["all"] = anywhere
        length = gap_lengths(np.isfinite(seen))
        kinds |= {name: anywhere & (length >= low) & (length <= high) for name, (low, high) in GAP_LENGTHS.items()}
        month = self.truth["time"].dt.month.values[:, None, None]
        kinds |= {name: anywhere & np.isin(month, months) for name, months in SEASON_MONTHS.items()}
        if self.rain is not None:
            rain = self.rain[0][part].values
            _check_values(self.rain[0], rain, self.shown.name)
            # a day without a value of rain counts as dry
            wet = rain * self.rain[1] >= RAIN_MM_PER_DAY
            kinds |= {"rain": anywhere & wet, "dry": anywhere & ~wet}
        return kinds | {name: anywhere & stratum[part[1]] for name, stratum in self.strata.items()}

    def error_bars(self, part: Part, hidden: np.ndarray) -> list[np.ndarray | None]:
        """Return lower and upper bound and standard deviation at the hidden values of a part, (N,), where known."""
        bars: list[np.ndarray | None] = []
        for variable in self.bounds:
            if variable is None:
                bars.append(None)
                continue
            values = variable[part].values
            _check_values(variable, values, self.product.name)
            bars.append(values[hidden])
        low, high, std = bars
        _check_bounds(low, high, std, self.product.name)
        return bars


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
    and `dry` (2.4 mm a day or more) where the visible file has precipitation; strata, thirds of the land by aridity
    and by mean air temperature, where it has what they are made of (`sgdsm.evaluation.strata`). A metric by anomalies
    removes the mean of the cell's visible values.

    Args:
        filled: Holds `sm_filled` and perhaps `sm_lower`, `sm_upper` and `sm_std`.
        hidden: Holds `truth`, the attribute `target` and boolean variables that say which values were hidden.
        visible: Holds what the filler could see of the target.
        precipitation: Variable of `visible`; by default the one whose `standard_name` says so.
        rows_at_once: Rows of the grid that are read at a time; by default as many as hold 2^26 values.
        temperature: Air temperature of the day, a variable of `visible`; by default one with a common name or with
            that `standard_name`.

    Raises:
        CubeError: If a file lacks a variable, the grids differ, a hidden value has no truth or is not filled, a
            visible value was changed, or a variable holds fill values that it does not declare.
        ConfigError: If `rows_at_once` is below 1.
    """
    if rows_at_once is not None and rows_at_once < 1:
        raise ConfigError(f"score: rows_at_once={rows_at_once}: expected at least 1")
    product, question, shown = (ScoredFile.of(source) for source in (filled, hidden, visible))
    files = _Files.of(product, question, shown, precipitation, temperature)
    classes, shape = files.classes, files.truth.shape
    block, blocks = _blocks(files.truth)
    region, regions = _regions(files.truth)
    total, calibration = State.zeros((len(classes), blocks, regions)), Calibration.zeros()
    # rows, not days: the length of a gap and the mean of a cell need the whole record
    step = rows_at_once or max(1, 2**26 // (shape[0] * shape[2]))
    for begin in range(0, shape[1], step):
        part = (slice(None), slice(begin, begin + step))
        t, q, v = files.soil_moisture(part)
        members = files.members(part, v)
        anywhere = members["all"]
        _check(t, q, v, anywhere, product.name, question.name)
        low, high, std = files.error_bars(part, anywhere)
        if std is not None:
            calibration = calibration + Calibration.of(q[anywhere], t[anywhere], std)
        # the mean of the visible values of each cell, from which anomalies are counted
        mean = np.nansum(v, 0, dtype=np.float64) / np.maximum(np.isfinite(v).sum(0), 1)
        cell_mean = np.broadcast_to(mean, t.shape)[anywhere]
        per_value = error_statistics(
            q[anywhere], t[anywhere], cell_mean, lower=low, upper=high, std=std, level=files.level
        )
        # States are kept by block of days and region, for bootstrap intervals without another reading
        unit = (block[:, None, None] * regions + region[part[1]][None])[anywhere]
        for c, name in enumerate(classes):
            chosen = members[name][anywhere]
            state = bin_statistics(per_value[chosen], unit[chosen], blocks * regions)
            total.sum[c] += state.sum.reshape(blocks, regions, -1)
            total.weight[c] += state.weight.reshape(blocks, regions)
    if not total.weight.any():
        raise CubeError(f"{question.name}: hides no value, there is nothing to score")
    return Scores(classes, total, calibration)


def format_table(table: dict[str, dict[str, float]]) -> str:
    """Return the table of `Scores.table` as text: six decimals of every metric, a line for each class with values."""
    lines = []
    for name, row in table.items():
        if row["n"]:
            known = [m for m in METRICS if not m.of_error_bars or np.isfinite(row.get(m.name, np.nan))]
            texts = [f"{metric.label} {metric.text(row[metric.name], 6)}" for metric in known]
            lines.append(" ".join([f"{name}: N {row['n']:.0f}", *texts]))
    return "\n".join(lines)


def gap_lengths(seen: np.ndarray) -> np.ndarray:
    """Return the length of the gap that each value is in, (T, H, W): days in a row that are not seen; 0 where seen.

    Args:
        seen: Which values are seen, (T, H, W) bool.
    """
    length = np.zeros(seen.shape, np.int32)
    run = np.zeros(seen.shape[1:], np.int32)
    for day in range(len(seen)):
        run = np.where(seen[day], 0, run + 1)
        length[day] = run
    # backwards, each day of a gap gets the length that its last day has
    for day in range(len(seen) - 2, -1, -1):
        length[day] = np.where((length[day] > 0) & (length[day + 1] > 0), length[day + 1], length[day])
    return length


def _hidden(question: ScoredFile) -> tuple[xr.DataArray, dict[str, xr.DataArray]]:
    """Return the truth, with the name of the target as an attribute, and the masks of hidden values, by class."""
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
    dims = set(dataset["truth"].dims)
    masks = {
        str(n): question.variable(str(n)).transpose(*truth.dims)
        for n, v in dataset.data_vars.items()
        if n != "truth" and set(v.dims) == dims and v.dtype.kind in "biu"
    }
    if not masks:
        raise CubeError(
            f"{question.name}: has no boolean variable with the dims {truth.dims} that says what was hidden"
        )
    return truth, masks


def _check(
    truth: np.ndarray, filled: np.ndarray, visible: np.ndarray, hidden: np.ndarray, path: str, hidden_path: str
) -> None:
    """Raise CubeError unless hidden values have a truth, are filled and are not visible, and visible ones are kept."""
    if not np.isfinite(truth[hidden]).all():
        raise CubeError(f"{hidden_path}: {(~np.isfinite(truth[hidden])).sum()} hidden values have no truth")
    missing = ~np.isfinite(filled[hidden])
    if missing.any():
        raise CubeError(
            f"{path}: {missing.sum()} of {missing.size} hidden values are not filled: is the land of the "
            "file smaller than theirs?"
        )
    if np.isfinite(visible[hidden]).any():
        raise CubeError(f"{hidden_path}: {np.isfinite(visible[hidden]).sum()} hidden values are visible")
    seen = np.isfinite(visible)
    # files of float32 and of packed integers round
    if seen.any() and not (abs(filled[seen] - visible[seen]) < 1e-4).all():
        changed = (~(abs(filled[seen] - visible[seen]) < 1e-4)).sum()
        raise CubeError(f"{path}: {changed} of {seen.sum()} visible values were changed or left out")


def _check_values(variable: xr.DataArray, values: np.ndarray, path: str, satellite: bool = False) -> None:
    """Raise CubeError for undeclared fill values.

    Args:
        variable: The variable.
        values: All of its values, or a part of them.
        path: Of the file, for messages.
        satellite: True for soil moisture of a satellite, which is refused beyond what its units can mean too. An
            estimate may lie anywhere.
    """
    # files may carry roles of their own
    variable = variable.assign_attrs(role="target" if satellite else "")
    try:
        check_values(variable, values)
    except CubeError as error:
        raise error if str(error).startswith(path) else CubeError(f"{path}: {error}") from error


def _check_bounds(low: np.ndarray | None, high: np.ndarray | None, std: np.ndarray | None, path: str) -> None:
    """Raise CubeError unless error bars, where a file has them, are there at all hidden values and make sense."""
    if std is not None and not _is_spread(std).all():
        raise CubeError(f"{path}: {(~_is_spread(std)).sum()} hidden values have no sm_std, or a negative one")
    if low is None or high is None:
        return
    if not (np.isfinite(low) & np.isfinite(high)).all():
        raise CubeError(f"{path}: {(~(np.isfinite(low) & np.isfinite(high))).sum()} hidden values have no bounds")
    if (low > high).any():
        raise CubeError(f"{path}: sm_lower lies above sm_upper at {(low > high).sum()} hidden values")


def _is_spread(std: np.ndarray) -> np.ndarray:
    return (std >= 0) & np.isfinite(std)


def _rain(
    shown: ScoredFile, weather: xr.Dataset, name: str | None, like: xr.DataArray
) -> tuple[xr.DataArray, float] | None:
    """Return precipitation, and the factor that makes it mm d-1; None where the file has none."""
    if name is None:
        candidates = (n for n, v in weather.data_vars.items() if "time" in v.dims and _is_rain(v))
        name = next((str(n) for n in candidates), None)
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


def _strata(
    shown: ScoredFile,
    weather: xr.Dataset,
    rain: tuple[xr.DataArray, float] | None,
    temperature: str | None,
    truth: xr.DataArray,
    seen: xr.DataArray,
) -> dict[str, np.ndarray]:
    """Return the masks of the strata, (H, W) bool, by name.

    All days of the visible file count, also those that are not scored: strata are of the climate of a place.
    """
    place = truth.isel(time=0, drop=True)

    def mean(name: str) -> np.ndarray:
        try:
            means = mean_map(shown.variable(name))
        except CubeError as error:
            raise error if str(error).startswith(shown.name) else CubeError(f"{shown.name}: {error}") from error
        values: np.ndarray = aligned(means, place, shown.name).values
        return values

    if temperature is not None:
        units = str(aligned(shown.variable(temperature), truth, shown.name).attrs.get("units", ""))
        if in_celsius(units) is None:
            raise CubeError(f"{shown.name}: temperature '{temperature}' is in '{units}', expected K or degC")
    name, demand = temperature or air_temperature_of(weather), potential_evaporation_of(weather)
    if name is None and (rain is None or demand is None):
        return {}
    air = None if name is None else _converted(mean(name), in_celsius(shown.dataset[name].attrs["units"]))
    index = None
    if rain is not None:
        evaporation = None if demand is None else mean(demand) * (per_day(weather[demand].attrs["units"]) or np.nan)
        index = aridity(mean(str(rain[0].name)) * rain[1], evaporation, air)
    land = _land(shown, weather, place)
    # without a land mask, land is where the satellite ever saw soil
    land = ever_observed(seen) if land is None else land
    strata = {} if index is None else thirds(index, land, ARIDITY)
    return strata if air is None else strata | thirds(air, land, TEMPERATURE)


def _converted(values: np.ndarray, conversion: tuple[float, float] | None) -> np.ndarray:
    factor, offset = conversion or (np.nan, np.nan)
    return values * factor + offset


def _land(shown: ScoredFile, weather: xr.Dataset, place: xr.DataArray) -> np.ndarray | None:
    if "land" not in weather or set(weather["land"].dims) != set(place.dims):
        return None
    land = aligned(shown.variable("land"), place, shown.name)
    _check_values(land, land.values, shown.name)
    is_land: np.ndarray = np.nan_to_num(land.values) != 0
    return is_land


def _blocks(truth: xr.DataArray) -> tuple[np.ndarray, int]:
    """Return the number of the block of BLOCK_DAYS of each map, (T,), and how many there are."""
    days = truth["time"].values.astype("datetime64[D]").astype(int)
    block = (days - days[0]) // BLOCK_DAYS
    return block, int(block[-1]) + 1


def _regions(truth: xr.DataArray) -> tuple[np.ndarray, int]:
    """Return the number of the region of each cell, (H, W), and how many there are: squares of about REGION_KM."""
    rows, columns = truth.dims[1:]
    # an equirectangular grid is good enough: regions need not be of equal size
    if rows == "lat":
        lat, lon = truth["lat"].values, truth["lon"].values
        y = (lat.max() - lat) * KM_PER_DEGREE
        x = (lon - lon.min()) * KM_PER_DEGREE * np.cos(np.deg2rad(lat.mean()))
    else:
        y, x = (
            abs(truth[rows].values - truth[rows].values[0]) / 1000,
            abs(truth[columns].values - truth[columns].values[0]) / 1000,
        )
    i, j = (y // REGION_KM).astype(int), (x // REGION_KM).astype(int)
    return i[:, None] * (int(j.max()) + 1) + j[None, :], (int(i.max()) + 1) * (int(j.max()) + 1)
