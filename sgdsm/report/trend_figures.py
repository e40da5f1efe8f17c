"""Figures of trends: maps of means and slopes, series of zones, and slopes against known ones.

In the manner of Figs. 15 and 16 of LIU (HESS 27, 577, 2023).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from sgdsm.core.cube import space_dims
from sgdsm.core.filled import SM_FILLED
from sgdsm.evaluation.trend_files import slope_scores
from sgdsm.report.figures import STATES, extent_of, name_axes
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
    extent, aspect = extent_of(one.rename({"mean_filled": SM_FILLED}))
    figure, axes = subplots(2, 3, figsize=(13, 6.5), layout="compressed", sharex=True, sharey=True)
    water = _limits(one["mean_filled"].values, one["mean_observed"].values)
    steep = _largest(one["slope_filled"].values, one["slope_observed"].values)
    for column, (kind, title) in enumerate(COLUMNS.items()):
        mean, slope = one[f"mean_{kind}"], one[f"slope_{kind}"]
        if kind == "difference":
            far = _largest(mean.values)
            colours = {"vmin": -far, "vmax": far, "cmap": "BrBG"}
            steep = _largest(slope.values)
        else:
            colours = {"vmin": water[0], "vmax": water[1], "cmap": "YlGnBu"}
        image = axes[0, column].imshow(mean.values, extent=extent, aspect=aspect, **colours)
        figure.colorbar(image, ax=axes[0, column], shrink=0.9, label=mean.attrs["units"])
        axes[0, column].set_title(f"mean, {title}", fontsize=10)
        image = axes[1, column].imshow(slope.values, extent=extent, aspect=aspect, vmin=-steep, vmax=steep, cmap="RdBu")
        figure.colorbar(image, ax=axes[1, column], shrink=0.9, label=slope.attrs["units"])
        axes[1, column].set_title(f"slope, {title} (x: p < 0.05)", fontsize=10)
        _crosses(axes[1, column], one, kind, rows, columns)
    for axis in axes.flat:
        axis.set_facecolor(STATES["sea"])
        axis.xaxis.set_major_locator(MaxNLocator(4))
    name_axes(one, axes[-1, :], axes[:, 0])
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
        for kind, colour in (("observed", BLUE), ("filled", RED)):
            mean, error = (result[f"{name}_{kind}"].sel(zone=zone).values for name in ("series", "series_error"))
            axis.plot(result["step"].values, mean, color=colour, lw=1.2, marker=".", ms=3, label=COLUMNS[kind])
            axis.fill_between(result["step"].values, mean - error, mean + error, color=colour, alpha=0.25, lw=0)
        axis.set_title(str(zone), fontsize=9, loc="left")
        axis.set_ylabel(result["series_filled"].attrs["units"])
    axes[0, 0].legend(fontsize=8, ncols=2, title="mean of the cells, +-1 standard error", title_fontsize=8)
    figure.suptitle(f"{result.attrs['period']}; slopes of cells in [{units}] are in the maps", fontsize=9)
    figure.savefig(path, dpi=110)
    return path


def _scatter(result: xr.Dataset, path: Path) -> Path:
    figure, axes = subplots(1, 2, figsize=(9, 4.6), layout="constrained", sharex=True, sharey=True)
    truth = result["slope_truth"].values
    # cells whose true trend is not significant are open circles, as in the figure of LIU
    certain = result["significant_truth"].values == 1
    reach = 1.05 * _largest(truth, result["slope_observed"].values, result["slope_filled"].values)
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
    axes[0].set_ylabel("slope")
    axes[0].set(xlim=(-reach, reach), ylim=(-reach, reach))
    figure.savefig(path, dpi=110)
    return path


def _limits(*maps: np.ndarray) -> tuple[float, float]:
    values = np.concatenate([m[np.isfinite(m)] for m in maps])
    if not values.size:
        return 0.0, 1.0
    low, high = np.quantile(values, [0.01, 0.99])
    return float(low), float(high)


def _largest(*maps: np.ndarray) -> float:
    """Return the 99 % quantile of the absolute values, or 1 where all are 0 or missing."""
    values = np.concatenate([abs(m[np.isfinite(m)]) for m in maps])
    return float(np.quantile(values, 0.99)) or 1.0 if values.size else 1.0
