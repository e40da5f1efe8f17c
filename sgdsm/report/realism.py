"""Figure of realism: how filled values vary in time and space, beside the hidden truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TABLEAU_COLORS

from sgdsm.evaluation.realism import LAGS, PERIODS, Realism
from sgdsm.report.style import INK, subplots

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
    colours = list(TABLEAU_COLORS.values())
    lines: dict[str, tuple[Realism, int, Any]] = {"hidden truth": (first, TRUTH, INK)}
    lines |= {name: (one, FILLED, colours[k % len(colours)]) for k, (name, one) in enumerate(found.items())}
    for name, (one, which, colour) in lines.items():
        style: dict[str, Any] = {
            "color": colour,
            "lw": 2.5 if which == TRUTH else 1.3,
            "label": name,
            "marker": "." if which else "",
        }
        a.plot(LAGS, one.autocorrelation[which], **style)
        b.plot(PERIODS, np.where(one.power[which] > 0, one.power[which], np.nan), **style)
        c.plot(one.distance_km, np.sqrt(one.variogram[which]), **style)
    a.set(title="autocorrelation of anomalies", xlabel="lag [days]", ylabel="correlation")
    a.axhline(0, color=INK, lw=0.5)
    b.set(title="power spectrum in time", xlabel="period [days]", ylabel=f"power [({units})² day]")
    b.set(xscale="log", yscale="log")
    b.set_xticks([2, 3, 5, 10, 20, 60], ["2", "3", "5", "10", "20", "60"])
    b.minorticks_off()
    c.set(title="variogram of daily anomalies", xlabel="distance [km]", ylabel=f"root of semivariance [{units}]")
    c.set_ylim(bottom=0)
    _ratios(d, found, colours)
    handles, labels = a.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _ratios(axis: Axes, found: Mapping[str, Realism], colours: Sequence[Any]) -> None:
    """Draw filled over truth as bars, a group for each quantity that is known."""
    width = 0.8 / len(found)
    fields = {
        label: field
        for label, field in RATIOS.items()
        if any(np.isfinite(getattr(one, field)).all() for one in found.values())
    }
    for k, one in enumerate(found.values()):
        values = [getattr(one, field) for field in fields.values()]
        ratios = [value[FILLED] / value[TRUTH] for value in values]
        places = np.arange(len(fields)) + (k - (len(found) - 1) / 2) * width
        axis.bar(places, ratios, width, color=colours[k % len(colours)])
    axis.axhline(1, color=INK, lw=1, ls="--")
    axis.set_xticks(range(len(fields)), list(fields))
    axis.set(title="filled over hidden truth (1: as real)", ylabel="ratio")
