"""Soil moisture of Noah-MP and other models of NASA's Land Information System (LIS): LIS_HIST files, regular grid.

Option layer: of the soil, 0 = top (mostly 0 to 10 cm: attribute `SOIL_LAYER_THICKNESSES`). Stacks of maps of one layer,
with time, lat and lon as axes, are read too where they are named; they do not tell which layer they hold. The state at
a time, not a mean. Facts: LIS users' guide; missing coordinates where the model has no land are seen in real files.
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
    """The times of the files, told by their names, of stacks by their time axis."""
    if layer < 0:
        raise SourceError(f"lis: layer {layer}, expected 0 or more")
    named = [path for path in paths if path.name.startswith("LIS_HIST_")]
    stacks = [File(path, times_in(path)) for path in paths if path not in named]
    return Files("lis", dated(named, r"^LIS_HIST_(\d{12})\.", "%Y%m%d%H%M") + stacks, partial(read, layer=layer))


def read(path: Path, steps: slice, layer: int = 0) -> xr.Dataset:
    """`sm` and `sm_reason` of the times of a file."""
    with xr.open_dataset(path) as raw:
        water = raw[NAME]
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
    """Coordinates of the lines of a map that lie `step` apart. degrees: of each cell, NaN where they are missing, which
    whole lines may be."""
    lines = np.arange(len(degrees)) * step
    off = degrees.astype(np.float64) - lines[:, None]
    first = np.nanmedian(off) if np.isfinite(off).any() else np.nan
    if not np.nanmax(np.abs(off - first)) < 0.05 * step:
        raise ValueError(f"latitudes and longitudes are not {step} degrees apart: no regular grid")
    found: np.ndarray = np.round(first + lines, 6)
    return found
