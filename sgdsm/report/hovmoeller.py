"""Hovmoeller diagrams of a filled Dataset: means along parallels or meridians, day by day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from sgdsm.report.maps import NO_VALUE, colour_bar, largest, limits
from sgdsm.report.style import subplots

MEANS = ("observed", "filled")
# differences of means along rows; each title says of which cells
ERROR = "error: filled minus hidden truth, of the same cells"
CHANGE = "filled minus observed, of the cells with both"
GAPS = "mean of the filled minus mean of the observed, of other cells: what gaps take from a mean, not an error"
SAME = 1e-6  # a filled value this near to the observed one is the observed one
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
    """Draw means of observed and filled values by latitude (or longitude) and day, and a difference.

    Where the filler kept the observed values, they differ in no cell that has both. The difference of the means is
    drawn then: that of the observed values is of other cells, so it shows what the gaps take from a mean, not an error.
    Of a product that changed the observed values the difference is that of the cells with both. The title says which.

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
    means = with_difference(_means(maps, along))
    units, name = filled.attrs.get("units", "1"), observed_of(dataset, observed).name
    figure, axes = subplots(3, 1, figsize=(11, 8), layout="constrained", sharex=True, sharey=True)
    days, places = boundaries(date2num(maps["time"].values)), boundaries(maps[along].values)
    for axis, (title, values) in zip(axes, means.items(), strict=True):
        image = axis.pcolormesh(days, places, values.T, rasterized=True, **colours_of(title, means))
        axis.set(ylabel=DEGREES[along], facecolor=NO_VALUE)
        axis.set_title(title, loc="left", fontsize=11)
        colour_bar(image, axis, f"{name if title in MEANS else 'difference'} [{units}]")
    locator = AutoDateLocator()
    axes[-1].xaxis_date()
    axes[-1].xaxis.set_major_locator(locator)
    axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return figure


def with_difference(means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return means along rows, (T, N), and the one difference that says something.

    Args:
        means: `observed` and `filled`; ERROR and CHANGE where they are known.

    Returns:
        `observed`, `filled`, and ERROR, else CHANGE if the observed values were changed, else GAPS.
    """
    found = {name: means[name] for name in MEANS}
    for title in (ERROR, CHANGE):
        if title in means and (abs(means[title][np.isfinite(means[title])]) > SAME).any():
            return found | {title: means[title]}
    return found | {GAPS: means["filled"] - means["observed"]}


def colours_of(
    title: str, means: Mapping[str, np.ndarray], moisture: str = "YlGnBu", error: str = "RdBu"
) -> dict[str, Any]:
    """Return colour map and limits of a panel: one scale for means, one around 0 for a difference."""
    if title not in MEANS:
        far = largest(means[title])
        return {"cmap": error, "vmin": -far, "vmax": far}
    low, high = limits(means["filled"])
    return {"cmap": moisture, "vmin": low, "vmax": high}


def _means(maps: xr.Dataset, along: str) -> dict[str, np.ndarray]:
    """Return means of each day and row (or column), (T, N), NaN where there are none: MEANS and CHANGE."""
    one = maps["filled"]
    axis = one.dims.index(along)
    other = 3 - axis
    # of a longitude the cells shrink towards the poles
    weight = np.cos(np.deg2rad(one["lat"].values)) if along == "lon" else np.ones(one.shape[other])
    weight = np.expand_dims(weight, (0, 3 - other))
    means = {name: np.full((one.shape[0], one.shape[axis]), np.nan) for name in (*MEANS, CHANGE)}
    for days in time_chunks(one):
        values = {name: maps[name][days].values.astype(np.float64) for name in MEANS}
        values[CHANGE] = values["filled"] - values["observed"]
        for name, part in values.items():
            known = np.isfinite(part)
            total = (known * weight).sum(other)
            sums = (np.where(known, part, 0) * weight).sum(other)
            means[name][days] = np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)
    return means


def boundaries(centres: np.ndarray) -> np.ndarray:
    """Return the edges of cells, (N + 1,), of their centres, (N,); one alone is 1 wide."""
    between = (centres[1:] + centres[:-1]) / 2
    half = np.diff(centres)[[0, -1]] / 2 if centres.size > 1 else np.array([0.5, 0.5])
    return np.concatenate([centres[:1] - half[0], between, centres[-1:] + half[1]])
