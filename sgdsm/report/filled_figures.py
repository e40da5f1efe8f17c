"""Pictures of a filled Dataset: the maps of a day, and the series of a cell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sgdsm.core.arguments import fits, shown
from sgdsm.core.cube import CubeError, space_dims
from sgdsm.core.filled import GAP_AGE, SM_FILLED, SM_STD, maps_of, observed_of
from sgdsm.report.figures import STATES, draw_series, extent_of, name_axes
from sgdsm.report.style import subplots

COLUMNS = 2
TITLES = {
    "observed": "observed",
    SM_FILLED: "filled",
    SM_STD: "standard deviation in the gaps",
    GAP_AGE: "age of the gap",
}


def filled_day(dataset: xr.Dataset, day: str | date | np.datetime64, observed: str | None = None) -> Figure:
    """What was observed on a day of a filled Dataset, what was filled, its uncertainty, and the age of the gaps.

    day: like '2015-05-05'. observed: see `sgdsm.core.filled.observed_of`.

    Raises CubeError where the Dataset is no filled one, and where it does not hold the day.
    """
    filled = maps_of(dataset)
    seen, units = observed_of(dataset, observed), filled.attrs.get("units", "1")
    shown_too = [n for n in TITLES if n != "observed" and n in dataset and set(dataset[n].dims) == set(filled.dims)]
    found = {"observed": seen, **{name: dataset[name] for name in shown_too}}
    index = _index_of(filled["time"].values, day)
    rows, columns = space_dims(filled)
    # a user may have turned them
    one = xr.Dataset(found).isel(time=index).transpose(rows, columns).sortby(rows, ascending=False).sortby(columns)
    extent, aspect = extent_of(one)
    height = -(-len(one) // COLUMNS)
    figure, axes = subplots(
        height, COLUMNS, figsize=(11, 3.5 * height), layout="compressed", sharex=True, sharey=True, squeeze=False
    )
    for axis, (name, colours) in zip(axes.flat, _colours(one).items(), strict=False):
        image = axis.imshow(one[name].values, extent=extent, aspect=aspect, **colours)
        axis.set_title(TITLES[name])
        axis.set_facecolor(STATES["sea"])
        ticks = MaxNLocator(integer=True) if name == GAP_AGE else None
        figure.colorbar(image, ax=axis, shrink=0.9, label="days" if name == GAP_AGE else units, ticks=ticks)
    for axis in axes.flat[len(one) :]:
        axis.set_axis_off()
    name_axes(one, axes[-1, :], axes[:, 0])
    figure.suptitle(f"{seen.name}, {str(filled['time'].values[index])[:10]}")
    return figure


def filled_series(dataset: xr.Dataset, place: Mapping[str, float], observed: str | None = None) -> Figure:
    """Observed and filled values of the cell nearest to a place, gaps shaded.

    place: {'lat': 45, 'lon': -120}, or y and x in metres. observed: see `sgdsm.core.filled.observed_of`.

    Raises CubeError where the Dataset is no filled one, and for a place that lies outside or is not given whole.
    """
    filled = maps_of(dataset)
    seen, units = observed_of(dataset, observed), filled.attrs.get("units", "1")
    at = _cell_of(filled, place)
    cell = dataset.isel(at)
    figure, axis = subplots(figsize=(11, 3), layout="constrained")
    draw_series(axis, cell, cell["time"].values, seen.isel(at).values, slice(None))
    axis.set_ylabel(f"{seen.name} [{units}]")
    axis.legend(ncols=3, fontsize=8)
    axis.set_title(", ".join(f"{d} {float(cell[d]):.2f}" for d in place), fontsize=9, loc="left")
    return figure


def _colours(one: xr.Dataset) -> dict[str, dict[str, Any]]:
    """How the values of each map are coloured: those of soil moisture alike."""
    values = one[SM_FILLED].values
    low, high = np.nanquantile(values, [0.01, 0.99]) if np.isfinite(values).any() else (0.0, 1.0)
    water = {"vmin": low, "vmax": high, "cmap": "YlGnBu"}
    found = {"observed": water, SM_FILLED: water}
    if SM_STD in one:
        found[SM_STD] = {"vmin": 0, "vmax": None, "cmap": "magma_r"}
    if GAP_AGE in one:
        oldest = max(1.0, float(np.nanmax(one[GAP_AGE].values, initial=0)))
        found[GAP_AGE] = {"vmin": 0, "vmax": oldest, "cmap": "magma_r"}
    return found


def _index_of(times: np.ndarray, day: Any) -> int:
    """Where a day is among the times; CubeError where it is not there, or no day."""
    try:
        found = np.asarray(day, "datetime64") if isinstance(day, str | date) else np.asarray(day)
    except ValueError:
        found = np.asarray(None)
    if found.ndim or found.dtype.kind != "M" or np.isnat(found) or np.datetime_data(found.dtype)[0] in "YMW":
        raise CubeError(f"day={shown(day)}: expected a day like '2015-05-05'")
    days, wanted = times.astype("datetime64[D]"), found.astype("datetime64[D]")
    index = np.flatnonzero(days == wanted)
    if not index.size:
        nearest = days[abs(days - wanted).argmin()]
        raise CubeError(
            f"day={wanted}: not in the Dataset, which has {days.min()} to {days.max()}; the nearest is {nearest}"
        )
    return int(index[0])


def _cell_of(filled: xr.DataArray, place: Mapping[str, Any]) -> dict[str, int]:
    """Indices of the cell nearest to a place; CubeError where it lies outside, or is not given whole."""
    dims = space_dims(filled)
    if set(place) != set(dims):
        found = ", ".join(f"{dim}=" for dim in place) or "none"
        raise CubeError(f"place: expected {dims[0]}= and {dims[1]}=, found {found}")
    at = {}
    for dim, value in place.items():
        if not fits(value, float):
            raise CubeError(f"{dim}={shown(value)}: expected a finite number")
        values = filled[dim].values
        reach = abs(values[-1] - values[0]) / max(1, len(values) - 1) or 1.0
        if not values.min() - reach <= value <= values.max() + reach:
            raise CubeError(f"{dim}={float(value):g} lies outside the Dataset ({values.min():g} to {values.max():g})")
        at[dim] = int(np.lexsort((-values, abs(values - value)))[0])  # of two as near the larger
    return at
