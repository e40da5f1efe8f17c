"""Hovmoeller diagrams of a filled Dataset: means along parallels or meridians, day by day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from sgdsm.core.arguments import checked
from sgdsm.core.cube import space_dims, time_chunks
from sgdsm.core.errors import CubeError
from sgdsm.core.filled import maps_of, observed_of
from sgdsm.core.region import check_bbox, part_of
from sgdsm.report.figures import SHADE
from sgdsm.report.style import subplots

DEGREES = {"lat": "latitude [degrees north]", "lon": "longitude [degrees east]", "y": "y [m]", "x": "x [m]"}


@checked
def hovmoeller(
    dataset: xr.Dataset,
    along: str | None = None,
    *,
    time: str | slice | None = None,
    bbox: Sequence[float] | None = None,
    observed: str | None = None,
) -> Figure:
    """Draw means of observed and filled values by latitude (or longitude) and day, and their difference.

    The mean of the observed values of a day is that of other cells than the mean of the filled ones: their difference
    shows what the gaps take away from a mean, not an error.

    Args:
        dataset: As `fill` returns it, (T, H, W).
        along: The axis that is kept: 'lat' (the default; 'y' of a projected grid) or 'lon' ('x').
        time: First and last day, like '2015-06-01:2015-06-30' or slice('2015-06-01', '2015-06-30').
        bbox: [west, south, east, north], degrees.
        observed: Name of the variable with the observed values, see `sgdsm.core.filled.observed_of`.

    Returns:
        The Figure, not saved.

    Raises:
        CubeError: The Dataset is not a filled one, has no axis `along`, or no day or cell in `time` and `bbox`.
    """
    filled = maps_of(dataset)
    space = space_dims(filled)
    along = space[0] if along is None else along
    if along not in space:
        raise CubeError(f"along={along!r}: expected '{space[0]}' or '{space[1]}'")
    if bbox is not None:
        check_bbox(bbox)
    maps = xr.Dataset({"filled": filled, "observed": observed_of(dataset, observed)})
    maps = part_of(maps.transpose("time", *space).sortby(along), "filled", time, bbox)
    means = {name: _means(maps[name], along) for name in ("observed", "filled")}
    units, name = filled.attrs.get("units", "1"), observed_of(dataset, observed).name
    means["filled minus observed"] = means["filled"] - means["observed"]
    figure, axes = subplots(3, 1, figsize=(11, 8), layout="constrained", sharex=True, sharey=True)
    days, places = _edges(date2num(maps["time"].values)), _edges(maps[along].values)
    for axis, (title, values) in zip(axes, means.items(), strict=True):
        colours = _colours(values, means["filled"], title == "filled minus observed")
        image = axis.pcolormesh(days, places, values.T, rasterized=True, **colours)
        axis.set(title=title, ylabel=DEGREES[along], facecolor=SHADE)
        figure.colorbar(image, ax=axis, label=f"{name} [{units}]", extend="both")
    locator = AutoDateLocator()
    axes[-1].xaxis_date()
    axes[-1].xaxis.set_major_locator(locator)
    axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return figure


def _means(maps: xr.DataArray, along: str) -> np.ndarray:
    """Return the mean of each day and row (or column) over its finite values, (T, N); NaN where there are none."""
    axis = maps.dims.index(along)
    other = 3 - axis
    # of a longitude the cells shrink towards the poles
    weight = np.cos(np.deg2rad(maps["lat"].values)) if along == "lon" else np.ones(maps.shape[other])
    weight = np.expand_dims(weight, (0, 3 - other))
    means = np.full((maps.shape[0], maps.shape[axis]), np.nan)
    for days in time_chunks(maps):
        values = maps[days].values.astype(np.float64)
        known = np.isfinite(values)
        total = (known * weight).sum(other)
        sums = (np.where(known, values, 0) * weight).sum(other)
        means[days] = np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)
    return means


def _edges(centres: np.ndarray) -> np.ndarray:
    """Return the edges of cells, (N + 1,), of their centres, (N,); one alone is 1 wide."""
    between = (centres[1:] + centres[:-1]) / 2
    half = np.diff(centres)[[0, -1]] / 2 if centres.size > 1 else np.array([0.5, 0.5])
    return np.concatenate([centres[:1] - half[0], between, centres[-1:] + half[1]])


def _colours(values: np.ndarray, filled: np.ndarray, difference: bool) -> dict[str, Any]:
    known = values[np.isfinite(values)] if difference else filled[np.isfinite(filled)]
    if difference:
        most = max(float(np.quantile(abs(known), 0.98)), 1e-6) if known.size else 1.0
        return {"cmap": "RdBu", "vmin": -most, "vmax": most}
    low, high = np.quantile(known, [0.01, 0.99]) if known.size else (0.0, 1.0)
    return {"cmap": "YlGnBu", "vmin": low, "vmax": high if high > low else low + max(abs(low), 1e-3)}
