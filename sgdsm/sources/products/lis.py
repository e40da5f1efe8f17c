"""Soil moisture of NASA's Land Information System (LIS; Noah-MP and other models): LIS_HIST NetCDF on a regular grid.

Reads `SoilMoist_inst`, the state at a time, not a mean, in m3 m-3; layer 0 is mostly 0 to 10 cm (attribute
`SOIL_LAYER_THICKNESSES`). Stacks of maps of one layer with the axes time, lat and lon are read too if their files are
named in the paths; they do not say which layer they hold. In real files coordinates are missing where there is no land.

Reference: LIS users' guide, NASA GSFC.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.sources.readers.files import File, Files, SourceError, dated
from sgdsm.sources.readers.names import M3, REASON_ATTRS, north_up, reasons
from sgdsm.sources.readers.packed import times_in

PATTERNS = ("LIS_HIST_*.nc",)
NAME = "SoilMoist_inst"


def files(paths: Sequence[Path], layer: int = 0) -> Files:
    """Return the times of the files, dated by their names; those of stacks from their time axes.

    Args:
        paths: Files of the product, in any order.
        layer: Number of the soil layer, 0 = top.

    Returns:
        The files.

    Raises:
        SourceError: If the layer is negative, a name has no date, or a time axis cannot be read.
    """
    if layer < 0:
        raise SourceError(f"lis: layer {layer}, expected 0 or more")
    # stacks have names that users chose
    single = [path for path in paths if path.name.startswith("LIS_HIST_")]
    stacks = [File(path, times_in(path)) for path in paths if path not in single]
    return Files("lis", dated(single, r"^LIS_HIST_(\d{12})\.", "%Y%m%d%H%M") + stacks, partial(read, layer=layer))


def read(path: Path, steps: slice, layer: int = 0) -> xr.Dataset:
    """Read the maps `steps` of a file.

    Args:
        path: File to read.
        steps: Positions on the time axis.
        layer: As in `files`.

    Returns:
        `sm` in m3 m-3 and `sm_reason`, dims (time, lat, lon).

    Raises:
        SourceError: If the units are not m3 m-3, or the file lacks the layer.
    """
    with xr.open_dataset(path) as raw:
        water = raw[NAME]
        # the model can also write kg m-2
        if water.attrs.get("units") not in ("m^3 m-3", "m3 m-3"):
            raise SourceError(f"{path}: {NAME} in '{water.attrs.get('units')}', expected m^3 m-3")
        if water.dims == ("time", "lat", "lon"):
            if layer:
                raise SourceError(f"{path}: has no layers, expected layer=0")
            sm = np.asarray(water.values[steps], np.float32)
            lat, lon = raw["lat"].values, raw["lon"].values
        else:
            water = water.squeeze([d for d in water.dims if d == "time"])
            if layer >= water.shape[0]:
                raise SourceError(f"{path}: has {water.shape[0]} layers, expected layer {layer} (0 = top)")
            sm = np.asarray(water.values[layer], np.float32)[None]
            lat = _regular(raw["lat"].values, float(raw.attrs["DY"]))
            lon = _regular(raw["lon"].values.T, float(raw.attrs["DX"]))
        coords = {"time": raw["time"].values[steps], "lat": lat, "lon": lon}
    maps = {"sm": (sm, M3), "sm_reason": (reasons(sm, {}), REASON_ATTRS)}
    dataset = xr.Dataset({n: (("time", "lat", "lon"), v, a) for n, (v, a) in maps.items()}, coords)
    return north_up(dataset.assign_attrs(product=f"LIS soil moisture, layer {layer}"))


def _regular(degrees: np.ndarray, step: float) -> np.ndarray:
    """Return the coordinates (N,) of the lines of a map that are `step` degrees apart.

    Args:
        degrees: Coordinate of each cell (N, M) along its lines, degrees, NaN where missing; whole lines may be missing.
        step: Distance of the lines, degrees.

    Raises:
        ValueError: If the lines are not that far apart.
    """
    lines = np.arange(len(degrees)) * step
    off = degrees.astype(np.float64) - lines[:, None]
    # the median ignores single coordinates that were rounded
    first = np.nanmedian(off) if np.isfinite(off).any() else np.nan
    if not np.nanmax(np.abs(off - first)) < 0.05 * step:
        raise ValueError(f"latitudes and longitudes are not {step} degrees apart: no regular grid")
    found: np.ndarray = np.round(first + lines, 6)
    return found
