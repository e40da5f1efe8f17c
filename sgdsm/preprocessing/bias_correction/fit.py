"""Fit a correction to two cubes on one grid, some rows at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from sgdsm.core.cube import target_of
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.logging import log
from sgdsm.core.matching import units_of
from sgdsm.core.random import Stream
from sgdsm.core.specification import build, check_spec
from sgdsm.core.validation import read_values
from sgdsm.preprocessing.bias_correction.cdf import fit_cdf
from sgdsm.preprocessing.bias_correction.correction import Correction, check_grid, correction_of, days_of, picked
from sgdsm.preprocessing.bias_correction.maps import CellMaps, bounds_of
from sgdsm.preprocessing.bias_correction.moments import fit_moments
from sgdsm.preprocessing.bias_correction.residual_trees import (
    Folds,
    ResidualTrees,
    Rows,
    cross_validated,
    features_of,
    folds_of,
)

BYTES = 100  # memory for a value of a slab, measured: both sensors, the order they are drawn in, their maps
METHODS = ("cdf", "moments", "cdf_xgboost")
Method = Literal["cdf", "moments", "cdf_xgboost"]


@dataclass
class Settings:
    """How to fit: see `fit_cdf`, `fit_moments`, `ResidualTrees`.

    Args:
        method: 'cdf', 'moments', or 'cdf_xgboost' for CDF matching and trees on the residuals.
        trees: How the trees are fitted; also how rows are drawn and folds are made, for all methods.
        bins: Largest number of pieces of a map.
        values_per_bin: Values in a piece, about.
        least_values: A cell with fewer common days gets no map.
        memory_gib: Memory for one slab of rows, GiB.
    """

    method: Method
    trees: ResidualTrees
    bins: int = 100
    values_per_bin: int = 20
    least_values: int = 20
    memory_gib: float = 1.0

    def maps(self, source: np.ndarray, reference: np.ndarray, bounds: tuple[float, float]) -> CellMaps:
        """Fit the maps of the method.

        Args:
            source: (days, rows, columns), NaN = missing.
            reference: (days, rows, columns), NaN = missing.
            bounds: Smallest and largest mapped value.

        Returns:
            Maps of (rows x columns) cells.
        """
        x, y = (v.reshape(len(v), -1) for v in (source, reference))
        if self.method == "moments":
            return fit_moments(x, y, self.least_values, bounds)
        return fit_cdf(x, y, self.bins, self.values_per_bin, self.least_values, bounds)


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Return the settings of `correct fit`.

    Args:
        config: The configuration of the command.

    Raises:
        ConfigError: When a value is invalid whatever the files hold.
    """
    if config["method"] not in METHODS:
        raise ConfigError(f"method={config['method']}: expected {', '.join(METHODS)}")
    for key in ("bins", "values_per_bin", "least_values"):
        if config[key] < 2:
            raise ConfigError(f"{key}={config[key]!r}: expected a whole number of at least 2")
    if config["memory_gib"] <= 0:
        raise ConfigError(f"memory_gib={config['memory_gib']!r}: expected more than 0")
    period_of(config["period"])
    check_spec(config["trees"], ResidualTrees, "trees")
    names = ("method", "bins", "values_per_bin", "least_values", "memory_gib")
    return Settings(trees=build(config["trees"], ResidualTrees), **{n: config[n] for n in names})


def period_of(period: str | None) -> tuple[str | None, str | None]:
    """Return first and last day of `START:END`, None for an open end.

    Args:
        period: Like '2015-01-01:2022-12-31', or None.

    Raises:
        ConfigError: When it has another form.
    """
    if period is None:
        return None, None
    first, colon, last = period.partition(":")
    try:
        for day in filter(None, (first, last)):
            colon = "" if np.isnat(np.datetime64(day, "D")) else colon
    except ValueError:
        colon = ""
    if not colon:
        raise ConfigError(f"period={period}: expected START:END, like 2015-01-01:2022-12-31")
    return first or None, last or None


def fit_correction(
    source: xr.Dataset, reference: xr.Dataset, covariates: list[str], settings: Settings
) -> tuple[Correction, dict[str, dict[str, float]]]:
    """Fit the correction of one cube's target to another's, on the days that both have.

    Args:
        source: The cube whose target is to be corrected.
        reference: The cube whose target is the reference.
        covariates: Variables of `source`, for the trees only.
        settings: How to fit.

    Returns:
        The correction, and its scores in cross-validation (see `cross_validated`).

    Raises:
        CubeError: When the grids differ, no day is common, the reference is outside its bounds (a value below 0 is no
            moisture), or no cell has enough values.
    """
    target, wanted = target_of(source), target_of(reference)
    coords = {str(dim): source[dim].values for dim in target.dims[1:]}
    common = _common_days(source, reference, coords)
    bounds = bounds_of(wanted.attrs)
    folds = folds_of(common.days, settings.trees)
    maps, count, rows, fitted = _fit_slabs(source, wanted, covariates, settings, common, folds, bounds)
    if rows is None or not rows.key.size:
        raise CubeError(f"no cell has {settings.least_values} common days: nothing to fit")
    _check_count(count, settings.least_values)
    with_trees = settings.method == "cdf_xgboost"
    scores = cross_validated(rows, folds, common.days, settings.trees, with_trees, bounds)
    booster = _fit_trees(rows, common.days, settings.trees, int(count.sum())) if with_trees else b""
    about = {
        "source_variable": str(target.name),
        "source_units": str(target.attrs.get("units", "1")),
        "source_correction": correction_of(target),
        "reference_variable": str(wanted.name),
        "reference_units": str(wanted.attrs.get("units", "1")),
        "method": settings.method,
        "fitted_days": " ".join(str(np.datetime64(int(d), "D")) for d in common.days[fitted][[0, -1]]),
        "lower_bound": bounds[0],
        "upper_bound": bounds[1],
        "variable_ranges": json.dumps(_ranges_of(covariates, rows.covariates)),
        "variable_units": json.dumps({name: units_of(source[name]) for name in (str(target.name), *covariates)}),
    }
    return Correction(maps, coords, count, covariates if with_trees else [], booster, about), scores


class _CommonDays(NamedTuple):
    """Days since 1970-01-01 that two cubes have, and their positions in each, (days,) int each."""

    days: np.ndarray
    at_source: np.ndarray
    at_reference: np.ndarray


def _fit_slabs(
    source: xr.Dataset,
    wanted: xr.DataArray,
    covariates: list[str],
    settings: Settings,
    common: _CommonDays,
    folds: Folds,
    bounds: tuple[float, float],
) -> tuple[CellMaps, np.ndarray, Rows | None, np.ndarray]:
    """Fit the maps and draw rows, one slab of rows of the grid after the other.

    Args:
        source: The cube whose target is to be corrected.
        wanted: The reference, (T, rows, columns).
        covariates: Variables of `source`.
        settings: How to fit.
        common: Days that both have.
        folds: Folds of the cross-validation.
        bounds: Smallest and largest mapped value.

    Returns:
        Maps of all cells; common values of each cell, (rows, columns); the drawn rows; and which common days have a
        value that both have, (days,) bool.
    """
    target = target_of(source)
    shape, days = target.shape[1:], common.days
    # rows of a slab that fit into memory
    step = max(1, int(settings.memory_gib * 2**30 / (BYTES * days.size * shape[1])))
    knots, count, fitted, rows = [], np.zeros(shape, np.int32), np.zeros(days.size, bool), None
    for begin in range(0, shape[0], step):
        slab = slice(begin, begin + step)
        x, y = read_values(target[common.at_source, slab]), read_values(wanted[common.at_reference, slab])
        _check_bounds(y, bounds, str(wanted.name))
        both = np.isfinite(x) & np.isfinite(y)
        count[slab] = both.sum(0)
        fitted |= both.any((1, 2))
        maps = settings.maps(x, y, bounds)
        # float32 as in the saved file: a correction gives the same before and after saving
        knots.append((maps.source.astype(np.float32), maps.reference.astype(np.float32)))

        def covariate(name: str, slab: slice = slab) -> np.ndarray:
            variable = source[name]
            return read_values(variable[common.at_source, slab] if "time" in variable.dims else variable[slab])

        drawn = _drawn(
            x,
            y,
            maps,
            first_row=begin,
            folds=folds,
            bounds=bounds,
            settings=settings,
            covariates={name: partial(covariate, name) for name in covariates},
            reservoir=rows,
        )
        rows = drawn if rows is None else rows.joined(drawn, settings.trees.max_rows)
    of_source, of_reference = (np.concatenate(parts) for parts in zip(*knots, strict=True))
    return CellMaps(of_source, of_reference, *bounds), count, rows, fitted


def _common_days(source: xr.Dataset, reference: xr.Dataset, coords: dict[str, np.ndarray]) -> _CommonDays:
    """Return the days that both cubes have; raise CubeError if there are none, or the grids differ."""
    try:
        check_grid(reference, coords, "the source")
    except CubeError as error:
        raise CubeError(f"the reference: {error}") from error
    days, at_source, at_reference = np.intersect1d(days_of(source), days_of(reference), return_indices=True)
    if not days.size:
        spans = [f"{str(c['time'].values[0])[:10]} to {str(c['time'].values[-1])[:10]}" for c in (source, reference)]
        raise CubeError(f"no common day: the source has {spans[0]}, the reference {spans[1]}")
    return _CommonDays(days, at_source, at_reference)


def _check_count(count: np.ndarray, least_values: int) -> None:
    """Raise CubeError if no cell has enough common days, and log how many have too few."""
    mapped = int((count >= least_values).sum())
    if not mapped:
        raise CubeError(f"no cell has {least_values} common days: nothing to fit")
    few = int((count > 0).sum()) - mapped
    if few > 0:
        log.info("without a map, as they have fewer than %d common days: %d cells", least_values, few)


def _fit_trees(rows: Rows, days: np.ndarray, trees: ResidualTrees, total: int) -> bytes:
    """Fit the trees to the residuals of all rows; UBJSON."""
    features = features_of(rows.mapped, rows.covariates, days[rows.day])
    log.info("fitting trees to %d of %d common values, %d features", len(features), total, features.shape[1])
    return bytes(trees.fit(features, rows.reference - rows.mapped).save_raw("ubj"))


def format_table(scores: dict[str, dict[str, float]]) -> str:
    """Return a line of text for each stage, six digits."""
    head = f"{'':12} {'N':>8} {'R':>9} {'RMSE':>9} {'ubRMSE':>9} {'bias':>9}"
    lines = [
        f"{name:12} {s['n']:8.0f} {s['r']:9.6f} {s['rmse']:9.6f} {s['ubrmse']:9.6f} {s['bias']:+9.6f}"
        for name, s in scores.items()
    ]
    return "\n".join([head, *lines])


def _ranges_of(names: list[str], values: np.ndarray) -> dict[str, list[float]]:
    """Return the 1 % and 99 % quantiles of covariates, (N, C), by their names; nothing of one without a value."""
    known = {name: values[np.isfinite(values[:, c]), c] for c, name in enumerate(names)}
    return {name: np.quantile(one, (0.01, 0.99)).tolist() for name, one in known.items() if one.size}


def _check_bounds(values: np.ndarray, bounds: tuple[float, float], name: str) -> None:
    outside = (values < bounds[0]) | (values > bounds[1])
    if outside.any():
        raise CubeError(
            f"the reference '{name}' has {values[outside][0]:g}, expected values from {bounds[0]:g} to {bounds[1]:g}: "
            "its units, or its attributes valid_min and valid_max, set the bounds"
        )


def _drawn(
    x: np.ndarray,
    y: np.ndarray,
    maps: CellMaps,
    *,
    first_row: int,
    folds: Folds,
    bounds: tuple[float, float],
    settings: Settings,
    covariates: Mapping[str, Callable[[], np.ndarray]],
    reservoir: Rows | None,
) -> Rows:
    """Return the values of a slab that may be among those with the smallest random keys of all.

    Args:
        x: Source, (days, rows, columns).
        y: Reference, (days, rows, columns).
        maps: Maps of the slab's cells, fitted to all days.
        first_row: Number of the slab's first row in the grid.
        folds: Folds of the cross-validation.
        bounds: Smallest and largest mapped value.
        settings: How to fit.
        covariates: Name -> reads the covariate for the slab.
        reservoir: The rows drawn before.
    """
    options = settings.trees
    # once the reservoir is full, only keys below its largest one can still enter
    full = reservoir is not None and reservoir.key.size >= options.max_rows
    limit = float(reservoir.key.max()) if reservoir is not None and full else 1.0
    keys, places = [], []
    for row in range(x.shape[1]):
        # every row of the grid has its own random stream, so the draw does not depend on the slabs
        day, column = np.nonzero(np.isfinite(x[:, row]) & np.isfinite(y[:, row]))
        key = np.random.default_rng([options.seed, Stream.CORRECTION_ROWS, first_row + row]).random(day.size)
        low = key < limit
        keys.append(key[low])
        places.append(np.stack([day[low], np.full(int(low.sum()), row), column[low]]))
    key, place = np.concatenate(keys), np.concatenate(places, 1)
    order = np.argsort(key, kind="stable")[: options.max_rows]
    at = tuple(place[:, order])

    def mapped_by(fitted: CellMaps) -> np.ndarray:
        return fitted.apply(x.reshape(len(x), -1)).reshape(x.shape)[at]

    # maps of each fold, fitted without its days: for scores that are not in-sample
    held_out = []
    for days in folds.fitted:
        held_out.append(mapped_by(settings.maps(x[days], y[days], bounds)))
    names = list(covariates) if settings.method == "cdf_xgboost" else []
    values = [picked([covariates[name]()], *at)[:, 0] for name in names]
    rows = Rows(
        key=key[order],
        day=at[0],
        source=x[at],
        reference=y[at],
        covariates=np.stack(values, 1) if values else np.empty((order.size, 0), np.float32),
        mapped=mapped_by(maps),
        held_out=np.stack(held_out, 1),
    )
    # cells with too few common days have no map
    has_map = np.isfinite(rows.mapped)
    return Rows(**{n: v[has_map] for n, v in vars(rows).items()})
