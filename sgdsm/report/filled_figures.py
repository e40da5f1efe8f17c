"""Figures of a filled Dataset: the maps of a day, and the time series of a cell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from sgdsm.core.arguments import fits, shown
from sgdsm.core.cube import space_dims
from sgdsm.core.errors import CubeError
from sgdsm.core.filled import GAP_AGE, LAND, SM_FILLED, SM_STD, maps_of, observed_of
from sgdsm.core.region import part_of
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
        image = axis.imshow(one[name].values, extent=extent, aspect=aspect, **colours)
        axis.set_title(TITLES[name])
        axis.set_facecolor(STATES["sea"])
        if land is not None:
            # land without a value looks unlike the sea
            below = np.where(land, 1.0, np.nan)
            axis.imshow(below, extent=extent, aspect=aspect, cmap=ListedColormap([STATES["gap"]]), zorder=-1)
        ticks = MaxNLocator(integer=True) if name == GAP_AGE else None
        figure.colorbar(image, ax=axis, shrink=0.9, label="days" if name == GAP_AGE else units, ticks=ticks)
    for axis in axes.flat[len(one) :]:
        axis.set_axis_off()
    name_axes(one, axes[-1, :], axes[:, 0])
    if land is not None:
        patches = [Patch(color=STATES["gap"], label="no value"), Patch(color=STATES["sea"], label="no land")]
        figure.legend(handles=patches, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
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
    figure, axis = subplots(figsize=(11, 3), layout="constrained")
    draw_series(axis, cell, cell["time"].values, seen.isel(at).values, slice(None))
    axis.set_ylabel(f"{seen.name} [{units}]")
    # beside the values, not over them
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    axis.set_title(", ".join(f"{d} {float(cell[d]):.2f}" for d in place), fontsize=9, loc="left")
    return figure


def _colours(one: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return the colour map and limits of each map; maps of soil moisture have the same."""
    values = one["sm_filled"].values
    low, high = np.nanquantile(values, [0.01, 0.99]) if np.isfinite(values).any() else (0.0, 1.0)
    water = {"vmin": low, "vmax": high, "cmap": "YlGnBu"}
    colours = {"observed": water, "sm_filled": water}
    if "sm_std" in one:
        colours["sm_std"] = {"vmin": 0, "vmax": None, "cmap": "magma_r"}
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
