"""Estimate root-zone soil moisture from that of the surface, by an exponential filter that goes on from day to day."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.cli.commands.trends import file_and_variable
from sgdsm.core.axes import SPACE_DIMS
from sgdsm.core.cube import open_dataset, time_chunks
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import SM_FILLED
from sgdsm.core.io.hdf5 import NetcdfWriter, with_places
from sgdsm.core.io.stores import check_no_input, local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.logging import log
from sgdsm.core.matching import in_units_of, units_of
from sgdsm.core.settings import setting
from sgdsm.core.validation import read_values
from sgdsm.evaluation.exponential_filter import ExponentialFilter, fitted_days
from sgdsm.evaluation.scored_files import ScoredFile, aligned
from sgdsm.inference.schema import coordinate, places
from sgdsm.report.maps import land_of
from sgdsm.report.rootzone_figures import rootzone_figure

USAGE = "filled=FILE output=FILE.nc time_constant=DAYS | deeper=FILE:VARIABLE | state=FILE"
NOTE = "a figure is written beside the output; state= goes on with the days after those of an earlier output"
STATE = ("state_value", "state_weight", "time_constant")
SURFACE = "surface_variable"  # attribute of rootzone
NAN = np.float32(np.nan)
WRITTEN = 2**22  # values at once
FITTED = 2**18  # cells at once, of about 5 kB each


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The file, the time constant, and what the filter goes on from."""

    filled: str = setting(help="what predict has written, or another file of surface soil moisture", path=True)
    output: str = setting(help="FILE.nc", path=True)
    variable: str = setting(SM_FILLED, "of filled=; it may have gaps")
    time_constant: float | None = setting(None, "of the filter, days: about 20 for a metre")
    deeper: str | None = setting(
        None, "FILE:VARIABLE, soil moisture of a deeper layer; the time constant is fitted to it"
    )
    least_values: int = setting(100, "of deeper= in a cell; others take the median time constant")
    state: str | None = setting(None, "an earlier output of this command, to go on from its last day", path=True)
    least_share: float = setting(0.2, "of the weights of all days before, that those with a value need")

    def __post_init__(self) -> None:
        local_only("output", self.output)
        if Path(self.output).suffix != ".nc":
            raise ConfigError(f"output={self.output}: expected a name that ends in .nc")
        given = [n for n in ("time_constant", "deeper", "state") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ConfigError(f"{' and '.join(given) or 'nothing'} given: expected one of time_constant, deeper, state")
        deeper = file_and_variable("deeper", self.deeper)
        check_no_input(self.output, (self.filled, self.state, None if deeper is None else deeper[0]))


def run(settings: Settings) -> None:
    """Filter the maps, write them with the state, and draw a cell."""
    output = Path(settings.output)
    with ExitStack() as stack:

        def opened(path: str) -> ScoredFile:
            return ScoredFile(stack.enter_context(open_dataset(path)), path)

        file = opened(settings.filled)
        maps = _maps(file, settings.variable)
        place = maps.isel(time=0, drop=True)
        named = file_and_variable("deeper", settings.deeper)
        deeper = None if named is None else opened(named[0]).variable(named[1])
        if settings.state is not None:
            one, maps = _from_state(opened(settings.state), maps, place, settings.variable)
        elif deeper is None:
            one = ExponentialFilter.new(float(settings.time_constant or 0), place.shape)
        else:
            one = ExponentialFilter.new(_fitted(settings, maps, deeper), place.shape)
        with exclusive(output):
            _write(settings, file, maps, one)
        print(f"root zone: {output}")
        print(f"figure: {rootzone_figure(output, maps, land_of(file.dataset, maps), deeper)}")


def _maps(file: ScoredFile, name: str) -> xr.DataArray:
    maps = file.variable(name)
    space = next((s for s in SPACE_DIMS if set(s) < set(maps.dims)), None)
    if space is None or set(maps.dims) != {"time", *space} or not maps.size:
        raise CubeError(f"{file.name}: '{name}' has dims {dict(maps.sizes)}, expected time and lat, lon (or y, x)")
    return maps.transpose("time", *space)


def _days(maps: xr.DataArray) -> np.ndarray:
    return np.asarray(maps["time"].values.astype("datetime64[D]"))


def _by_day(maps: xr.DataArray) -> Iterator[tuple[np.datetime64, np.ndarray]]:
    """Yield day and map, (H, W) float64."""
    days = _days(maps)
    for some in time_chunks(maps):
        yield from zip(days[some], read_values(maps[some]).astype(np.float64), strict=True)


def _from_state(
    file: ScoredFile, maps: xr.DataArray, place: xr.DataArray, variable: str
) -> tuple[ExponentialFilter, xr.DataArray]:
    """Return the filter of an earlier output, and the maps after its last day, in its units."""
    value, weight, constant = (aligned(file.variable(name), place, file.name).values for name in STATE)
    before = file.variable("rootzone")
    if before.attrs.get(SURFACE, variable) != variable:
        raise ConfigError(
            f"state={file.name} is of the variable '{before.attrs[SURFACE]}', not of variable={variable}: expected one "
            "variable"
        )
    maps = in_units_of(maps.to_dataset(name=variable), {variable: units_of(before)}, "the state")[variable]
    last = _days(before)[-1]
    later = maps[_days(maps) > last]
    if not len(later):
        raise ConfigError(f"state={file.name} is of {last}: the maps end on {_days(maps)[-1]}, expected later ones")
    return ExponentialFilter(constant, value, weight, last), later


def _pairs(
    maps: xr.DataArray, below: xr.DataArray, there: np.ndarray
) -> Iterator[tuple[np.datetime64, np.ndarray, np.ndarray]]:
    """Yield day, map and map of the deeper layer, which has some of the days, (T,) bool."""
    deeper, none = _by_day(below), np.full(maps.shape[1:], np.nan)
    for (day, values), has in zip(_by_day(maps), there, strict=True):
        yield day, values, next(deeper)[1] if has else none


def _fitted(settings: Settings, maps: xr.DataArray, deeper: xr.DataArray) -> np.ndarray:
    """Return the time constant of each cell, and print what was found."""
    path = str(settings.deeper).rpartition(":")[0]
    days, there = _days(maps), np.isin(_days(maps), deeper["time"].values.astype("datetime64[D]"))
    if not there.any():
        raise CubeError(f"deeper={settings.deeper}: has none of the days {days[0]} to {days[-1]}")
    below, rows = aligned(deeper.transpose(*maps.dims), maps[there], path), max(1, FITTED // maps.shape[2])
    bands = [slice(begin, begin + rows) for begin in range(0, maps.shape[1], rows)]
    parts = [fitted_days(_pairs(maps[:, band], below[:, band], there), settings.least_values) for band in bands]
    found, correlation = (np.concatenate(part) for part in zip(*parts, strict=True))
    known = np.isfinite(found)
    if not known.any():
        raise CubeError(
            f"deeper={settings.deeper}: no cell has {settings.least_values} days with a value beside the surface: "
            "give more days, or a smaller least_values="
        )
    median, low, high = (float(np.nanquantile(found, q)) for q in (0.5, 0.1, 0.9))
    print(
        f"time constant: {median:g} days (median of {known.sum()} cells, {low:g} to {high:g} in 80 % of them), "
        f"correlation with the deeper layer {np.nanmedian(correlation):.3f}"
    )
    return np.where(known, found, median)


def _write(settings: Settings, file: ScoredFile, maps: xr.DataArray, one: ExponentialFilter) -> None:
    output, dims = Path(settings.output), tuple(str(d) for d in maps.dims)
    written = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    dataset = maps.to_dataset(name="rootzone")
    fixed = places(dataset, dims)
    coords = {dim: coordinate(dataset, dim) for dim in dims}
    variables = with_places(_variables(dims, maps, settings), fixed)
    attributes = {
        "Conventions": "CF-1.10",
        "title": "root-zone soil moisture by an exponential filter of that of the surface",
        "source": f"{settings.filled} ({file.dataset.attrs.get('source', 'unknown')})",
        "history": f"{written} sgdsm rootzone of {settings.variable}"
        + (f", going on from {settings.state}" if settings.state else "")
        + (f", time constant fitted to {settings.deeper}" if settings.deeper else ""),
    }
    partial = Path(f"{output}.partial")
    try:
        writer = NetcdfWriter(partial, coords, variables, attributes)
        for name, (_, values, _) in fixed.items():
            writer.write(name, values, (slice(None),) * values.ndim)
        days, count = _days(maps), 0
        for some in time_chunks(maps, WRITTEN):
            values = read_values(maps[some]).astype(np.float64)
            found, share = np.empty_like(values), np.empty_like(values)
            for k, day in enumerate(days[some]):
                found[k], share[k] = one.step(day, values[k]), one.share
            found[share < settings.least_share] = np.nan
            count += int(np.isfinite(found).sum())
            for name, part in (("rootzone", found), ("rootzone_share", share)):
                writer.write(name, part.astype(np.float32), (some, slice(None), slice(None)))
        constant = np.broadcast_to(one.days, one.value.shape)
        for name, state in zip(STATE, (one.value, one.weight, constant), strict=True):
            writer.write(name, state, (slice(None), slice(None)))
        writer.close()
        partial.replace(output)
        if not count:
            log.warning(
                "%s: no cell has a value of the root zone: days before the first one count as missing, and "
                "least_share=%g of the weights must have a value: give more days",
                output, settings.least_share,
            )  # fmt: skip
    finally:
        partial.unlink(missing_ok=True)


def _variables(dims: tuple[str, ...], maps: xr.DataArray, settings: Settings) -> dict[str, Any]:
    """Return dims, type and attributes of each variable."""
    units = {"units": str(maps.attrs.get("units", "1"))}
    rootzone = {
        "_FillValue": NAN,
        **units,
        "long_name": "soil moisture of the root zone",
        "comment": f"exponential filter; missing where rootzone_share is below {settings.least_share:g}",
        SURFACE: settings.variable,
        "ancillary_variables": "rootzone_share",
    }
    share = {
        "_FillValue": NAN,
        "units": "1",
        "long_name": "weights of the days before that have a value, over those of all days",
    }
    none = {"_FillValue": np.nan}
    variables = {
        "rootzone": (dims, np.float32, rootzone),
        "rootzone_share": (dims, np.float32, share),
        "state_value": (dims[1:], np.float64, {**none, **units, "long_name": "root zone after the last day"}),
        "state_weight": (
            dims[1:],
            np.float64,
            {**none, "units": "1", "long_name": "sum of weights after the last day"},
        ),
        "time_constant": (dims[1:], np.float64, {**none, "units": "days", "long_name": "time constant of the filter"}),
    }
    mapping = {k: v for k, v in maps.attrs.items() if k == "grid_mapping"}
    return {name: (own, kind, {**about, **mapping}) for name, (own, kind, about) in variables.items()}
