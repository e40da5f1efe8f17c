"""Filled values beside stations, from Python; what the command `insitu` and the accessor share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import SM_FILLED
from sgdsm.evaluation.insitu import compare, left_out, summary
from sgdsm.evaluation.station_matching import OK, Projection, matched, scaled, with_dense_cells
from sgdsm.preprocessing.bias_correction.cdf import fit_cdf
from sgdsm.preprocessing.bias_correction.moments import fit_moments
from sgdsm.preprocessing.grid import crs_in
from sgdsm.sources.readers.files import find_files

READERS = {".zip": "ismn", ".stm": "ismn", ".csv": "station_csv", ".nc": "station_netcdf", ".nc4": "station_netcdf"}
MAPS: dict[str, Callable[..., Any]] = {"mean_std": fit_moments, "cdf": fit_cdf}
LEAST_FITTED = 20  # pairs of observed days, for a scaling


@checked
def insitu(
    filled: xr.Dataset,
    stations: xr.Dataset | str | Path,
    *,
    reader: str | None = None,
    options: Mapping[str, Any] | None = None,
    estimate: str = SM_FILLED,
    observed: str | None = None,
    reasons: xr.Dataset | None = None,
    least: int = 100,
    scale: Literal["none", "mean_std", "cdf"] = "none",
    max_distance_km: float | None = None,
    dense: int = 5,
    anomaly_days: int = 35,
    block_days: int = 60,
    draws: int = 500,
    seed: int = 0,
    each: bool = False,
) -> pd.DataFrame:
    """Compare a filled Dataset with stations, on observed and on filled days apart, as `sgdsm insitu` does.

    Args:
        filled: As `sgdsm.fill` returns it, or predict.py writes it.
        stations: File or folder of stations, or a Dataset as `sgdsm.open_product("ismn", ...)` gives it: `sm`
            (time, station), m3 m-3, with `lat`, `lon`, `network` and `depth_m`.
        reader: Of the files: ismn, station_csv, station_netcdf, uscrn or scan; by default by the ending.
        options: Of the reader, such as {'depth_m': [0, 0.1]}.
        estimate: Variable that is compared.
        observed: Variable whose finite values say which days were observed, where there is no `sm_source`.
        reasons: The cube that was filled, whose `sm_reason` splits the filled days.
        least: Fewest pairs of a station in a subset of days.
        scale: Of the product to each station, fitted on observed days only.
        max_distance_km: Largest distance to the centre of the nearest cell, in place of the cell that holds the
            station.
        dense: Stations of a cell whose mean is compared too.
        anomaly_days: Window of the mean that anomalies are counted from.
        block_days: Length of the blocks of days that are resampled for the intervals.
        draws: Resampled series, for the intervals.
        seed: Of the draws.
        each: A row for each station in place of medians over stations.

    Returns:
        Indexed by group of stations and subset of days ('observed', 'filled', 'filled minus observed', ...), or with
        `each` by station and subset: metrics with `_lower` and `_upper` of their 95 % intervals. RMSD, ubRMSD, MAE and
        bias are in m3 m-3, correlations have no unit.

    Raises:
        CubeError: The Dataset lacks a variable, no station lies in it, or none has `least` pairs.
        ConfigError: A file or a setting cannot work.
    """
    if not isinstance(stations, xr.Dataset):
        stations = find_files(reader or reader_of(str(stations)), stations, **(options or {})).open()
    elif reader is not None or options:
        raise ConfigError("insitu: reader= and options= are for files of stations; stations= is a Dataset")
    pairs = matched(
        filled,
        stations,
        estimate=estimate,
        observed=observed,
        reasons=reasons,
        max_distance_km=max_distance_km,
        projection=projection_of(filled),
        any_units=scale != "none",
        name="the Dataset",
    )
    pairs = with_dense_cells(pairs, dense)
    if scale != "none":
        pairs = scaled(pairs, partial(MAPS[scale], least_values=LEAST_FITTED))
    result = compare(pairs, least=least, anomaly_days=anomaly_days, block_days=block_days, draws=draws, seed=seed)
    rows = summary(result)
    if not rows:
        lost = "; ".join(f"{why}: {', '.join(names)}" for why, names in left_out(result).items())
        raise CubeError(f"no station has {least} pairs ({lost})")
    if not each:
        return pd.DataFrame(rows).set_index(["group", "subset"])
    table = result.table.to_dataframe()
    return table[table["status"] == OK].drop(columns="status")


def reader_of(path: str) -> str:
    """Return the product reader of a file or folder of stations, by the endings of the names.

    Args:
        path: File or folder.

    Raises:
        ConfigError: It is not there, or its name does not tell.
    """
    where = Path(path)
    if where.is_dir():
        names = [f.name for f in sorted(where.rglob("*"))[:1000]]
        if any(name.startswith("CRND0103-") for name in names):
            return "uscrn"
        kinds = Counter(READERS[Path(name).suffix] for name in names if Path(name).suffix in READERS)
        if kinds:
            return kinds.most_common(1)[0][0]
    elif where.name.startswith("CRND0103-"):
        return "uscrn"
    elif where.suffix in READERS:
        return READERS[where.suffix]
    elif not where.exists():
        raise ConfigError(f"stations={path}: no such file or folder")
    raise ConfigError(f"stations={path}: its ending does not tell the reader: give reader=ismn, station_csv...")


def projection_of(product: xr.Dataset) -> Projection | None:
    """Return how the places of a projected grid become degrees; None for latitudes and longitudes."""
    if not {"y", "x"} <= set(product.dims):
        return None
    crs = crs_in(product)
    if crs is None:
        return None
    try:
        from pyproj import Transformer
    except ImportError as error:
        raise ConfigError("a grid in y and x needs pyproj: pip install 'sgdsm[products]'") from error
    forth, back = (Transformer.from_crs(*pair, always_xy=True) for pair in (("EPSG:4326", crs), (crs, "EPSG:4326")))

    def forward(lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = forth.transform(lon, lat)
        return np.asarray(y), np.asarray(x)

    def backward(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lon, lat = back.transform(x, y)
        return np.asarray(lat), np.asarray(lon)

    return Projection(forward, backward)
