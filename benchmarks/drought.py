"""The drought index on simulated soil moisture whose true index is known: how near it comes, and what it costs.

    OMP_NUM_THREADS=1 python benchmarks/drought.py [folder] [rows] [columns]

First 64 cells x 40 years, with gamma and beta soil moisture of an autoregressive index (.95 a day) and a season in mean
and spread: distance of the index from the normal distribution (Kolmogorov-Smirnov), share at or below -2, RMSE.
Then all indicators of a file of rows x columns x 40 years (100 x 100): time, and largest memory of the process.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr
from scipy import stats
from scipy.signal import lfilter

from sgdsm.core.cube import open_dataset
from sgdsm.evaluation.drought import Drought, daily
from sgdsm.evaluation.standardized_index import CELLS, Standardization, days_of_year

DAYS = np.arange(np.datetime64("1981-01-01"), np.datetime64("2021-01-01"))
ALL = np.ones(len(DAYS), bool)


def simulated(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Soil moisture, (T, CELLS) float32, and its true index."""
    shocks = np.random.default_rng(1).standard_normal((len(DAYS) + 300, CELLS))
    index = lfilter([np.sqrt(1 - 0.95**2)], [1, -0.95], shocks, axis=0)[300:]
    angle = 2 * np.pi * days_of_year(DAYS)[0][:, None] / 365
    mean, spread = 0.22 + 0.08 * np.cos(angle), 0.25 + 0.08 * np.sin(angle)
    if kind == "gamma":
        return stats.gamma.ppf(stats.norm.cdf(index), spread**-2, scale=mean * spread**2).astype(np.float32), index
    common = mean * (1 - mean) / (spread * mean) ** 2 - 1
    return stats.beta.ppf(stats.norm.cdf(index), mean * common, (1 - mean) * common).astype(np.float32), index


def skill(kind: str, values: np.ndarray, true: np.ndarray) -> None:
    for fit in ("gamma", "beta", "empirical"):
        for half in (0, 15):
            asked = Standardization(DAYS, ALL, fit, 1, half)  # type: ignore[arg-type]
            found = asked.index(values)[0]
            distance = stats.ks_1samp(found.ravel(), stats.norm.cdf).statistic
            rmse = np.sqrt(np.mean((found - true) ** 2))
            print(
                f"{kind} soil moisture, fit={fit}, half_window_days={half}: KS {distance:.4f}, at or below -2 "
                f"{(found <= -2).mean():.4f}, RMSE {rmse:.3f}",
                flush=True,
            )


def cost(path: Path, fit: str) -> None:
    begun, cpu = time.perf_counter(), time.process_time()
    with open_dataset(path) as dataset:
        maps = dataset["sm_filled"]
        asked = Standardization(daily(maps), ALL, fit)  # type: ignore[arg-type]
        drought = Drought(maps, np.ones(maps.shape[1:], bool), asked)
        events = sum(len(band.events) for band in drought.bands(drought.rows_at_once(0.25)))
    print(
        f"{fit}, {maps.shape[1] * maps.shape[2]} cells x {maps.shape[0]} days: {time.process_time() - cpu:.0f} s of a "
        f"processor ({time.perf_counter() - begun:.0f} s by the clock), {events} events, largest memory so far "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB",
        flush=True,
    )


def main(folder: str = ".", rows: str = "100", columns: str = "100") -> None:
    for kind in ("gamma", "beta"):
        values, true = simulated(kind)
        skill(kind, values, true)
        height, width = int(rows), int(columns)
        path = Path(folder) / f"drought_{kind}.nc"
        space = {"lat": 50.0 - 0.1 * np.arange(height), "lon": 0.1 * np.arange(width)}
        with xr.Dataset({"sm_filled": (("time", "lat", "lon"), _tiled(values, height, width))}, space) as world:
            world["sm_filled"].attrs["units"] = "m3 m-3"
            world.assign_coords(time=DAYS.astype("datetime64[ns]")).to_netcdf(path, engine="netcdf4")
        cost(path, kind)
        path.unlink()


def _tiled(values: np.ndarray, height: int, width: int) -> xr.Variable:
    """The simulated cells again and again, as a map that is made day by day as it is written."""
    import dask.array

    cells = np.arange(height * width).reshape(height, width) % CELLS
    days = 366
    blocks = [
        dask.array.from_array(values[k : k + days], chunks=-1)[:, cells.ravel()] for k in range(0, len(values), days)
    ]
    return dask.array.concatenate([b.reshape(b.shape[0], height, width) for b in blocks])  # type: ignore[no-any-return]


if __name__ == "__main__":
    main(*sys.argv[1:])
