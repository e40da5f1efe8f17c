"""Maps in NetCDF files as they lie on disk: packed numbers, chunks, time axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from sgdsm.sources.files import SourceError

LOCK = NETCDF4_PYTHON_LOCK


def unpacked(raw: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
    """Values (float32, a copy) of packed numbers: fill values and what is outside `valid_range` become NaN.

    attributes: those of the variable; `valid_range` counts in packed numbers, as CF has it.
    """
    values = raw.astype(np.float32)
    if "scale_factor" in attributes or "add_offset" in attributes:
        values *= np.float32(attributes.get("scale_factor", 1.0))
        values += np.float32(attributes.get("add_offset", 0.0))
    for name in ("_FillValue", "missing_value"):
        fill = np.atleast_1d(attributes.get(name, np.nan))
        for value in fill[np.isfinite(fill)]:
            values[raw == value] = np.nan
    if "valid_range" in attributes:
        low, high = attributes["valid_range"]
        values[(raw < low) | (raw > high)] = np.nan
    return values


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A NetCDF file, packed numbers left as they are. The library is not safe for threads: every use of the file needs
    `LOCK`, which is xarray's own, so that neither meets the other."""
    import netCDF4

    with LOCK:
        file = netCDF4.Dataset(path)
        file.set_auto_maskandscale(False)
        # of a NetCDF-3 file that was cut off the library reads zeros, silently
        classic = file.data_model.startswith("NETCDF3")
        needed = sum(v.size * v.dtype.itemsize for v in file.variables.values()) if classic else 0
    try:
        if path.stat().st_size < needed:
            raise OSError(f"truncated: it has {path.stat().st_size} bytes, its variables {needed}")
        yield file
    finally:
        with LOCK:
            file.close()


def attributes_of(variable: Any) -> dict[str, Any]:
    """Of a variable of netCDF4."""
    return {name: variable.getncattr(name) for name in variable.ncattrs()}


def times_in(path: Path, axes: tuple[str, ...] = ("time",)) -> np.ndarray:
    """Times (datetime64[ns]) of the first of these axes that a file has; only the axis is read.

    Raises SourceError naming the file without a time axis that can be read.
    """
    try:
        with opened(path) as file, LOCK:
            axis = next((name for name in axes if name in file.variables and file[name].ndim == 1), None)
            if axis is None:
                raise SourceError(f"{path}: no time axis ({' or '.join(axes)}) among {list(file.variables)}")
            return decoded(np.asarray(file[axis][:]), file[axis].units)
    except (OSError, KeyError, ValueError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(f"{path}: its time axis cannot be read (truncated, or no NetCDF): {reason}") from error


def decoded(numbers: np.ndarray, units: str) -> np.ndarray:
    """Times (datetime64[ns], to the second) of numbers with CF units like 'days since 1970-01-01'."""
    import netCDF4

    dates = netCDF4.num2date(numbers, units, only_use_cftime_datetimes=False, only_use_python_datetimes=True)
    # numbers are floats in some products: half a second more, then cut
    return (np.asarray(dates, "datetime64[ms]") + 500).astype("datetime64[s]").astype("datetime64[ns]")


def chunks(
    variable: Any, steps: np.ndarray, size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, slice, slice, np.ndarray]]:
    """Packed maps of rising `steps` of a variable (time, ..., rows, columns), each chunk of the file read once.

    Gives positions in `steps`, rows, columns, and the packed values there; size: of a map. A file without chunks, or
    with one for each time, is read map by map.
    """
    with LOCK:
        chunking = variable.chunking()
    depth, tile = 1, size
    if isinstance(chunking, list) and chunking[0] > 1:
        depth, tile = chunking[0], (min(chunking[-2], size[0]), min(chunking[-1], size[1]))
    for top in range(0, size[0], tile[0]):
        for left in range(0, size[1], tile[1]):
            rows, columns = slice(top, min(top + tile[0], size[0])), slice(left, min(left + tile[1], size[1]))
            for group in np.unique(steps // depth):
                which = np.flatnonzero(steps // depth == group)
                first, last = int(steps[which[0]]), int(steps[which[-1]]) + 1
                with LOCK:
                    raw = np.asarray(variable[(slice(first, last), ..., rows, columns)])
                yield which, rows, columns, raw[steps[which] - first]
