"""Figures of a filled Dataset: the maps of a day, and the time series of a cell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sgdsm.core.arguments import fits, shown
from sgdsm.core.cube import space_dims
from sgdsm.core.errors import CubeError
from sgdsm.core.filled import GAP_AGE, LAND, SM_FILLED, SM_STD, maps_of, observed_of
from sgdsm.core.region import part_of
from sgdsm.report.figures import draw_series
from sgdsm.report.maps import colour_bar, draw_map, extent_of, limits, map_key, name_axes
from sgdsm.report.style import subplots

COLUMNS = 2
MOST_ROWS = 4  # of a series
TITLES = {
    "observed": "observed",
    SM_FILLED: "filled",
    SM_STD: "standard deviation in the gaps",
    GAP_AGE: "age of the gap",
}
LABELS = {SM_STD: "standard deviation", GAP_AGE: "age"}


def filled_day(dataset: xr.Dataset, day: str | date | np.datetime64, observed: str | None = None) -> Figure:
    """Draw a day of a filled Dataset: observed values, filled values, their uncertainty, and the age of the gaps.

    Args:
        dataset: As `fill` returns it.
        day: Like '2015-05-05'.
        observed: Name of the variable with the observed values, see `sgdsm.core.filled.observed_of`.

    Returns:
        The Figure, not saved.

    Raises:
        CubeError: If the Dataset is not a filled one, or does not have the day.
    """
    filled = maps_of(dataset)
    seen, units = observed_of(dataset, observed), filled.attrs.get("units", "1")
    others = [n for n in TITLES if n != "observed" and n in dataset and set(dataset[n].dims) == set(filled.dims)]
    maps = {"observed": seen, **{name: dataset[name] for name in others}}
    index = _index_of(filled["time"].values, day)
    rows, columns = space_dims(filled)
    # the axes may have been turned or sorted by the user
    one = xr.Dataset(maps).isel(time=index).transpose(rows, columns).sortby(rows, ascending=False).sortby(columns)
    land = dataset[LAND].reindex_like(one).transpose(rows, columns).values.astype(bool) if LAND in dataset else None
    extent, aspect = extent_of(one)
    height = -(-len(one) // COLUMNS)
    figure, axes = subplots(
        height, COLUMNS, figsize=(11, 3.5 * height), layout="compressed", sharex=True, sharey=True, squeeze=False
    )
    for axis, (name, colours) in zip(axes.flat, _colours(one).items(), strict=False):
        image = draw_map(axis, one[name].values, extent, aspect, land, **colours)
        axis.set_title(TITLES[name])
        ticks = MaxNLocator(integer=True) if name == GAP_AGE else None
        unit = "days" if name == GAP_AGE else units
        colour_bar(image, axis, f"{LABELS.get(name, seen.name)} [{unit}]", shrink=0.9, ticks=ticks)
    for axis in axes.flat[len(one) :]:
        axis.set_axis_off()
    name_axes(one, axes[-1, :], axes[:, 0])
    map_key(figure, land is not None and not land.all())
    figure.suptitle(f"{seen.name}, {str(filled['time'].values[index])[:10]}")
    return figure


def filled_series(
    dataset: xr.Dataset, place: Mapping[str, float], observed: str | None = None, time: str | slice | None = None
) -> Figure:
    """Draw observed and filled values of the cell nearest to a place, with gaps shaded.

    Args:
        dataset: As `fill` returns it.
        place: {'lat': 45, 'lon': -120} in degrees (longitudes of -180..180 or 0..360), or y and x in metres.
        observed: Name of the variable with the observed values, see `sgdsm.core.filled.observed_of`.
        time: First and last day, like '2015-06-01:2015-06-30' or slice('2015-06-01', '2015-06-30').

    Returns:
        The Figure, not saved.

    Raises:
        CubeError: If the Dataset is not a filled one, if the place lies outside of it, lacks a coordinate or is no
            land, or if `time` holds no day.
        ConfigError: If `time` is no period.
    """
    maps_of(dataset)
    dataset = part_of(dataset, SM_FILLED, time)
    filled = dataset[SM_FILLED]
    seen, units = observed_of(dataset, observed), filled.attrs.get("units", "1")
    at = _cell_of(filled, place)
    _check_land(dataset, at)
    cell = dataset.isel(at)
    times, values = cell["time"].values, seen.isel(at).values
    # a row for each year, or for more where there are many: in one row days would lie on each other
    rows = int(np.clip(np.ceil((times[-1] - times[0]) / np.timedelta64(367, "D")), 1, MOST_ROWS))
    edges = times[0] + (times[-1] - times[0]) / rows * np.arange(1, rows)
    parts = [part for part in np.split(np.arange(len(times)), np.searchsorted(times, edges)) if len(part)]
    figure, axes = subplots(
        len(parts), 1, figsize=(11, 1 + 2 * len(parts)), layout="constrained", sharey=True, squeeze=False
    )
    for axis, days in zip(axes[:, 0], parts, strict=True):
        draw_series(axis, cell.isel(time=days), times[days], values[days], slice(None))
        axis.set_ylabel(f"{seen.name} [{units}]")
        axis.margins(x=0.01)
        axis.set_title(f"{str(times[days[0]])[:10]} to {str(times[days[-1]])[:10]}", fontsize=9, loc="right")
    # beside the values, not over them
    drawn = [axis.get_legend_handles_labels() for axis in axes[:, 0]]
    entries = {label: handle for one in drawn for handle, label in zip(*one, strict=True)}
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    axes[0, 0].set_title(", ".join(f"{d} {float(cell[d]):.2f}" for d in place), fontsize=9, loc="left")
    return figure


def _colours(one: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return the colour map and limits of each map; maps of soil moisture have the same."""
    low, high = limits(one["sm_filled"].values)
    water = {"vmin": low, "vmax": high, "cmap": "YlGnBu"}
    colours = {"observed": water, "sm_filled": water}
    if "sm_std" in one:
        colours["sm_std"] = {"vmin": 0, "vmax": limits(one["sm_std"].values)[1], "cmap": "magma_r"}
    if "gap_age" in one:
        oldest = max(1.0, float(np.nanmax(one["gap_age"].values, initial=0)))
        colours["gap_age"] = {"vmin": 0, "vmax": oldest, "cmap": "magma_r"}
    return colours


def _index_of(times: np.ndarray, day: Any) -> int:
    """Return the index of a day among the times; raise CubeError if it is not there, or not a day."""
    try:
        given = np.asarray(day, "datetime64") if isinstance(day, str | date) else np.asarray(day)
    except ValueError:
        given = np.asarray(None)
    # months and years are times of numpy too, but not days
    if given.ndim or given.dtype.kind != "M" or np.isnat(given) or np.datetime_data(given.dtype)[0] in "YMW":
        raise CubeError(f"day={shown(day)}: expected a day like '2015-05-05'")
    days, wanted = times.astype("datetime64[D]"), given.astype("datetime64[D]")
    index = np.flatnonzero(days == wanted)
    if not index.size:
        nearest = days[abs(days - wanted).argmin()]
        raise CubeError(
            f"day={wanted}: not in the Dataset, which has {days.min()} to {days.max()}; the nearest is {nearest}"
        )
    return int(index[0])


def _cell_of(filled: xr.DataArray, place: Mapping[str, Any]) -> dict[str, int]:
    """Return the indices of the cell nearest to a place; raise CubeError if it lies outside or lacks a coordinate."""
    dims = space_dims(filled)
    if set(place) != set(dims):
        found = ", ".join(f"{dim}=" for dim in place) or "none"
        raise CubeError(f"place: expected {dims[0]}= and {dims[1]}=, found {found}")
    at = {}
    for dim, value in place.items():
        if not fits(value, float):
            raise CubeError(f"{dim}={shown(value)}: expected a finite number")
        values = filled[dim].values
        # a place up to a cell beyond the outermost centres still has a nearest cell
        reach = abs(values[-1] - values[0]) / max(1, len(values) - 1) or 1.0
        near = float(value)
        if dim == "lon" and -360 <= near <= 720:
            # of the two ways to count longitudes the one that lies in, or nearest to, the grid
            turns = near + 360.0 * np.arange(-3, 4)
            near = float(turns[np.abs(turns - (values.min() + values.max()) / 2).argmin()])
        if not values.min() - reach <= near <= values.max() + reach:
            raise CubeError(f"{dim}={float(value):g} lies outside the Dataset ({values.min():g} to {values.max():g})")
        at[dim] = int(np.lexsort((-values, abs(values - near)))[0])  # of two as near the larger
    return at


def _check_land(dataset: xr.Dataset, at: dict[str, int]) -> None:
    """Raise CubeError, which names the nearest cell of land, unless a cell is land."""
    if LAND not in dataset or set(dataset[LAND].dims) != set(at) or bool(dataset[LAND].isel(at).values):
        return
    rows, columns = at
    land = dataset[LAND].transpose(rows, columns).values.astype(bool)
    here = {dim: float(dataset[dim].values[k]) for dim, k in at.items()}
    words = f"{', '.join(f'{dim}={value:g}' for dim, value in here.items())} is not land"
    if land.any():
        shrink = np.cos(np.deg2rad(here["lat"])) if "lat" in here else 1.0
        near = [dataset[dim].values[k] for dim, k in zip((rows, columns), np.nonzero(land), strict=True)]
        scale = [shrink if dim == "lon" else 1.0 for dim in (rows, columns)]
        apart = sum((s * (v - here[d])) ** 2 for s, v, d in zip(scale, near, (rows, columns), strict=True))
        found = int(np.argmin(apart))
        words += f"; the nearest land is at {rows}={near[0][found]:g}, {columns}={near[1][found]:g}"
    raise CubeError(words)
