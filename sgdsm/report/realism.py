"""Figure of realism: how filled values vary in time and space, beside the hidden truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from sgdsm.evaluation.realism import LAGS, PERIODS, Realism
from sgdsm.report.style import INK, line_style, subplots

TRUTH, FILLED = 0, 1
RATIOS = {
    "standard\ndeviation": "std",
    "drydown\ntime scale": "drydown_days",
    "seam\nin time": "seam_time",
    "seam\nin space": "seam_space",
}


def realism_figure(found: Mapping[str, Realism], path: Path, title: str, units: str) -> Path:
    """Draw autocorrelation, power spectrum and variogram, and ratios of filled values to the hidden truth.

    Args:
        found: Name of each filler -> its statistics, at the same hidden values.
        path: Of the picture.
        title: Of the picture.
        units: Of the target.

    Returns:
        `path`.
    """
    figure, ((a, b), (c, d)) = subplots(2, 2, figsize=(11, 8), layout="constrained")
    first = next(iter(found.values()))
    lines: dict[str, tuple[Realism, int, dict[str, Any]]] = {"hidden truth": (first, TRUTH, {"color": INK, "lw": 2.5})}
    lines |= {name: (one, FILLED, {**line_style(k), "lw": 1.3, "ms": 4}) for k, (name, one) in enumerate(found.items())}
    for name, (one, which, style) in lines.items():
        style["label"] = name
        a.plot(LAGS, one.autocorrelation[which], **style)
        b.plot(PERIODS, np.where(one.power[which] > 0, one.power[which], np.nan), **style)
        c.plot(one.distance_km, np.sqrt(one.variogram[which]), **style)
    a.set(title="autocorrelation of anomalies", xlabel="lag [days]", ylabel="correlation [1]")
    a.axhline(0, color=INK, lw=0.5)
    b.set(title="power spectrum in time", xlabel="period [days]", ylabel=f"power [({units})² day]")
    b.set(xscale="log", yscale="log")
    b.set_xticks([2, 3, 5, 10, 20, 60], ["2", "3", "5", "10", "20", "60"])
    b.minorticks_off()
    c.set(title="variogram of daily anomalies", xlabel="distance [km]", ylabel=f"root of semivariance [{units}]")
    c.set_ylim(bottom=0)
    _ratios(d, found)
    handles, labels = a.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _ratios(axis: Axes, found: Mapping[str, Realism]) -> None:
    """Draw filled over truth, a group for each quantity that is known; half is as far from 1 as twice."""
    fields = {
        label: field
        for label, field in RATIOS.items()
        if any(np.isfinite(getattr(one, field)).all() for one in found.values())
    }
    places = np.arange(len(fields))
    for k, one in enumerate(found.values()):
        values = [getattr(one, field) for field in fields.values()]
        ratios = np.array([value[FILLED] / value[TRUTH] if value[TRUTH] else np.nan for value in values])
        # a model may lack one: it has no drydown, or no seam
        known = np.isfinite(ratios) & (ratios > 0)
        shift = 0.7 * ((k + 0.5) / len(found) - 0.5)
        axis.plot(places[known] + shift, ratios[known], **{**line_style(k), "ls": "", "ms": 6})
    axis.axhline(1, color=INK, lw=1, ls="--")
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, 0.45), max(high, 2.2))
    axis.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_xticks(places, list(fields))
    axis.set_xlim(-0.5, len(fields) - 0.5)
    axis.grid(axis="y", alpha=0.3)
    axis.set(title="filled over hidden truth (1: as real)", ylabel="ratio [1]")
