"""Figures of drought indicators: classes on a day, area by class through time, and a cell with its events."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from sgdsm.core.cube import open_dataset, space_dims
from sgdsm.report.maps import draw_map, extent_of, land_of, map_key, name_axes
from sgdsm.report.style import INK, subplots

# those of the United States Drought Monitor, and white for none
COLOURS = ("#ffffff", "#fff23d", "#fcd37f", "#ffaa00", "#e60000", "#730000")
SHADE = "#f3d9c9"
CELL = "cell"  # what the table of events calls an event of a cell, not of a region
Period = tuple[str, str]


def drought_figures(indicators: Path, events: Path, day: str | None = None) -> list[Path]:
    """Draw the indicators of a file beside it.

    Args:
        indicators: What `sgdsm drought` has written.
        events: Its table of events.
        day: Of the map, a day of the file; by default the one with the largest area in drought, worse classes counted
            again.

    Returns:
        The pictures.
    """
    with open_dataset(indicators) as dataset:
        area = dataset["area_under_drought"].values
        # areas hold those of worse classes, so that their sum tells how bad it is, too
        driest = int(np.nansum(area[:, 1:], axis=1).argmax())
        shown = driest if day is None else int((dataset["time"].values < np.datetime64(day)).sum())
        row, column, periods = _worst_cell(events, dataset["ssi"], driest)
        return [
            _class_map(dataset, shown, indicators.with_name(f"{indicators.stem}_classes.png")),
            _area(dataset, area, indicators.with_name(f"{indicators.stem}_area.png")),
            _series(dataset["ssi"][:, row, column], periods, indicators.with_name(f"{indicators.stem}_series.png")),
        ]


def _names(dataset: xr.Dataset) -> list[str]:
    return [name.replace("_", " ") for name in str(dataset["drought_class"].attrs["flag_meanings"]).split()]


def _class_map(dataset: xr.Dataset, index: int, path: Path) -> Path:
    land = land_of(dataset, dataset["ssi"])
    figure, axis = subplots(1, 1, figsize=(8, 5), layout="compressed")
    values = dataset["drought_class"][index].values.astype(np.float32)
    norm = BoundaryNorm(np.arange(len(COLOURS) + 1) - 0.5, len(COLOURS))
    values[values < 0] = np.nan
    where = extent_of(dataset, "drought_class")
    image = draw_map(axis, values, *where, land, cmap=ListedColormap(COLOURS), norm=norm)
    bar = figure.colorbar(image, ax=axis, ticks=np.arange(len(COLOURS)), shrink=0.9)
    bar.ax.set_yticklabels(_names(dataset))
    name_axes(dataset, [axis], [axis])
    map_key(figure, not land.all())
    days = dataset["ssi"].attrs["scale_days"]
    axis.set_title(f"drought class, {str(dataset['time'].values[index])[:10]} (mean of {days} days)")
    figure.savefig(path, dpi=110)
    return path


def _area(dataset: xr.Dataset, area: np.ndarray, path: Path) -> Path:
    figure, axis = subplots(1, 1, figsize=(10, 4), layout="constrained")
    time = dataset["time"].values
    # the area of a class includes those of worse ones: the worst is drawn last, over the others
    for k, (name, colour) in enumerate(zip(_names(dataset)[1:], COLOURS[1:], strict=True)):
        axis.fill_between(time, 100 * area[:, k], color=colour, lw=0, label=f"{name} or worse" if k < 4 else name)
    axis.set(ylabel="share of the area [%]", ylim=(0, 100), xlim=(time[0], time[-1]))
    axis.set_title("area under drought", loc="left")
    date_axis(axis)
    figure.legend(loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    return path


def _worst_cell(events: Path, index: xr.DataArray, driest: int) -> tuple[int, int, list[Period]]:
    """Return row and column of the cell with the event of the largest deficit, and begin and end of its events."""
    rows, columns = space_dims(index)
    periods: dict[tuple[str, str], list[Period]] = defaultdict(list)
    worst, most = None, -np.inf
    with events.open(newline="") as file:
        for event in csv.DictReader(file):
            if event["where"] == CELL and event[rows]:
                place = event[rows], event[columns]
                periods[place].append((event["begin"], event["end"]))
                if float(event["deficit"]) > most:
                    worst, most = place, float(event["deficit"])
    if worst is None:
        # no event: any cell with an index
        row, column = np.argwhere(np.isfinite(index[driest].values))[0]
        return int(row), int(column), []
    row, column = (abs(index[d].values - float(v)).argmin() for d, v in zip((rows, columns), worst, strict=True))
    return int(row), int(column), periods[worst]


def _series(index: xr.DataArray, periods: list[Period], path: Path) -> Path:
    time = index["time"].values
    figure, axis = subplots(1, 1, figsize=(10, 3.6), layout="constrained")
    for begin, end in periods:
        axis.axvspan(np.datetime64(begin), np.datetime64(end) + 1, color=SHADE, lw=0)
    axis.axhline(0, color=INK, lw=0.6)
    axis.plot(time, index.values, color=INK, lw=0.8)
    place = ", ".join(f"{d} {float(index[d]):g}" for d in ("lat", "lon", "y", "x") if d in index.coords)
    axis.set(ylabel="index [1]", xlim=(time[0], time[-1]))
    axis.set_title(f"standardised soil moisture index, {place}; events shaded", loc="left")
    date_axis(axis)
    figure.savefig(path, dpi=110)
    return path


def date_axis(axis: Axes) -> None:
    """Label the x axis of a series with dates, and leave out the frame at the top and on the right."""
    locator = AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axis.spines[["top", "right"]].set_visible(False)
