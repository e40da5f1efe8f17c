"""Scores of a filled file at values that were hidden from the filler.

Three files: *filled* (`sm_filled`, or another variable, perhaps `sm_lower` and `sm_upper`), *hidden* (`truth`, boolean
variables that say which values were hidden, by class, and the attribute `target`) and *visible* (what the filler could
see). Scores do not depend on how the gaps were filled. A record is read in blocks of days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.axes import SPACE_DIMS
from sgdsm.core.cube import open_dataset, time_chunks
from sgdsm.core.days import SEASON_MONTHS
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import SM_FILLED, SM_LOWER, SM_STD, SM_UPPER, level_of
from sgdsm.core.logging import log
from sgdsm.core.units import PER_DAY, moisture_bounds, per_day
from sgdsm.core.validation import check_values
from sgdsm.evaluation.cell_scores import IN_MAPS, score_maps
from sgdsm.evaluation.distances import NearestVisible, VisibleDays, around
from sgdsm.evaluation.metrics import (
    METRICS,
    STATISTICS,
    Metric,
    State,
    bin_statistics,
    bootstrap,
    error_statistics,
    metrics,
)
from sgdsm.evaluation.moving_anomaly import WINDOW_DAYS, means_around
from sgdsm.evaluation.reliability import Calibration
from sgdsm.evaluation.scored_files import ScoredFile, aligned, in_units, rounded
from sgdsm.evaluation.strata import (
    ARIDITY,
    TEMPERATURE,
    air_temperature_of,
    aridity,
    cell_areas,
    class_map,
    flag_names,
    in_celsius,
    mean_map,
    potential_evaporation_of,
    split_name,
    thirds,
)

GAP_LENGTHS = {
    "gap_1_day": (1, 1),
    "gap_2_days": (2, 2),
    "gap_3_days": (3, 3),
    "gap_4_to_7_days": (4, 7),
    "gap_8_or_more_days": (8, 10**6),
}
MONTHS = {f"month_{month:02d}": month for month in range(1, 13)}
# days to the nearest visible value of the cell
GAP_AGES = {
    "age_1_day": (1, 1),
    "age_2_days": (2, 2),
    "age_3_days": (3, 3),
    "age_4_to_7_days": (4, 7),
    "age_8_or_more_days": (8, np.inf),
}
# km to the nearest visible value of the day: at least, and less than
DISTANCES = {
    "below_50_km": (0.0, 50.0),
    "from_50_to_100_km": (50.0, 100.0),
    "from_100_to_250_km": (100.0, 250.0),
    "from_250_to_500_km": (250.0, 500.0),
    "from_500_km": (500.0, np.inf),
}
RAIN_MM_PER_DAY = 2.4
# errors farther apart than these are taken for independent
BLOCK_DAYS = 30
REGION_KM = 1000.0
KM_PER_DEGREE = 111.2  # of latitude
FEW = 200  # of fewer values, even if independent, an RMSE is known no better than by a twentieth
CELL_VALUES = 10  # hidden values of a cell from which its R2 counts
UNCHANGED = 1e-4  # files of float32 and of packed integers round
BLOCK_VALUES = 2**26  # of a block of days
# columns of the table of details
DETAILS = ("rmse", "mae", "bias", "ubrmse", "r", "r_anomaly", "r_seasonal_anomaly", "nse")


class Change(NamedTuple):
    """How the visible values of a filled file differ from what the filler saw.

    Attributes:
        seen: Number of visible values.
        changed: Number of those that differ by more than rounding.
        missing: Number of those that the filled file lacks.
        total: Sum of the differences, filled minus visible.
        squares: Sum of their squares.
    """

    seen: float = 0
    changed: float = 0
    missing: float = 0
    total: float = 0
    squares: float = 0

    def plus(self, other: Change) -> Change:
        """Return the sums of both."""
        return Change(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass
class Scores:
    """Errors of a filled file, from which metrics and their intervals are made.

    Attributes:
        classes: Names of the classes of values.
        state: Of each class, by block of days and region, (classes, blocks, regions).
        calibration: Of all values; empty where the filled file has no `sm_std`.
        counts: Number of values of each class, (classes,), where they are weighted; None: the weights of the State.
        cell_r2: R2 (NSE) of each cell with at least CELL_VALUES hidden values, (cells,).
        change: Of the visible values.
        maps: Scores of each cell, (H, W); None where they are of several places, or loaded.
    """

    classes: list[str]
    state: State
    calibration: Calibration
    counts: np.ndarray | None = None
    cell_r2: np.ndarray = field(default_factory=lambda: np.zeros(0))
    change: Change = field(default_factory=Change)
    maps: xr.Dataset | None = None

    def table(self) -> dict[str, dict[str, float]]:
        """Return the metrics of each class, by name; see `sgdsm.evaluation.metrics.metrics`.

        The slope of skill over spread and the median R2 of the cells are known for the class `all` only.
        """
        whole = metrics(self.state.total((1, 2)))
        table = {name: {k: float(v[c]) for k, v in whole.items()} for c, name in enumerate(self.classes)}
        if self.counts is not None:
            for name, count in zip(self.classes, self.counts, strict=True):
                table[name]["n"] = float(count)
        table["all"]["slope"] = self.calibration.slope()
        known = self.cell_r2[np.isfinite(self.cell_r2)]
        table["all"]["r2_cell_median"] = float(np.median(known)) if known.size else float("nan")
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
        joined = State(*(np.concatenate(field, 2) for field in zip(*states, strict=True)))
        change = Change()
        for part in parts:
            change = change.plus(part.change)
        return cls(
            classes,
            joined,
            calibration,
            cell_r2=np.concatenate([part.cell_r2 for part in parts]),
            change=change,
            maps=parts[0].maps if len(parts) == 1 else None,
        )

    def save(self, path: str | Path) -> None:
        """Write to a netCDF file, with the names of the statistics."""
        dims = ("class", "block", "region")
        dataset = xr.Dataset(
            {
                "sum": ((*dims, "statistic"), self.state.sum),
                "weight": (dims, self.state.weight),
                "pit": ("probability", self.calibration.pit),
                "spread": (("octave", "sums"), self.calibration.spread),
                "cell_r2": ("cell", self.cell_r2),
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
            # of files of before there was one
            cell_r2 = dataset["cell_r2"].values if "cell_r2" in dataset else np.zeros(0)
            return cls([str(c) for c in dataset["class"].values], state, calibration, cell_r2=cell_r2)


@dataclass
class ScoredFiles:
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
        place: A map of the grid.
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
    place: xr.DataArray

    @classmethod
    def of(cls, product: ScoredFile, question: ScoredFile, shown: ScoredFile, precipitation: str | None) -> ScoredFiles:
        truth, masks = _hidden(question)
        target = str(truth.attrs["target"])
        seen = in_units(aligned(shown.variable(target), truth, shown.name), truth, shown.name)

        def of_product(name: str) -> xr.DataArray:
            return in_units(aligned(product.variable(name), truth, product.name), truth, product.name)

        filled = of_product(product.estimate)
        # they belong to our own estimate
        ours = product.dataset if product.estimate == SM_FILLED else ()
        bounds = [of_product(b) if b in ours else None for b in (SM_LOWER, SM_UPPER, SM_STD)]
        rain = _rain(shown, shown.companions(target), precipitation, truth)
        place = truth.isel(time=0, drop=True)
        return cls(product, question, shown, truth, masks, seen, filled, bounds, rain, place)

    @property
    def level(self) -> float | None:
        """Probability that the intervals are to hold the truth with, 0 to 1; None where the file does not say it."""
        level = np.nan if self.bounds[0] is None else level_of(self.bounds[0].attrs)
        return None if np.isnan(level) else level

    def visible(self, days: slice) -> np.ndarray:
        """Return the visible values of some days, (days, H, W), after a check."""
        values = np.asarray(self.seen[days].values)
        _check_values(self.seen, values, self.shown.name, satellite=True)
        return values

    def soil_moisture(self, days: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the true and the filled values of some days, (days, H, W) both, after a check of each."""
        # checked after reading: a check of the whole variable would read it twice
        truth, filled = self.truth[days].values, self.filled[days].values
        _check_values(self.truth, truth, self.question.name, satellite=True)
        _check_values(self.filled, filled, self.product.name)
        return truth, filled

    def hidden(self, days: slice) -> dict[str, np.ndarray]:
        """Return which values of some days were hidden, by class, (days, H, W) bool."""
        return {name: np.nan_to_num(mask[days].values).astype(bool) for name, mask in self.masks.items()}

    def is_wet(self, days: slice, hidden: np.ndarray) -> dict[str, np.ndarray]:
        """Return which hidden values of some days, (N,), are of days with rain, and of dry days, where it is known."""
        if self.rain is None:
            return {}
        rain = self.rain[0][days].values
        _check_values(self.rain[0], rain, self.shown.name)
        # a day without a value of rain counts as dry
        wet = rain[hidden] * self.rain[1] >= RAIN_MM_PER_DAY
        return {"rain": wet, "dry": ~wet}

    def error_bars(self, days: slice, hidden: np.ndarray) -> list[np.ndarray | None]:
        """Return lower and upper bound and standard deviation at the hidden values of days, (N,), where known."""
        bars: list[np.ndarray | None] = []
        for variable in self.bounds:
            if variable is None:
                bars.append(None)
                continue
            values = variable[days].values
            _check_values(variable, values, self.product.name)
            bars.append(values[hidden])
        low, high, std = bars
        _check_bounds(low, high, std, self.product.name)
        return bars


class _Sums:
    """What is added up over blocks of days.

    Args:
        files: That are scored.
        strata: Classes of cells -> mask, (H, W) bool.
        weights: Of each cell, (cells,), or None.
    """

    def __init__(self, files: ScoredFiles, strata: dict[str, np.ndarray], weights: np.ndarray | None) -> None:
        wet = ("rain", "dry") if files.rain is not None else ()
        self.classes = [
            *files.masks, "all", *GAP_LENGTHS, *SEASON_MONTHS, *MONTHS, *GAP_AGES, *DISTANCES, *wet, *strata
        ]  # fmt: skip
        self.level, self.weights = files.level, weights
        self.strata = {name: mask.ravel() for name, mask in strata.items()}
        self.block, self.blocks = _blocks(files.truth)
        region, self.regions = _regions(files.truth)
        self.region = region.ravel()
        self.month = files.truth["time"].dt.month.values
        self.state = State.zeros((len(self.classes), self.blocks, self.regions))
        self.counts = np.zeros(len(self.classes))
        self.cells = State.zeros((self.region.size,))
        self.of_cells = {str(name) for metric in IN_MAPS for name in _metric(metric).statistics}
        self.calibration = Calibration.zeros()

    def members(
        self, day: np.ndarray, cell: np.ndarray, length: np.ndarray, age: np.ndarray, km: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return which hidden values are in each class that follows from place and day, (N,) bool each."""
        month = self.month[day]
        found = {name: (length >= low) & (length <= high) for name, (low, high) in GAP_LENGTHS.items()}
        found |= {name: np.isin(month, months) for name, months in SEASON_MONTHS.items()}
        found |= {name: mask[cell] for name, mask in self.strata.items()}
        found |= {name: month == number for name, number in MONTHS.items()}
        found |= {name: (age >= low) & (age <= high) for name, (low, high) in GAP_AGES.items()}
        # beyond the farthest, distances are infinite
        return found | {name: (km >= low) & ((km < high) | (high == np.inf)) for name, (low, high) in DISTANCES.items()}

    def add(
        self,
        members: dict[str, np.ndarray],
        day: np.ndarray,
        cell: np.ndarray,
        filled: np.ndarray,
        truth: np.ndarray,
        cell_mean: np.ndarray,
        season: np.ndarray,
        bars: list[np.ndarray | None],
    ) -> None:
        """Add the hidden values of a block of days; all arrays are (N,)."""
        low, high, std = bars
        if std is not None:
            self.calibration = self.calibration + Calibration.of(filled, truth, std)
        per_value = error_statistics(
            filled, truth, cell_mean, lower=low, upper=high, std=std, level=self.level, season=season
        )
        # in place: a global map of all statistics has 200 MB
        for k, name in enumerate(STATISTICS):
            if name in self.of_cells:
                self.cells.sum[:, k] += np.bincount(cell, per_value[:, k], self.region.size)
        self.cells.weight[:] += np.bincount(cell, minlength=self.region.size)
        # States are kept by block of days and region, for bootstrap intervals without another reading
        unit = self.block[day] * self.regions + self.region[cell]
        weights = None if self.weights is None else self.weights[cell]
        for c, name in enumerate(self.classes):
            chosen = np.flatnonzero(members[name])
            state = bin_statistics(
                per_value[chosen],
                unit[chosen],
                self.blocks * self.regions,
                None if weights is None else weights[chosen],
            )
            self.state.sum[c] += state.sum.reshape(self.blocks, self.regions, -1)
            self.state.weight[c] += state.weight.reshape(self.blocks, self.regions)
            self.counts[c] += len(chosen)


@checked
def score(
    filled: str | Path | xr.Dataset,
    hidden: str | Path | xr.Dataset,
    visible: str | Path | xr.Dataset,
    precipitation: str | None = None,
    days_at_once: int | None = None,
    temperature: str | None = None,
    *,
    estimate: str | None = None,
    layout: Literal["cci_gapfilled", "sgd_sm"] | None = None,
    changed: Literal["refuse", "allow"] = "refuse",
    weights: Literal["none", "area"] = "none",
    classes: str | None = None,
) -> Scores:
    """Score a filled file (or Dataset, or a folder of daily files).

    Classes: those of the hidden file; `all` of them; gap lengths (unseen days in a row at the cell); seasons; `rain`
    and `dry` (2.4 mm a day or more) where the visible file has precipitation; strata, thirds of the land by aridity
    and by mean air temperature, where it has what they are made of (`sgdsm.evaluation.strata`); named classes of maps;
    months; days to the nearest visible value of the cell; km to the nearest visible value of the day. `R within`
    removes the mean of the cell's visible values, `R anom` their mean in the 35 days around. Values in other units than
    the truth are converted.

    Args:
        filled: Holds `estimate` and perhaps `sm_lower`, `sm_upper` and `sm_std`.
        hidden: Holds `truth`, the attribute `target` and boolean variables that say which values were hidden.
        visible: Holds what the filler could see of the target. Maps with `flag_meanings` are classes too.
        precipitation: Variable of `visible`; by default the one whose `standard_name` says so.
        days_at_once: Days that are read at a time; by default as many as hold 2^26 values.
        temperature: Air temperature of the day, a variable of `visible`; by default one with a common name or with
            that `standard_name`.
        estimate: Variable of the filled values; by default `sm_filled`, or that of the layout.
        layout: Of a folder of daily files of another product.
        changed: 'allow' takes products that change or leave out visible values; `Scores.change` says how much.
        weights: 'area' weighs values by the area of their cells, in all classes, not in the scores of single cells.
        classes: FILE:variable, a map of classes (land cover, climate) on any grid of the same kind.

    Raises:
        CubeError: If a file lacks a variable, the grids, dates or units differ, a hidden value has no truth or is not
            filled, a visible value was changed, or a variable holds fill values that it does not declare.
        ConfigError: If `days_at_once` is below 1, or an argument does not fit the others.
    """
    if days_at_once is not None and days_at_once < 1:
        raise ConfigError(f"score: days_at_once={days_at_once}: expected at least 1")
    named = None if classes is None else split_name(classes)
    product = ScoredFile.product(filled, estimate, layout)
    question, shown = ScoredFile.of(hidden), ScoredFile.of(visible)
    files = ScoredFiles.of(product, question, shown, precipitation)
    blocks, visible_days, only = _visible_days(files, days_at_once)
    strata = _strata(files, temperature, (visible_days.count > 0).reshape(files.place.shape))
    strata |= _class_maps(files)
    if named is not None:
        strata |= class_map(ScoredFile.of(named[0]), named[1], files.place)
    area = cell_areas(files.place).ravel() if weights == "area" else None
    sums, change = _Sums(files, strata, area), Change()
    means, after = visible_days.cell_means(), visible_days.after()
    last, nearest = np.full(len(means), -1, np.int32), NearestVisible(files.place)
    numbers = files.truth["time"].values.astype("datetime64[D]").astype(np.float64)
    for days, following in zip(blocks, after, strict=True):
        # the window of an anomaly reaches beyond the block
        reach = _reach(numbers, days)
        near = files.visible(reach) if only is None else only
        v = near[days.start - reach.start : days.stop - reach.start]
        kinds = files.hidden(days)
        anywhere = np.logical_or.reduce(list(kinds.values()))
        t, q = files.soil_moisture(days)
        change = change.plus(_check(files, t, q, v, anywhere, changed == "allow"))
        seen = np.isfinite(v)
        wanted = [np.flatnonzero(mask) for mask in anywhere]
        before, next_day = around(seen.reshape(len(seen), -1), wanted, days.start, last, following)
        day = np.repeat(np.arange(days.start, days.stop), [len(cells) for cells in wanted])
        km = np.concatenate(
            [nearest.km(s, cells) if len(cells) else np.zeros(0) for s, cells in zip(seen, wanted, strict=True)]
        )
        cell = np.concatenate(wanted)
        members = sums.members(day, cell, next_day - before - 1, _age(numbers, day, before, next_day), km)
        members |= {name: mask[anywhere] for name, mask in kinds.items()} | {"all": np.ones(len(cell), bool)}
        members |= files.is_wet(days, anywhere)
        season = means_around(near.reshape(len(near), -1), numbers[reach], wanted, days.start - reach.start)
        bars = files.error_bars(days, anywhere)
        sums.add(members, day, cell, q[anywhere], t[anywhere], means[cell], season, bars)
    if not sums.counts.any():
        raise CubeError(f"{question.name}: hides no value, there is nothing to score")
    if sums.weights is not None:
        # a mean weight of 1
        scale = sums.counts[sums.classes.index("all")] / sums.state.weight[sums.classes.index("all")].sum()
        sums.state = State(sums.state.sum * scale, sums.state.weight * scale)
    return _scores(files, sums, change, weighted=area is not None)


def _visible_days(files: ScoredFiles, days_at_once: int | None) -> tuple[list[slice], VisibleDays, np.ndarray | None]:
    """Read the visible values once.

    Returns:
        Blocks of days; the visible days of each cell; the visible values where there is one block, else None.
    """
    shape = files.truth.shape
    values = BLOCK_VALUES if days_at_once is None else days_at_once * shape[1] * shape[2]
    blocks = list(time_chunks(files.truth, values))
    visible_days, read = VisibleDays(shape[0], shape[1] * shape[2]), np.zeros(0)
    for days in blocks:
        read = files.visible(days)
        visible_days.add(read.reshape(len(read), -1), days.start)
    return blocks, visible_days, read if len(blocks) == 1 else None


def _reach(numbers: np.ndarray, days: slice) -> slice:
    """Return the maps that windows around a block of days hold.

    Args:
        numbers: Days since 1970 of each map, (T,).
        days: Maps of the block.
    """
    half = WINDOW_DAYS // 2
    first = int(np.searchsorted(numbers, numbers[days.start] - half))
    return slice(first, int(np.searchsorted(numbers, numbers[days.stop - 1] + half, side="right")))


def _age(numbers: np.ndarray, day: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the days to the nearest visible value of the cell, (N,), infinite where there is none.

    Args:
        numbers: Days since 1970 of each map, (T,).
        day: Map of each value, (N,).
        before: Visible map before each value, -1 where there is none.
        after: Visible map after each value, T where there is none.
    """
    padded = np.concatenate([numbers, [np.inf, -np.inf]])  # beyond the end; index -1: before the begin
    age: np.ndarray = np.minimum(numbers[day] - padded[before], padded[after] - numbers[day])
    return age


def _scores(files: ScoredFiles, sums: _Sums, change: Change, weighted: bool) -> Scores:
    table, enough = metrics(sums.cells), sums.cells.weight >= CELL_VALUES
    return Scores(
        sums.classes,
        sums.state,
        sums.calibration,
        counts=sums.counts if weighted else None,
        cell_r2=table["nse"][enough],
        change=change,
        maps=score_maps(table, files.place, str(files.truth.attrs.get("units", "1"))),
    )


def format_table(table: dict[str, dict[str, float]]) -> str:
    """Return the table of `Scores.table` as text: six decimals of every metric, a line for each class with values.

    Classes and metrics of `format_details` are left out.
    """
    lines = []
    for name, row in table.items():
        if row["n"] and name not in (*MONTHS, *GAP_AGES, *DISTANCES):
            known = [m for m in METRICS if not m.of_details]
            known = [m for m in known if not m.of_error_bars or np.isfinite(row.get(m.name, np.nan))]
            texts = [f"{metric.label} {metric.text(row[metric.name], 6)}" for metric in known]
            lines.append(" ".join([f"{name}: N {row['n']:.0f}", *texts]))
    return "\n".join(lines)


def format_rmse(scores: Scores, units: str) -> str:
    """Return the RMSE of all hidden values with its 95 % interval as a line, three significant digits.

    Args:
        scores: Of a filled file or a run.
        units: Of the target.
    """
    rmse, lower, upper = bootstrap(scores.units())
    count = f"N {scores.table()['all']['n']:.0f}"
    if not np.isfinite(lower):
        return f"RMSE {rmse:#.3g} {units} ({count}; too few blocks of days for an interval)"
    return f"RMSE {rmse:#.3g} {units}, 95 % interval {lower:#.3g} to {upper:#.3g} ({count})"


def format_details(table: dict[str, dict[str, float]]) -> str:
    """Return a second table of `Scores.table` as text: all classes with values, months and distances too."""
    chosen = [_metric(name) for name in DETAILS]
    rows = [(name, row) for name, row in table.items() if row["n"]]
    width = max(len("class"), *(len(name) for name, _ in rows))
    head = [
        f"{'class':{width}}",
        f"{'N':>9}",
        *(f"{m.head or m.label:>8}" for m in chosen),
    ]
    lines = [" ".join(head)]
    for name, row in rows:
        digits = [m.text(row[m.name], 4 if m.digits == 4 else 3) for m in chosen]
        lines.append(" ".join([f"{name:{width}}", f"{row['n']:9.0f}", *(f"{text:>8}" for text in digits)]))
    return "\n".join(lines)


def format_efficiency(scores: Scores) -> str:
    """Return NSE of all values and the median R2 of the cells, as one line."""
    row = scores.table()["all"]
    cells = int(np.isfinite(scores.cell_r2).sum())
    return (
        f"NSE {_metric('nse').text(row['nse'], 6)}, median R2 of the {cells} cells with {CELL_VALUES} hidden "
        f"values or more {_metric('r2_cell_median').text(row['r2_cell_median'], 6)}"
    )


def format_change(change: Change) -> str:
    """Return how much of the visible values were changed, and by how much, as one line."""
    there = max(change.seen - change.missing, 1)
    return (
        f"visible values: N {change.seen:.0f}, changed {change.changed / max(change.seen, 1):.1%}, left out "
        f"{change.missing / max(change.seen, 1):.1%}; RMS of the change {np.sqrt(change.squares / there):.6f}, "
        f"mean {change.total / there:+.6f}"
    )


def write_maps(maps: xr.Dataset, path: Path, sources: dict[str, str]) -> None:
    """Write the scores of each cell to a NetCDF file, which appears when it is complete.

    Args:
        maps: `Scores.maps`.
        path: Of the file.
        sources: What was scored, as attributes of the file.
    """
    partial = Path(f"{path}.partial")
    written = datetime.now(UTC).isoformat(timespec="seconds")
    attrs = {
        "Conventions": "CF-1.10",
        "title": "scores of filled values at hidden values, of each cell",
        "history": f"{written} sgdsm evaluate",
    }
    encoding = {str(name): {"zlib": True, "complevel": 1} for name in maps.data_vars}
    path.parent.mkdir(parents=True, exist_ok=True)
    maps.drop_encoding().assign_attrs({**attrs, **sources}).to_netcdf(partial, encoding=encoding)
    partial.replace(path)


def _metric(name: str) -> Metric:
    return next(metric for metric in METRICS if metric.name == name)


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
    files: ScoredFiles, truth: np.ndarray, filled: np.ndarray, visible: np.ndarray, hidden: np.ndarray, allowed: bool
) -> Change:
    """Raise CubeError unless hidden values have a truth, are filled and are not visible, and visible ones are kept.

    Args:
        files: That are scored.
        truth: True values of some days, (days, H, W), as all that follow.
        filled: Filled values.
        visible: Visible values.
        hidden: Which values were hidden.
        allowed: Whether visible values may be changed or left out.

    Returns:
        The change of the visible values.
    """
    path, hidden_path = files.product.name, files.question.name
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
    _check_size(files, filled[hidden])
    tolerance, change = UNCHANGED + rounded(files.product, files.truth), Change()
    for q, v in zip(filled, visible, strict=True):
        seen = np.isfinite(v)
        difference = q[seen].astype(np.float64) - v[seen]
        there = difference[np.isfinite(difference)]
        change = change.plus(
            Change(
                seen=difference.size,
                changed=float((abs(there) >= tolerance).sum()),
                missing=difference.size - there.size,
                total=float(there.sum()),
                squares=float((there * there).sum()),
            )
        )
    if not allowed and change.changed + change.missing:
        raise CubeError(
            f"{path}: {change.changed + change.missing:.0f} of {change.seen:.0f} visible values were changed or left "
            f"out, by {np.sqrt(change.squares / max(change.seen - change.missing, 1)):.3g} (root mean square): "
            "changed=allow scores a product that smooths"
        )
    return change


def _check_size(files: ScoredFiles, filled: np.ndarray) -> None:
    """Raise CubeError where estimates without units are likely to be in percent."""
    units = files.truth.attrs.get("units")
    if "units" in files.filled.attrs or units is None or moisture_bounds(units) != (0.0, 1.0) or not filled.size:
        return
    middle = float(np.median(filled))
    if middle > 1.5:
        raise CubeError(
            f"{files.product.name}: '{files.filled.name}' has no units and a median of {middle:.3g}, the truth is in "
            f"'{units}': give it the attribute units, percent perhaps"
        )


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


def _strata(files: ScoredFiles, temperature: str | None, ever_seen: np.ndarray) -> dict[str, np.ndarray]:
    """Return the masks of the strata, (H, W) bool, by name.

    All days of the visible file count, also those that are not scored: strata are of the climate of a place.

    Args:
        files: That are scored.
        temperature: Name of the air temperature in the visible file, if it is given.
        ever_seen: Which cells have a visible value, (H, W) bool.
    """
    shown, truth, rain, place = files.shown, files.truth, files.rain, files.place
    weather = shown.companions(str(truth.attrs["target"]))

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
    land = ever_seen if land is None else land
    strata = {} if index is None else thirds(index, land, ARIDITY)
    return strata if air is None else strata | thirds(air, land, TEMPERATURE)


def _class_maps(files: ScoredFiles) -> dict[str, np.ndarray]:
    """Return the classes of the maps of the visible file that name them, but for the land mask: name -> (H, W) bool."""
    weather = files.shown.companions(str(files.truth.attrs["target"]))
    maps = [
        str(name)
        for name, variable in weather.data_vars.items()
        if set(variable.dims) == set(files.place.dims)
        and flag_names(variable.attrs)
        and name != "land"
        and variable.attrs.get("role") != "land"
    ]
    found: dict[str, np.ndarray] = {}
    for name in maps:
        try:
            found |= class_map(files.shown, name, files.place)
        except CubeError as error:
            # nobody asked for it: a map that was averaged to another grid has no classes any more
            log.info("no scores by '%s': %s", name, error)
    return found


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
