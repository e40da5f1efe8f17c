"""Fits a correction to two cubes on one grid, some rows at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from sgdsm.core.cube import ConfigError, CubeError, log, target_of
from sgdsm.core.matching import units_of
from sgdsm.core.specification import build, check_spec
from sgdsm.core.validation import read_values
from sgdsm.preprocessing.bias_correction.cdf import fit_cdf
from sgdsm.preprocessing.bias_correction.correction import Correction, check_grid, correction_of, days_of, picked
from sgdsm.preprocessing.bias_correction.maps import CellMaps, bounds_of
from sgdsm.preprocessing.bias_correction.moments import fit_moments
from sgdsm.preprocessing.bias_correction.residual_trees import (
    CHOSEN,
    Folds,
    ResidualTrees,
    Rows,
    cross_validated,
    features_of,
    folds_of,
)

BYTES = 100  # of memory for a value of a slab, measured: both sensors, the order they are drawn in, their maps
METHODS = ("cdf", "moments", "cdf_xgboost")
Method = Literal["cdf", "moments", "cdf_xgboost"]


@dataclass
class Settings:
    """How to fit: see `fit_cdf`, `fit_moments`, `ResidualTrees`. memory_gib: for one slab of rows."""

    method: Method
    trees: ResidualTrees
    bins: int = 100
    values_per_bin: int = 20
    least_values: int = 20
    memory_gib: float = 1.0

    def maps(self, source: np.ndarray, reference: np.ndarray, bounds: tuple[float, float]) -> CellMaps:
        """Maps of the method. source, reference: (days, rows, columns)."""
        x, y = (v.reshape(len(v), -1) for v in (source, reference))
        if self.method == "moments":
            return fit_moments(x, y, self.least_values, bounds)
        return fit_cdf(x, y, self.bins, self.values_per_bin, self.least_values, bounds)


def settings_of(config: Mapping[str, Any]) -> Settings:
    """The settings of `correct fit`, whatever its files hold; ConfigError where they cannot work."""
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
    """First and last day of `START:END`, None for an open end; ConfigError for anything else."""
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
    """The correction of one cube's target towards another's, fitted to the days that both have, and its scores in
    cross-validation (`cross_validated`).

    covariates: variables of `source`, for the trees alone.

    Raises CubeError where the grids differ, no day is common, the reference leaves its bounds (a value below 0 is no
    moisture), or no cell has enough values.
    """
    target, wanted = target_of(source), target_of(reference)
    coords = {str(dim): source[dim].values for dim in target.dims[1:]}
    try:
        check_grid(reference, coords, "the source")
    except CubeError as error:
        raise CubeError(f"the reference: {error}") from error
    days, at_source, at_reference = np.intersect1d(days_of(source), days_of(reference), return_indices=True)
    if not days.size:
        spans = [f"{str(c['time'].values[0])[:10]} to {str(c['time'].values[-1])[:10]}" for c in (source, reference)]
        raise CubeError(f"no common day: the source has {spans[0]}, the reference {spans[1]}")
    bounds = bounds_of(wanted.attrs)
    folds = folds_of(days, settings.trees)
    shape = target.shape[1:]
    step = max(1, int(settings.memory_gib * 2**30 / (BYTES * days.size * shape[1])))
    knots, count, common, rows = [], np.zeros(shape, np.int32), np.zeros(days.size, bool), None
    for begin in range(0, shape[0], step):
        slab = slice(begin, begin + step)
        x, y = read_values(target[at_source, slab]), read_values(wanted[at_reference, slab])
        _check_bounds(y, bounds, str(wanted.name))
        both = np.isfinite(x) & np.isfinite(y)
        count[slab] = both.sum(0)
        common |= both.any((1, 2))
        maps = settings.maps(x, y, bounds)
        knots.append((maps.source.astype(np.float32), maps.reference.astype(np.float32)))

        def covariate(name: str, slab: slice = slab) -> np.ndarray:
            variable = source[name]
            return read_values(variable[at_source, slab] if "time" in variable.dims else variable[slab])

        drawn = _drawn(x, y, begin, maps, folds, bounds, settings, covariates, covariate, rows)
        rows = drawn if rows is None else rows.joined(drawn, settings.trees.max_rows)
    mapped = int((count >= settings.least_values).sum())
    if not mapped or rows is None or not rows.key.size:
        raise CubeError(f"no cell has {settings.least_values} common days: nothing to fit")
    if mapped < (count > 0).sum():
        few = int((count > 0).sum()) - mapped
        log.info("without a map, as they have fewer than %d common days: %d cells", settings.least_values, few)
    trees = settings.method == "cdf_xgboost"
    scores = cross_validated(rows, folds, days, settings.trees, trees, bounds)
    booster = b""
    if trees:
        features = features_of(rows.mapped, rows.covariates, days[rows.day])
        log.info(
            "fitting trees to %d of %d common values, %d features", *features.shape[:1], count.sum(), features.shape[1]
        )
        booster = bytes(settings.trees.fit(features, rows.reference - rows.mapped).save_raw("ubj"))
    of_source, of_reference = (np.concatenate(parts) for parts in zip(*knots, strict=True))
    whole = CellMaps(of_source, of_reference, *bounds)
    about = {
        "source_variable": str(target.name),
        "source_units": str(target.attrs.get("units", "1")),
        "source_correction": correction_of(target),
        "reference_variable": str(wanted.name),
        "reference_units": str(wanted.attrs.get("units", "1")),
        "method": settings.method,
        "fitted_days": " ".join(str(np.datetime64(int(d), "D")) for d in days[common][[0, -1]]),
        "lower_bound": bounds[0],
        "upper_bound": bounds[1],
        "variable_ranges": json.dumps(_ranges_of(covariates, rows.covariates)),
        "variable_units": json.dumps({name: units_of(source[name]) for name in (str(target.name), *covariates)}),
    }
    return Correction(whole, coords, count, covariates if trees else [], booster, about), scores


def format_table(scores: dict[str, dict[str, float]]) -> str:
    """A line for each stage, six digits."""
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
            "its units, or its attributes valid_min and valid_max, tell the bounds"
        )


def _drawn(
    x: np.ndarray,
    y: np.ndarray,
    begin: int,
    maps: CellMaps,
    folds: Folds,
    bounds: tuple[float, float],
    settings: Settings,
    covariates: list[str],
    covariate: Callable[[str], np.ndarray],
    kept: Rows | None,
) -> Rows:
    """The values of a slab, (days, rows, columns), that may be among those with the smallest keys of all."""
    options = settings.trees
    full = kept is not None and kept.key.size >= options.max_rows
    limit = float(kept.key.max()) if kept is not None and full else 1.0
    keys, places = [], []
    for row in range(x.shape[1]):
        # a row has random numbers of its own: the draw does not depend on the slabs
        day, column = np.nonzero(np.isfinite(x[:, row]) & np.isfinite(y[:, row]))
        key = np.random.default_rng([options.seed, CHOSEN, begin + row]).random(day.size)
        low = key < limit
        keys.append(key[low])
        places.append(np.stack([day[low], np.full(int(low.sum()), row), column[low]]))
    key, place = np.concatenate(keys), np.concatenate(places, 1)
    order = np.argsort(key, kind="stable")[: options.max_rows]
    at = tuple(place[:, order])

    def mapped_by(fitted: CellMaps) -> np.ndarray:
        return fitted.apply(x.reshape(len(x), -1)).reshape(x.shape)[at]

    held_out = []
    for days in folds.fitted:
        held_out.append(mapped_by(settings.maps(x[days], y[days], bounds)))
    names = covariates if settings.method == "cdf_xgboost" else []
    values = [picked([covariate(name)], *at)[:, 0] for name in names]
    rows = Rows(
        key=key[order],
        day=at[0],
        source=x[at],
        reference=y[at],
        covariates=np.stack(values, 1) if values else np.empty((order.size, 0), np.float32),
        mapped=mapped_by(maps),
        held_out=np.stack(held_out, 1),
    )
    has_map = np.isfinite(rows.mapped)
    return Rows(**{n: v[has_map] for n, v in vars(rows).items()})
