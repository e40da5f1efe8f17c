"""Figure of root-zone soil moisture: the series of a cell beside the surface, and the map of the last day."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.cube import open_dataset, space_dims
from sgdsm.report.drought_figures import date_axis
from sgdsm.report.maps import colour_bar, draw_map, extent_of, limits, map_key, name_axes
from sgdsm.report.style import BLUE, INK, RED, subplots

DAYS = 3 * 365  # of the series that is drawn


def rootzone_figure(path: Path, surface: xr.DataArray, land: np.ndarray, deeper: xr.DataArray | None = None) -> Path:
    """Draw what `sgdsm rootzone` has written, beside it.

    Args:
        path: Its output.
        surface: What was filtered, (T, H, W).
        land: Cells of land, (H, W) bool.
        deeper: Soil moisture of a deeper layer, if there is one.

    Returns:
        The picture.
    """
    with open_dataset(path) as dataset:
        found = dataset["rootzone"]
        rows, columns = space_dims(found)
        last = found[-1].values
        figure, (left, right) = subplots(1, 2, figsize=(13, 4), layout="constrained", width_ratios=(2, 1))
        # the cell whose water changes most of the last days
        spread = np.nan_to_num(found[-365:].std("time").values, nan=-1)
        row, column = np.unravel_index(spread.argmax(), spread.shape)
        cell = {rows: found[rows].values[row], columns: found[columns].values[column]}
        lines = [("surface", surface, "#9aa5b1", 0.9, "-"), ("root zone", found, BLUE, 1.5, "-")]
        if deeper is not None:
            lines.append(("deeper layer", deeper, RED, 1.2, "--"))
        for label, maps, colour, width, dash in lines:
            one = maps.sel(cell, method="nearest")[-DAYS:]
            left.plot(one["time"].values, one.values, color=colour, lw=width, ls=dash, label=label)
        units = found.attrs["units"]
        place = ", ".join(f"{d} {v:g}" for d, v in cell.items())
        left.set(ylabel=f"soil moisture [{units}]")
        left.set_title(place, loc="left", fontsize=10)
        left.legend(frameon=False, ncols=3, fontsize=8)
        date_axis(left)
        low, high = limits(last)
        image = draw_map(right, last, *extent_of(dataset, "rootzone"), land, vmin=low, vmax=high, cmap="YlGnBu")
        right.plot(cell[columns], cell[rows], "+", color=INK)
        colour_bar(image, right, f"root zone [{units}]", shrink=0.9)
        map_key(figure, not land.all())
        name_axes(dataset, [right], [right])
        right.set_title(f"root zone, {str(found['time'].values[-1])[:10]}", fontsize=10)
    picture = path.with_suffix(".png")
    figure.savefig(picture, dpi=110)
    return picture
