"""Figures of a comparison with stations: map of R, box plots, density scatter, series, status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.filled import FILLED, OBSERVED
from sgdsm.core.words import counted
from sgdsm.evaluation.insitu import STATUS, InSitu, groups_of
from sgdsm.evaluation.station_matching import DENSE, OK
from sgdsm.evaluation.statistics import pair_metrics
from sgdsm.report.maps import colour_bar, draw_coast
from sgdsm.report.style import BLUE, INK, RED, SAND, Picture, subplots

SIDES = ("observed", "filled")
MOST_DENSE = 3  # dense cells that are drawn
DPI = 110


def insitu_figures(result: InSitu, folder: Path, units: str = "m3 m-3") -> list[Path]:
    """Draw all figures of a comparison.

    Args:
        result: Of `sgdsm.evaluation.insitu.compare`.
        folder: Where the pictures are written.
        units: Of the product.

    Returns:
        The pictures.
    """
    drawn = {
        "map": station_map(result.table),
        "boxes": boxes(result.table),
        "scatter": scatter(result, units),
        "series": series(result, units),
        "status": status_bars(result.table),
    }
    paths = []
    for name, figure in drawn.items():
        path = folder / f"{name}.png"
        unfinished = folder / f"{name}.partial.png"
        figure.savefig(unfinished, dpi=DPI)
        unfinished.replace(path)
        paths.append(path)
    return paths


def _of(table: xr.Dataset, metric: str, subset: str) -> np.ndarray:
    values: np.ndarray = table[metric].sel(subset=subset).values
    return values


def station_map(table: xr.Dataset) -> Picture:
    """Draw the stations coloured by R on observed and on filled days."""
    figure, axes = subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharex=True, sharey=True)
    known = np.concatenate([_of(table, "r", side) for side in SIDES])
    known = known[np.isfinite(known)]
    low = float(np.floor(10 * np.quantile(known, 0.05)) / 10) if known.size else 0.0
    low = min(low, 0.8)
    for axis, side in zip(axes, SIDES, strict=True):
        r = _of(table, "r", side)
        there = np.isfinite(r)
        lon, lat = table["lon"].values, table["lat"].values
        axis.plot(lon[~there], lat[~there], "x", color="#999999", ms=4)
        points = axis.scatter(
            lon[there], lat[there], c=r[there], cmap="viridis", vmin=low, vmax=1, s=34, edgecolor=INK, linewidth=0.4
        )
        middle = float(np.median(r[there])) if there.any() else np.nan
        axis.set(
            title=f"{side} days: {counted(int(there.sum()), 'station')}, median R {middle:.3f}", xlabel="longitude [°E]"
        )
    # the limits that the stations have given
    where = (*axes[0].get_xlim(), *axes[0].get_ylim())
    for axis in axes:
        axis.set(xlim=where[:2], ylim=where[2:])
        draw_coast(axis, where)
    axes[0].set_ylabel("latitude [°N]")
    colour_bar(points, axes, "R [1]", shrink=0.85)
    return figure


def boxes(table: xr.Dataset) -> Picture:
    """Draw R, R of anomalies and ubRMSD of the stations by group, observed beside filled days."""
    groups = {name: rows for name, rows in groups_of(table).items() if rows.any()}
    depths = sorted({float(d) for d in table["depth_m"].values if np.isfinite(d)}) if "depth_m" in table.coords else []
    if len(depths) > 1:
        groups |= {f"depth {d:g} m": table["depth_m"].values == d for d in depths}
    metrics = {"r": "R", "r_anomaly": "R of anomalies", "ubrmsd": "ubRMSD"}
    figure, axes = subplots(1, 3, figsize=(4 + 1.1 * max(4, len(groups)), 4.2), layout="constrained")
    for axis, (metric, label) in zip(axes, metrics.items(), strict=True):
        for k, rows in enumerate(groups.values()):
            for offset, side, color in ((-0.18, "observed", BLUE), (0.18, "filled", RED)):
                values = _of(table, metric, side)[rows]
                values = values[np.isfinite(values)]
                if not values.size:
                    continue
                box = axis.boxplot(
                    values, positions=[k + offset], widths=0.3, patch_artist=True, manage_ticks=False,
                    medianprops={"color": "white"}, flierprops={"marker": ".", "ms": 3},
                )  # fmt: skip
                box["boxes"][0].set_facecolor(color)
                # of few stations each is shown
                if values.size < 20:
                    axis.plot(np.full(values.size, k + offset), values, ".", color=INK, ms=3)
        numbers = [int(np.isfinite(_of(table, metric, "filled")[rows]).sum()) for rows in groups.values()]
        words = [f"{name}\n({number})" for name, number in zip(groups, numbers, strict=True)]
        axis.set_xticks(np.arange(len(groups)), words, rotation=30 if len(groups) > 2 else 0, fontsize=8)
        units = table[metric].attrs.get("units", "1")
        axis.set(title=label, ylabel=f"[{_written(units)}]", xlim=(-0.6, len(groups) - 0.4))
        axis.grid(axis="y", color=SAND)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle("stations: observed days blue, filled days red; (stations with filled days)", fontsize=10)
    return figure


def scatter(result: InSitu, units: str = "m3 m-3") -> Picture:
    """Draw product against station, all stations together, with the 1:1 line, N, R2 and RMSD (Liu et al., Fig. 9)."""
    pairs = result.pairs.isel(station=result.pairs["network"].values != DENSE)
    estimate, station, source = (pairs[n].values for n in ("estimate", "in_situ", "source"))
    known = np.isfinite(estimate) & np.isfinite(station)
    figure, axes = subplots(1, 2, figsize=(9.5, 4.6), layout="constrained", sharex=True, sharey=True)
    every = np.concatenate([estimate[known], station[known]])
    reach = float(np.quantile(every, 0.999)) * 1.1 if every.size else 1.0
    for axis, side, code in zip(axes, SIDES, (OBSERVED, FILLED), strict=True):
        chosen = known & (source == code)
        x, y = station[chosen], estimate[chosen]
        if x.size:
            shown = axis.hexbin(x, y, gridsize=45, extent=(0, reach, 0, reach), bins="log", mincnt=1, cmap="cividis")
            found = pair_metrics(y, x)
            words = (
                f"N {x.size}\nR² (Nash-Sutcliffe) {float(found['nse']):.2f}\nR {float(found['r']):.3f}\n"
                f"RMSD {float(found['rmsd']):.4f}"
            )
            axis.text(0.03, 0.97, words, transform=axis.transAxes, va="top", fontsize=9, backgroundcolor="white")
        axis.plot([0, reach], [0, reach], color=INK, lw=0.8)
        axis.set(title=f"{side} days", xlabel="station [m³ m⁻³]", xlim=(0, reach), ylim=(0, reach))
    axes[0].set_ylabel(f"product [{_written(units)}]")
    if shown is not None:
        figure.colorbar(shown, ax=axes, label="pairs")
    return figure


def series(result: InSitu, units: str = "m3 m-3") -> Picture:
    """Draw the series of the best, the median and the worst station by R on filled days, and of dense cells."""
    table, pairs = result.table, result.pairs
    r = _of(table, "r", "filled")
    if not np.isfinite(r).any():
        r = _of(table, "r", "observed")
    single = np.flatnonzero(np.isfinite(r) & (table["network"].values != DENSE))
    order = single[np.argsort(r[single])]
    chosen: dict[int, str] = {}
    if order.size:
        for place, word in ((-1, "best"), (order.size // 2, "median"), (0, "worst")):
            chosen.setdefault(int(order[place]), word)
    dense = np.flatnonzero(table["network"].values == DENSE)[:MOST_DENSE]
    chosen |= {int(k): f"mean of {int(table['count'].values[k])} stations of a cell" for k in dense}
    count = max(1, len(chosen))
    figure, axes = subplots(count, 1, figsize=(11, 2.3 * count + 0.5), layout="constrained", sharex=True, squeeze=False)
    for axis, (k, word) in zip(axes[:, 0], chosen.items(), strict=False):
        one = pairs.isel(station=k)
        time, estimate, station = one["time"].values, one["estimate"].values, one["in_situ"].values
        axis.plot(time, station, color=INK, lw=0.9, label="station")
        if "spread" in one and np.isfinite(one["spread"].values).any():
            spread = one["spread"].values
            axis.fill_between(time, station - spread, station + spread, color=INK, alpha=0.25, lw=0, label="±1 SE")
        for code, color, label in ((OBSERVED, BLUE, "observed"), (FILLED, RED, "filled")):
            there = one["source"].values == code
            axis.plot(time[there], estimate[there], ".", color=color, ms=2.5, label=label)
        values = ", ".join(f"R {side} {float(_of(table, 'r', side)[k]):.3f}" for side in SIDES)
        axis.set_title(f"{word}: {table['station'].values[k]}, {values}", fontsize=9, loc="left")
        axis.set_ylabel(f"soil moisture [{_written(units)}]")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(loc="upper right", ncol=4, fontsize=8, frameon=False)
    return figure


def status_bars(table: xr.Dataset) -> Picture:
    """Draw how many stations have metrics in each subset of days, and why others have none."""
    single = table["network"].values != DENSE
    names = [str(n) for n in table["subset"].values if " " not in str(n)]
    status = table["status"].sel(subset=names).values[single]
    figure, axes = subplots(1, 1, figsize=(8, 1.2 + 0.26 * len(names)), layout="constrained")
    axis: Any = axes
    begin = np.zeros(len(names))
    colors = (BLUE, "#e0a526", "#8a8a8a", "#bbbbbb", SAND, RED)
    for code, color in zip(range(len(STATUS)), colors, strict=True):
        number = (status == code).sum(0)
        if number.any() or code == OK:
            axis.barh(np.arange(len(names)), number, left=begin, color=color, label=STATUS[code].replace("_", " "))
        begin = begin + number
    axis.set_yticks(np.arange(len(names)), names, fontsize=8)
    axis.set(xlabel="stations", ylim=(len(names) - 0.5, -0.5))
    axis.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncol=3, fontsize=8, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _written(units: str) -> str:
    return {"m3 m-3": "m³ m⁻³"}.get(units, units)
