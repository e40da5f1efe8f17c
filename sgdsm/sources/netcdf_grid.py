"""Any CF NetCDF file with maps: variables under the names that are asked for, units as the file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.cube import ConfigError
from sgdsm.sources.files import File, Files, SourceError, dated
from sgdsm.sources.packed import AXES, LOCK, named, opened, read_maps, times_in

PATTERNS = ("*.nc", "*.nc4", "*.cdf", "*.h5")


def files(paths: Sequence[Path], variables: Mapping[str, str], date: str | None = None) -> Files:
    """variables: our name to the file's. date: a regular expression whose group finds the day (YYYYMMDD) in the name of
    a file that has no time axis; without it such a file is one map without time."""
    if not variables:
        raise ConfigError("netcdf_grid: variables={}: expected our names and those of the file, as {ndvi: ndvi_max}")
    if date:
        found = dated(paths, date)
    else:
        first = next(iter(variables.values()))
        axes = {path: _time_axis(path, first) for path in paths}
        without = [path for path, axis in axes.items() if axis is None]
        if without and len(without) < len(paths):
            raise SourceError(f"{without[0]}: '{first}' has no time axis there, in other files it has")
        found = [File(path, times_in(path, (axis,)) if axis else NO_TIME) for path, axis in axes.items()]
    times = {file.path: file.times for file in found}

    def read(path: Path, steps: slice) -> xr.Dataset:
        maps = read_maps(path, variables, times[path][steps], steps)
        if times[path].size and "time" not in maps.dims:
            maps = maps.expand_dims(time=times[path])
        return maps.transpose(*(axis for axis in AXES if axis in maps.dims))

    return Files("netcdf_grid", found, read)


NO_TIME = np.array([], "datetime64[ns]")


def _time_axis(path: Path, name: str) -> str | None:
    """Of a variable, its axis of times. Raises SourceError naming the file that cannot be opened."""
    with named(path), opened(path) as file, LOCK:
        dims = file[name].dimensions if name in file.variables else ()
        return next((dim for dim in dims if dim.lower() in ("time", "valid_time", "t") and dim in file.variables), None)
