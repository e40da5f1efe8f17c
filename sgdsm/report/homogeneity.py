"""Figure of a record of several sensors: maps of R and of breaks, and its months and years beside the reference's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from sgdsm.evaluation.homogeneity import SIGNIFICANT
from sgdsm.report.maps import NO_VALUE, colour_bar, map_key, name_axes
from sgdsm.report.style import BLUE, INK, RED, subplots

MOST_BREAKS = 6  # maps of breaks in the figure; the file has all

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def homogeneity_figure(found: xr.Dataset, units: str, path: Path) -> Path:
    """Draw the results of `sgdsm.evaluation.homogeneity.homogeneity`.

    Args:
        found: The results.
        units: Of the target.
        path: Of the picture.

    Returns:
        `path`.
    """
    tested = np.isfinite(found["shift"].values).any((1, 2))
    breaks = found["break"].values[tested][:MOST_BREAKS]
    rows = 2 + -(-len(breaks) // 2)
    figure, axes = subplots(rows, 2, figsize=(12, 3.6 * rows), layout="constrained")
    for axis, name, title in zip(axes[0], ("r", "r_residual"), ("R", "R without the seasonal cycle"), strict=True):
        values = found[name].isel(subset=0)
        _map(
            axis,
            values,
            f"{title}, median {float(values.median()):.2f}",
            "1",
            (-1 if values.min() < 0 else 0, 1),
            "viridis",
        )
    shifts = abs(found["shift"].values)
    most = float(np.nanquantile(shifts, 0.98)) if np.isfinite(shifts).any() else 1.0
    for axis, day in zip(axes[2:].flat, breaks, strict=False):
        one = found.sel({"break": day})
        _map(
            axis, one["shift"], f"shift at the change of {str(day)[:7]}; dots: level, 5 %", units, (-most, most), "RdBu"
        )
        where = np.argwhere(one["p_level"].values < SIGNIFICANT)
        dims = one["shift"].dims
        axis.plot(found[dims[1]].values[where[:, 1]], found[dims[0]].values[where[:, 0]], "k.", markersize=2)
    for axis in axes[2:].flat[len(breaks) :]:
        axis.set_axis_off()
    _months(axes[1, 0], found, units)
    _years(axes[1, 1], found, units)
    map_key(figure, sea=False, missing="no value")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _map(axis: Axes, values: xr.DataArray, title: str, units: str, limits: tuple[float, float], colours: str) -> None:
    rows, columns = values.dims
    image = axis.pcolormesh(
        values[columns], values[rows], values, vmin=limits[0], vmax=limits[1], cmap=colours, rasterized=True
    )
    axis.set_facecolor(NO_VALUE)
    colour_bar(image, axis, f"[{units}]")
    axis.set_title(title, fontsize=10)
    name_axes(values.to_dataset(name="map"), [axis], [axis])


def _months(axis: Axes, found: xr.Dataset, units: str) -> None:
    both = np.isfinite(found["product_month"].values) & np.isfinite(found["reference_month"].values)
    cells = np.maximum(both.sum((1, 2)), 1)
    for name, colour, label in (("reference_month", INK, "reference"), ("product_month", BLUE, "product")):
        mean = np.where(both, found[name].values, 0.0).sum((1, 2)) / cells
        axis.plot(found["month"].values, np.where(both.any((1, 2)), mean, np.nan), color=colour, label=label, lw=1)
    for day in found["break"].values:
        axis.axvline(day, color=RED, lw=1, ls="--")
    axis.set(title="months, mean over cells; dashed: change of sensors", ylabel=f"departure from the cycle [{units}]")
    axis.tick_params(axis="x", rotation=30)
    axis.legend(fontsize=8)


def _years(axis: Axes, found: xr.Dataset, units: str) -> None:
    both = np.isfinite(found["product_year"].values) & np.isfinite(found["reference_year"].values)
    pairs = [found[name].values[both] for name in ("reference_year", "product_year")]
    axis.plot(*pairs, ".", color=BLUE, markersize=3, alpha=0.4)
    if both.any():
        ends = [min(p.min() for p in pairs), max(p.max() for p in pairs)]
        axis.plot(ends, ends, color=INK, lw=1)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.set(
        title="years, each cell",
        xlabel=f"departure of the reference [{units}]",
        ylabel=f"departure of the product [{units}]",
    )
