"""Figures of trends: maps of means and slopes, series of zones, and slopes against known ones.

In the manner of Figs. 15 and 16 of LIU (HESS 27, 577, 2023).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from sgdsm.core.cube import space_dims
from sgdsm.evaluation.trend_files import slope_scores
from sgdsm.report.figures import LONG
from sgdsm.report.maps import colour_bar, draw_map, extent_of, largest, limits, map_key, name_axes
from sgdsm.report.style import BLUE, INK, RED, subplots

COLUMNS = {"observed": "observed alone", "filled": "filled", "difference": "filled minus observed"}
MOST_CROSSES = 2500  # on a map; of more significant cells every n-th row and column is marked


def trend_figures(result: xr.Dataset, output: Path) -> list[Path]:
    """Draw the trends of a file.

    Args:
        result: What `sgdsm.evaluation.trend_files.trend_maps` returns.
        output: Its file; the figures have its name with an ending of their own.

    Returns:
        Paths of the figures.
    """
    made = [_maps(result, _beside(output, "maps")), _series(result, _beside(output, "series"))]
    return made if "slope_truth" not in result else [*made, _scatter(result, _beside(output, "scatter"))]


def _beside(output: Path, name: str) -> Path:
    return output.with_name(f"{output.stem}_{name}.png")


def _maps(result: xr.Dataset, path: Path) -> Path:
    rows, columns = space_dims(result["slope_filled"])
    # the axes of a file of others may be turned
    one = result.sortby(rows, ascending=False).sortby(columns)
    where = extent_of(one, "mean_filled")
    # a cell without a mean of any kind is not known to be land
    land = np.isfinite(one["mean_filled"].values) | np.isfinite(one["mean_observed"].values)
    figure, axes = subplots(2, 3, figsize=(13, 6.5), layout="compressed", sharex=True, sharey=True)
    water = limits(one["mean_filled"].values, one["mean_observed"].values)
    steep = largest(one["slope_filled"].values, one["slope_observed"].values)
    for column, (kind, title) in enumerate(COLUMNS.items()):
        mean, slope = one[f"mean_{kind}"], one[f"slope_{kind}"]
        if kind == "difference":
            far = largest(mean.values)
            colours: dict[str, Any] = {"vmin": -far, "vmax": far, "cmap": "BrBG"}
            steep = largest(slope.values)
        else:
            colours = {"vmin": water[0], "vmax": water[1], "cmap": "YlGnBu"}
        image = draw_map(axes[0, column], mean.values, *where, land, **colours)
        colour_bar(image, axes[0, column], f"[{mean.attrs['units']}]", shrink=0.9)
        axes[0, column].set_title(f"mean, {title}", fontsize=10)
        image = draw_map(axes[1, column], slope.values, *where, land, vmin=-steep, vmax=steep, cmap="RdBu")
        colour_bar(image, axes[1, column], f"[{slope.attrs['units']}]", shrink=0.9)
        axes[1, column].set_title(f"slope, {title} (x: p < 0.05)", fontsize=10)
        _crosses(axes[1, column], one, kind, rows, columns)
    name_axes(one, axes[-1, :], axes[:, 0])
    map_key(figure, not land.all())
    figure.suptitle(f"{result.attrs['period']}, step: {result.attrs['step']}", fontsize=11)
    figure.savefig(path, dpi=110)
    return path


def _crosses(axis: object, one: xr.Dataset, kind: str, rows: str, columns: str) -> None:
    significant = one[f"significant_{kind}"].values == 1
    stride = max(1, int(np.ceil(np.sqrt(significant.sum() / MOST_CROSSES))))
    shown = np.zeros_like(significant)
    shown[::stride, ::stride] = significant[::stride, ::stride]
    y, x = np.nonzero(shown)
    axis.plot(one[columns].values[x], one[rows].values[y], "x", color=INK, ms=3, mew=0.6)  # type: ignore[attr-defined]


def _series(result: xr.Dataset, path: Path) -> Path:
    zones = result["zone"].values
    height = len(zones)
    figure, axes = subplots(
        height, 1, figsize=(9, 1.2 + 1.9 * height), layout="constrained", sharex=True, squeeze=False
    )
    units = result["slope_filled"].attrs["units"]
    for axis, zone in zip(axes[:, 0], zones, strict=True):
        for kind, colour, marker in (("observed", BLUE, "s"), ("filled", RED, "o")):
            mean, error = (result[f"{name}_{kind}"].sel(zone=zone).values for name in ("series", "series_error"))
            # markers of many steps would hide the lines
            style = {"lw": 1.2, "marker": marker} if len(mean) < LONG else {"lw": 0.7 if kind == "observed" else 1.4}
            axis.plot(result["step"].values, mean, color=colour, ms=2.5, label=COLUMNS[kind], **style)
            axis.fill_between(result["step"].values, mean - error, mean + error, color=colour, alpha=0.25, lw=0)
        axis.set_title(str(zone), fontsize=9, loc="left")
        axis.set_ylabel(f"mean [{result['series_filled'].attrs['units']}]")
    axes[0, 0].legend(fontsize=8, ncols=2, title="mean of the cells, +-1 standard error", title_fontsize=8)
    figure.suptitle(f"{result.attrs['period']}; slopes of cells in [{units}] are in the maps", fontsize=9)
    figure.savefig(path, dpi=110)
    return path


def _scatter(result: xr.Dataset, path: Path) -> Path:
    figure, axes = subplots(1, 2, figsize=(9, 4.6), layout="constrained", sharex=True, sharey=True)
    truth = result["slope_truth"].values
    # cells whose true trend is not significant are open circles, as in the figure of LIU
    certain = result["significant_truth"].values == 1
    reach = 1.05 * largest(truth, result["slope_observed"].values, result["slope_filled"].values)
    for axis, kind in zip(axes, ("observed", "filled"), strict=True):
        slope = result[f"slope_{kind}"].values
        known = np.isfinite(slope) & np.isfinite(truth)
        for chosen, style, label in (
            (known & certain, {"marker": "o", "color": BLUE}, "known trend significant"),
            (
                known & ~certain,
                {"marker": "o", "facecolors": "none", "edgecolors": BLUE},
                "known trend not significant",
            ),
        ):
            axis.scatter(truth[chosen], slope[chosen], s=14, lw=0.7, label=f"{label} ({chosen.sum()})", **style)
        axis.plot([-reach, reach], [-reach, reach], color=INK, lw=0.8)
        axis.axhline(0, color=INK, lw=0.3)
        axis.axvline(0, color=INK, lw=0.3)
        if known.sum() > 1:
            r2 = slope_scores(slope[known], truth[known])["r_squared"]
            same = (np.sign(slope) == np.sign(truth))[known].mean()
            axis.set_title(f"{COLUMNS[kind]}: squared correlation {r2:.2f}, same sign {same:.0%}", fontsize=9)
        axis.set_xlabel(f"known slope [{result['slope_truth'].attrs['units']}]")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.legend(fontsize=7, loc="upper left")
    axes[0].set_ylabel(f"slope [{result['slope_filled'].attrs['units']}]")
    axes[0].set(xlim=(-reach, reach), ylim=(-reach, reach))
    figure.savefig(path, dpi=110)
    return path
