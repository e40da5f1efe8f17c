"""Draw docs/images/before_after.png, a day of real SMAP data as observed and as filled.

With SGDSM_SHARED_DATA set, and the extra `coastlines`:

    sgdsm train model=xgboost data=smap_conus name=smap
    sgdsm predict run=runs/smap output=smap_filled.nc
    python docs/pictures.py smap_filled.nc
    sgdsm animate filled=smap_filled.nc output=docs/images/before_after.gif time=2016-05-10:2016-05-31
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

IMAGES = Path(__file__).resolve().parent / "images"


def before_after(path: Path, day: str) -> Figure:
    """Draw the observed and the filled map of a day, and its error bars.

    Args:
        path: Filled file.
        day: Like 2016-05-20.
    """
    with xr.open_dataset(path) as filled:
        one = filled.sel(time=day).load()
    land, known = one["land"] > 0, one["sm_source"] == 1
    panels = [
        (one["sm_filled"].where(known), "observed", "viridis", (0.0, 0.5)),
        (one["sm_filled"], "filled (XGBoost)", "viridis", (0.0, 0.5)),
        (one["sm_std"].where(one["sm_source"] == 2), "error bar of what was filled", "cividis", (0.0, 0.05)),
    ]
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    figure.suptitle(f"SMAP soil moisture, {day}", fontsize=10)
    axes = figure.subplots(1, 3, sharey=True)
    for axis, (values, title, palette, (low, high)) in zip(axes, panels, strict=True):
        axis.pcolormesh(one["lon"], one["lat"], np.where(land, 0.5, np.nan), cmap="Greys", vmin=0, vmax=2)
        mesh = axis.pcolormesh(one["lon"], one["lat"], values, cmap=palette, vmin=low, vmax=high)
        axis.set_title(title, fontsize=9)
        axis.set_aspect(1.25)
        axis.tick_params(labelsize=7)
        bar = figure.colorbar(mesh, ax=axis, orientation="horizontal", shrink=0.8, extend="max", aspect=30)
        bar.set_label(f"{'standard deviation' if palette == 'cividis' else 'soil moisture'} (m³ m⁻³)", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        axis.set_xlabel("longitude (degrees east)", fontsize=7)
    axes[0].set_ylabel("latitude (degrees north)", fontsize=7)
    return figure


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("filled", type=Path)
    words.add_argument("--day", default="2016-05-20")
    given = words.parse_args()
    before_after(given.filled, given.day).savefig(IMAGES / "before_after.png", dpi=110)
