"""Figures of drought indicators: classes on a day, area by class through time, and a cell with its events."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from sgdsm.core.cube import open_dataset, space_dims
from sgdsm.core.errors import CubeError
from sgdsm.report.figures import STATES, extent_of, name_axes
from sgdsm.report.filled_figures import _index_of
from sgdsm.report.style import INK, subplots

# those of the United States Drought Monitor, and a grey for none
COLOURS = ("#eeeeea", "#fff23d", "#fcd37f", "#ffaa00", "#e60000", "#730000")
SHADE = "#f3d9c9"


def drought_figures(indicators: Path, events: Path, day: str | None = None) -> list[Path]:
    """Draw the indicators of a file beside it.

    Args:
        indicators: What `sgdsm drought` has written.
        events: Its table of events.
        day: Of the map; by default the one with the largest area in moderate drought.

    Returns:
        The pictures.

    Raises:
        CubeError: The file does not have the day, or no index at all.
    """
    with open_dataset(indicators) as dataset:
        area = dataset["area_under_drought"].values
        if not np.isfinite(area).any():
            raise CubeError(f"{indicators}: no day has an index: too few years of values, or all are alike")
        driest = int(np.nanargmax(area[:, 1]))
        index = driest if day is None else _index_of(dataset["time"].values, day)
        return [
            _class_map(dataset, index, indicators.with_name(f"{indicators.stem}_classes.png")),
            _area(dataset, area, indicators.with_name(f"{indicators.stem}_area.png")),
            _series(
                dataset, _worst_cell(events, dataset, driest), indicators.with_name(f"{indicators.stem}_series.png")
            ),
        ]


def _names(dataset: xr.Dataset) -> list[str]:
    return [name.replace("_", " ") for name in str(dataset["drought_class"].attrs["flag_meanings"]).split()]


def _class_map(dataset: xr.Dataset, index: int, path: Path) -> Path:
    one = dataset["drought_class"][index].load()
    extent, aspect = extent_of(dataset[["drought_class"]].rename(drought_class="sm_filled"))
    figure, axis = subplots(1, 1, figsize=(8, 5), layout="constrained")
    values = np.where(np.isfinite(one.values) & (one.values >= 0), one.values, np.nan)
    edges = np.arange(len(COLOURS) + 1) - 0.5
    norm = BoundaryNorm(edges, len(COLOURS))
    image = axis.imshow(values, extent=extent, aspect=aspect, cmap=ListedColormap(COLOURS), norm=norm)
    axis.set_facecolor(STATES["sea"])
    bar = figure.colorbar(image, ax=axis, ticks=np.arange(len(COLOURS)), shrink=0.9)
    bar.ax.set_yticklabels(_names(dataset))
    name_axes(dataset, [axis], [axis])
    days = dataset["ssi"].attrs.get("scale_days", "")
    axis.set_title(f"drought class, {str(dataset['time'].values[index])[:10]} (mean of {days} days)")
    figure.savefig(path, dpi=110)
    return path


def _area(dataset: xr.Dataset, area: np.ndarray, path: Path) -> Path:
    figure, axis = subplots(1, 1, figsize=(10, 4), layout="constrained")
    time = dataset["time"].values
    # the area of a class includes those of worse ones: the worst is drawn last, over the others
    for k, (name, colour) in enumerate(zip(_names(dataset)[1:], COLOURS[1:], strict=True)):
        axis.fill_between(time, 100 * area[:, k], color=colour, lw=0, label=f"{name} or worse" if k < 4 else name)
    axis.set(ylabel="share of the area [%]", ylim=(0, 100), xlim=(time[0], time[-1]), title="area under drought")
    _dates(axis)
    axis.legend(loc="upper left", ncols=3, fontsize=8, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    return path


def _worst_cell(events: Path, dataset: xr.Dataset, driest: int) -> tuple[int, int, Sequence[tuple[str, str]]]:
    """Return row and column of the cell with the largest deficit, and begin and end of its events."""
    rows_dim, columns_dim = space_dims(dataset["ssi"])
    by_cell: dict[tuple[str, str], list[tuple[str, str]]] = {}
    worst, most = None, 0.0
    with events.open(newline="") as file:
        for event in csv.DictReader(file):
            if event["where"] == "cell" and event[rows_dim]:
                place = event[rows_dim], event[columns_dim]
                if worst is None or float(event["deficit"]) > most:
                    worst, most = place, float(event["deficit"])
    if worst is None:
        # no event: any cell with an index
        at = np.argwhere(np.isfinite(dataset["ssi"][driest].values))[0]
        return int(at[0]), int(at[1]), ()
    with events.open(newline="") as file:
        for event in csv.DictReader(file):
            place = event[rows_dim], event[columns_dim]
            if place == worst:
                by_cell.setdefault(place, []).append((event["begin"], event["end"]))
    row, column = (
        int(abs(dataset[d].values - float(v)).argmin()) for d, v in zip((rows_dim, columns_dim), worst, strict=True)
    )
    return row, column, by_cell[worst]


def _series(dataset: xr.Dataset, cell: tuple[int, int, Sequence[tuple[str, str]]], path: Path) -> Path:
    row, column, events = cell
    index = dataset["ssi"][:, row, column].load()
    time = dataset["time"].values
    figure, axis = subplots(1, 1, figsize=(10, 3.6), layout="constrained")
    for begin, end in events:
        axis.axvspan(np.datetime64(begin), np.datetime64(end) + 1, color=SHADE, lw=0)  # type: ignore[arg-type]
    axis.axhline(0, color=INK, lw=0.6)
    axis.plot(time, index.values, color=INK, lw=0.8)
    place = ", ".join(f"{d} {float(index[d]):g}" for d in space_dims(dataset["ssi"]))
    axis.set(
        ylabel="index [1]", xlim=(time[0], time[-1]), title=f"standardised soil moisture index, {place}; events shaded"
    )
    _dates(axis)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    return path


def _dates(axis: Any | Axes) -> None:
    locator = AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
