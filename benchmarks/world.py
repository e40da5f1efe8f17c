"""The built-in world beside real SMAP data: docs/images/world.png and a table.

    python benchmarks/world.py

Needs the real data (SGDSM_SHARED_DATA).
"""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from sgdsm.sources.simulation.world import simulate

LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def lag_differences(sm: np.ndarray) -> list[float]:
    """Root mean square difference of values some days apart."""
    return [float(np.sqrt(np.nanmean((sm[k:] - sm[:-k]) ** 2))) for k in LAGS]


def by_month(values: np.ndarray, time: xr.DataArray) -> list[float]:
    month = time.dt.month.values
    return [float(np.nanmean(values[month == m])) for m in range(1, 13)]


def main() -> None:
    folder = Path(os.environ.get("SGDSM_SHARED_DATA", "../shared/data"))
    real = xr.open_dataset(folder / "smap_conus.nc").load()
    worlds = {"simulated": (simulate(), 1.0), "SMAP": (real, 24.0)}
    figure, axes = plt.subplots(3, 3, figsize=(13, 10), layout="constrained")
    for row, (name, (cube, per_day)) in enumerate(worlds.items()):
        land = cube["land"].values.astype(bool)
        sm = cube["sm"].values[:, land]
        image = axes[row, 0].imshow(cube["sm"].values[100], vmin=0, vmax=0.5, cmap="YlGnBu", aspect="auto")
        axes[row, 0].set_title(f"{name}, one day")
        figure.colorbar(image, ax=axes[row, 0], label="m3 m-3")
        cells = np.argwhere(land)
        for column, place in ((1, len(cells) // 3), (2, 2 * len(cells) // 3)):
            i, j = cells[place]
            axes[row, column].plot(cube["time"], cube["sm"].values[:, i, j], ".", ms=3, color="#1b6ca8")
            axes[row, column].set_title(f"{name}, one cell")
            axes[row, column].tick_params("x", rotation=30)
        axes[2, 0].plot(LAGS, lag_differences(sm), "o-", label=name)
        axes[2, 1].plot(range(1, 13), by_month(np.isnan(sm).astype(float), cube["time"]), "o-", label=name)
        axes[2, 2].hist(sm[np.isfinite(sm)], bins=40, range=(0, 0.6), density=True, histtype="step", label=name)
        rain = cube["precipitation"].values[:, land] * per_day
        lag1, lag8 = (lag_differences(sm)[LAGS.index(k)] for k in (1, 8))
        print(
            f"{name}: gaps {np.isnan(sm).mean():.2f}, lag-1 {lag1:.3f}, lag-8 {lag8:.3f}, mean {np.nanmean(sm):.3f}, "
            f"sd of cell means {np.nanstd(np.nanmean(sm, 0)):.3f}, median cell sd {np.median(np.nanstd(sm, 0)):.3f}, "
            f"rain {np.nanmean(rain):.1f} mm/day, wet days {np.nanmean(rain >= 2.4):.2f}"
        )
    titles = ("difference after some days [m3 m-3]", "share of gaps by month", "values [m3 m-3]")
    for axis, title in zip(axes[2], titles, strict=True):
        axis.set_title(title)
        axis.legend()
    axes[2, 0].set_ylim(0)
    axes[2, 1].set_ylim(0, 1)
    figure.savefig("docs/images/world.png", dpi=80)


if __name__ == "__main__":
    main()
