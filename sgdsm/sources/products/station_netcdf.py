"""Soil moisture of stations in a NetCDF file: dims time and station, or time, station and depth.

CF discrete sampling geometries of this form (`featureType = timeSeries`, orthogonal) and files stacked by hand alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.coordinates import days_along
from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.logging import log
from sgdsm.core.units import conversion
from sgdsm.sources.readers.files import OnBadFile, SourceError, headed
from sgdsm.sources.readers.stations import Series, Stations, gathered

PATTERNS = ("*.nc", "*.nc4")


def files(
    paths: Sequence[Path],
    sm: str = "sm",
    *,
    temperature: str = "soil_temperature",
    name: str | None = None,
    network: str | None = None,
    depth_m: Sequence[float] = (0.0, 0.1),
    frozen_below: float | None = None,
) -> Stations:
    """Return the stations of the files.

    Args:
        paths: Files with `lat` and `lon` (station) and daily times.
        sm: Variable of soil moisture, dims time, station and perhaps depth, with units.
        temperature: Variable of soil temperature on the same dims; where there is none, it is not used.
        name: Variable with the names of the stations; None: `name`, `station_name`, or else the values of `station`.
        network: Network of all stations; None: the variable `network`, or else the name of the file.
        depth_m: Shallowest and deepest accepted depth, m below the surface; the depth nearest to their middle is read.
        frozen_below: Soil temperature in degC at or below which a value is left out; None: all values are taken.

    Returns:
        The stations, read when they are opened.
    """

    def gather(on_bad_file: OnBadFile) -> xr.Dataset:
        series: list[Series] = []
        for path in paths:
            try:
                series += _series(path, sm, temperature, name, network, depth_m, frozen_below)
            except CubeError as error:
                if on_bad_file == "fail":
                    raise SourceError(headed(path, error)) from error
                log.info("skipped: %s", headed(path, error))
        return gathered("station_netcdf", series)

    return Stations("station_netcdf", gather)


def _series(
    path: Path,
    sm: str,
    temperature: str,
    name: str | None,
    network: str | None,
    depth_m: Sequence[float],
    frozen_below: float | None,
) -> list[Series]:
    with open_dataset(path) as file:
        for needed in (sm, "lat", "lon"):
            if needed not in file.variables:
                there = ", ".join(map(str, file.data_vars))
                raise CubeError(f"no variable '{needed}' of stations; there are {there}: name yours by the options")
        dims = set(file[sm].dims)
        if not {"time", "station"} <= dims <= {"time", "station", "depth"}:
            raise CubeError(f"'{sm}' has dims {file[sm].dims}, expected time and station, or time, station and depth")
        if file["lat"].dims != ("station",) or file["lon"].dims != ("station",):
            raise CubeError("lat and lon have other dims than (station)")
        days = days_along(file).astype("datetime64[D]")
        depth = float("nan")
        if "depth" in dims:
            file, depth = _at_depth(file, depth_m)
        values = _in_units(file[sm], "m3 m-3").transpose("time", "station").values.astype(np.float64)
        beyond = values[(values < 0) | (values > 1)]
        if beyond.size:
            raise CubeError(f"'{sm}' holds {beyond[0]:g}, expected m3 m-3 from 0 to 1")
        warmth = None
        if temperature in file and {"time", "station"} == set(file[temperature].dims):
            warmth = _in_units(file[temperature], "degC").transpose("time", "station").values.astype(np.float64)
        if frozen_below is not None:
            if warmth is None:
                raise CubeError(f"frozen_below={frozen_below:g} needs a soil temperature, there is no '{temperature}'")
            values = np.where(warmth <= frozen_below, np.nan, values)
        given = name or next((n for n in ("name", "station_name", "station") if n in file.variables), None)
        names = [str(k) for k in range(values.shape[1])] if given is None else file[given].values.astype(str).tolist()
        whose = network
        networks = (
            file["network"].values.astype(str).tolist()
            if whose is None and "network" in file.variables and file["network"].dims == ("station",)
            else [whose or path.stem] * len(names)
        )
        lat, lon = (file[axis].values.astype(np.float64) for axis in ("lat", "lon"))
    found = []
    for k, one in enumerate(names):
        known = np.isfinite(values[:, k])
        if not (np.isfinite(lat[k]) and np.isfinite(lon[k])):
            raise CubeError(f"station {one} has no place")
        warm = None if warmth is None else warmth[known, k]
        found.append(Series(one, networks[k], float(lat[k]), float(lon[k]), depth, days[known], values[known, k], warm))
    return found


def _at_depth(file: xr.Dataset, depth_m: Sequence[float]) -> tuple[xr.Dataset, float]:
    top, bottom = depth_m
    if "depth" not in file.coords:
        raise CubeError("dimension 'depth' has no coordinate values")
    factor, _ = conversion(file["depth"].attrs.get("units", "m"), "m")
    depths = factor * file["depth"].values.astype(np.float64)
    within = np.flatnonzero((depths >= top - 1e-6) & (depths <= bottom + 1e-6))
    if not within.size:
        raise ConfigError(
            f"depth_m={list(depth_m)}: no sensor there, the file has {', '.join(f'{d:g}' for d in depths)} m"
        )
    at = int(within[np.argmin(abs(depths[within] - (top + bottom) / 2))])
    return file.isel(depth=at), float(depths[at])


def _in_units(variable: xr.DataArray, wanted: str) -> xr.DataArray:
    if "units" not in variable.attrs:
        raise CubeError(f"'{variable.name}' has no units, expected {wanted}")
    try:
        factor, offset = conversion(variable.attrs["units"], wanted)
    except CubeError as error:
        raise CubeError(f"'{variable.name}' is in '{variable.attrs['units']}', expected {wanted}") from error
    return variable * factor + offset
