"""Any CF NetCDF file with maps: chosen variables under names of our own, in the units of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.sources.readers.files import File, Files, SourceError, dated
from sgdsm.sources.readers.packed import AXES, LOCK, named, opened, read_maps, time_axis, times_along

PATTERNS = ("*.nc", "*.nc4", "*.cdf", "*.h5")


def files(
    paths: Sequence[Path], variables: Mapping[str, str], date: str | None = None, group: str | None = None
) -> Files:
    """Return the times of the files, from their time axes or their names.

    Args:
        paths: Files of the product, in any order.
        variables: The file's name of a variable by our name; the path of one in a group, as {sm:
            Geophysical_Data/sm_surface}.
        date: Regular expression whose group is the day (YYYYMMDD) in the name of a file that has no time axis; without
            it such a file is one map without time.
        group: Group of all variables, instead of paths.

    Returns:
        The files.

    Raises:
        ConfigError: If no variables are given.
        SourceError: If a file cannot be opened, lacks the first variable, or only some of the files have a time axis.
    """
    if not variables:
        raise ConfigError("netcdf_grid: variables={}: expected our names and those of the file, as {ndvi: ndvi_max}")
    inside = {
        ours: "/".join([*(group or "").split("/"), *its.split("/")]).strip("/") for ours, its in variables.items()
    }
    if date:
        listed = dated(paths, date)
    else:
        first = next(iter(inside.values()))
        known = {path: _times(path, first) for path in paths}
        # a mixture would silently lose the files without time
        without = [path for path, times in known.items() if times is None]
        if without and len(without) < len(paths):
            raise SourceError(f"{without[0]}: '{first}' has no time axis there, in other files it has")
        listed = [File(path, NO_TIME if times is None else times) for path, times in known.items()]
    times = {file.path: file.times for file in listed}

    def read(path: Path, steps: slice) -> xr.Dataset:
        maps = read_maps(path, inside, times[path][steps], steps)
        # the time comes from the name of the file
        if times[path].size and "time" not in maps.dims:
            maps = maps.expand_dims(time=times[path])
        return maps.transpose(*(axis for axis in AXES if axis in maps.dims))

    return Files("netcdf_grid", listed, read)


NO_TIME = np.array([], "datetime64[ns]")


def _times(path: Path, name: str) -> np.ndarray | None:
    """Return the times (datetime64[ns]) of a variable; None if it has none.

    Raises:
        SourceError: If the file cannot be opened or lacks the variable.
    """
    with named(path), opened(path) as file, LOCK:
        axis = time_axis(file, name)
        return None if axis is None else times_along(axis)
