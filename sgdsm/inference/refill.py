"""Keep a filled file up to date: its last days are filled again, and new days are added, as data arrive."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import target_of, time_chunks
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import (
    CAUSAL,
    FILLED,
    OBSERVED,
    OBSERVED_NAME,
    SM_FILLED,
    SM_SOURCE,
    VERSION,
    VERSIONS,
    versions_of,
)
from sgdsm.core.io.hdf5 import open_hdf5
from sgdsm.core.region import Box
from sgdsm.data.record import day_numbers
from sgdsm.inference.writers import PLAN
from sgdsm.preprocessing.export import write_netcdf

OF = "sgdsm_refill_of"  # attribute of the file: digest of run, data and days of its last version
CHUNK_DAYS = 64


def opened(path: Path) -> xr.Dataset:
    """Open a filled NetCDF file as it is stored, lazily.

    Args:
        path: What predict has written.

    Raises:
        ConfigError: It is not there, or nothing that can be filled again.
    """
    if path.suffix != ".nc" or not path.is_file():
        raise ConfigError(
            f"refill_days: output={path}: expected a file.nc that predict has written, to be filled again"
        )
    try:
        filled = open_hdf5(path)
    except OSError as error:
        raise ConfigError(f"output={path}: not a NetCDF-4 file") from error
    if SM_FILLED not in filled or SM_SOURCE not in filled or filled[SM_FILLED].ndim != 3:
        raise ConfigError(f"output={path}: no {SM_FILLED} and {SM_SOURCE} on days: expected what predict writes")
    return filled


def box_to_refill(filled: xr.Dataset, cube: xr.Dataset, days: int) -> Box:
    """Return the part of a cube to fill: the last days of a filled file, and those after it.

    Args:
        filled: From `opened`.
        cube: The cube, which has grown.
        days: How many of the last days of the file are filled again, steps of the cube.

    Raises:
        CubeError: The cube does not hold the grid or these days of the file.
    """
    target = target_of(cube)
    there, numbers = filled["time"].values, day_numbers(cube["time"])
    first = int(np.searchsorted(numbers, there[max(0, len(there) - days)]))
    again = there[max(0, len(there) - days) :]
    if not np.array_equal(numbers[first : first + len(again)], again):
        day, last = (str(np.datetime64(int(n), "D")) for n in (again[0], again[-1]))
        raise CubeError(f"the cube lacks some of the days {day} to {last}, which the file has: give one that has grown")
    parts = [slice(first, len(numbers))]
    for dim in target.dims[1:]:
        axis, part = cube[dim].values, filled[dim].values if dim in filled.dims else np.empty(0)
        start = int(np.argmin(np.abs(axis - part[0]))) if part.size else 0
        if not np.array_equal(axis[start : start + len(part)], part) or not part.size:
            raise CubeError(f"'{dim}' of the file is no part of that of the cube: the grid has changed")
        parts.append(slice(start, start + len(part)))
    return Box(*parts)


def merge(path: Path, again: Path, digest: str) -> dict[str, Any]:
    """Put days that were filled again, and new ones, into a filled file; it is the old one or the whole new one.

    Args:
        path: The filled file.
        again: The other one, with the days from some day of the file on.
        digest: Of run, data and days, for `up_to_date`.

    Returns:
        The entry of this version, as `versions_of` reads it.

    Raises:
        CubeError: The files do not have the same variables.
    """
    with opened(path) as old, opened(again) as new:
        if set(old.variables) != set(new.variables) or old.attrs.get(CAUSAL) != new.attrs.get(CAUSAL):
            other = sorted(map(str, set(old.variables) ^ set(new.variables)))
            raise CubeError(
                f"{path}: filled in another way ({', '.join(other) or 'with later days, or without'}): remove it, "
                "or choose another output"
            )
        first = int(np.searchsorted(old["time"].values, new["time"].values[0]))
        entry = {"version": int(old.attrs.get(VERSION, 1)) + 1, **_change(old.isel(time=slice(first, None)), new)}
        parts = [part.chunk(time=CHUNK_DAYS) for part in (old.isel(time=slice(0, first)), new) if part.sizes["time"]]
        whole = xr.concat(parts, "time", data_vars="minimal", coords="minimal", compat="override", join="override")
        written = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        since = f"days from {entry['first_day']} filled again by sgdsm"
        whole.attrs = {
            **new.attrs,
            "history": f"{old.attrs.get('history', '')}\n{written} {since}".strip(),
            VERSION: np.int32(entry["version"]),
            VERSIONS: json.dumps([*versions_of(old.attrs), {**entry, "written": written}]),
            PLAN: digest,
            OF: digest,
        }
        write_netcdf(whole, path)
    return entry


def up_to_date(filled: xr.Dataset, digest: str) -> bool:
    """Return True if the last version of a filled file was made by the same run from the same data and days."""
    return filled.attrs.get(OF) == digest


def _change(old: xr.Dataset, new: xr.Dataset) -> dict[str, Any]:
    """Return how the values of days that both have differ, and what was added."""
    common, count = old.sizes["time"], {"filled": 0, "changed": 0, "now_observed": 0}
    total, square, largest = 0.0, 0.0, 0.0
    name = new[SM_FILLED].attrs.get(OBSERVED_NAME)
    if name != old[SM_FILLED].attrs.get(OBSERVED_NAME):
        raise CubeError(f"the file's observed variable is not '{name}': remove it, or choose another output")
    for days in time_chunks(old[SM_FILLED]):
        before, after = (part[SM_FILLED][days].values.astype(np.float64) for part in (old, new))
        was, now = (part[SM_SOURCE][days].values for part in (old, new))
        still, seen = (was == FILLED) & (now == FILLED), (was == FILLED) & (now == OBSERVED)
        difference = np.abs(after - before)
        count["filled"] += int(still.sum())
        count["changed"] += int((difference[still] > 0).sum())
        total += float(difference[still].sum())
        largest = max(largest, float(difference[still].max(initial=0)))
        count["now_observed"] += int(seen.sum())
        square += float((difference[seen] ** 2).sum())
    day = str(np.datetime64(int(new["time"].values[0]), "D"))
    last = str(np.datetime64(int(new["time"].values[-1]), "D"))
    return {
        "first_day": day,
        "last_day": last,
        "days_again": common,
        "days_added": new.sizes["time"] - common,
        **count,
        "mean_change": total / max(1, count["filled"]),
        "largest_change": largest,
        # what was said before an observation came, against it
        "rmse_now_observed": (square / count["now_observed"]) ** 0.5 if count["now_observed"] else None,
    }
