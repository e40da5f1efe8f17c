"""CMIP6 `mrsos`: water in the top 10 cm of the soil, many days a file, read as soil moisture in m3 m-3.

kg m-2 in a layer of 0.1 m become m3 m-3 (100 kg m-2 = 1). Times are those of the time axis; daily means are dated by
the day, without the hour. Model calendars without leap days are accepted, those of 360 days are not.

Reference: CMIP6 data request, table `day`, variable `mrsos`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.days import to_the_second, whole_days
from sgdsm.core.io.safety import refuse_unsafe
from sgdsm.sources.readers.broken import why
from sgdsm.sources.readers.files import File, Files, SourceError, Unfit
from sgdsm.sources.readers.names import M3, REASON_ATTRS, north_up, reasons
from sgdsm.sources.readers.packed import refuse_fills

PATTERNS = ("mrsos_*.nc",)
LAYER_KG_M2 = np.float32(100.0)  # water that fills 0.1 m of soil


def files(paths: Sequence[Path]) -> Files:
    """Return the days of the files, from their time axes; the names contain only the first and the last.

    Args:
        paths: Files of the product, in any order.

    Returns:
        The files, many days each.

    Raises:
        SourceError: If the time axis of a file cannot be read, or has a calendar with days that do not exist.
    """
    found = []
    for path in paths:
        try:
            with _opened(path) as raw:
                found.append(File(path, _times(path, raw)))
        except Unfit as error:
            raise SourceError(f"{path}: {error}") from error
        except (OSError, KeyError, ValueError) as error:
            raise SourceError(
                f"{path}: no time axis can be read (truncated, or no CMIP6 file): {why(path, error)}"
            ) from error
    return Files("cmip6", found, read)


def read(path: Path, steps: slice) -> xr.Dataset:
    """Read the maps `steps` of a file.

    Args:
        path: File to read.
        steps: Positions on the time axis.

    Returns:
        `sm` in m3 m-3 and `sm_reason`, dims (time, lat, lon).

    Raises:
        CubeError: If the values hold an undeclared fill value.
    """
    with _opened(path) as raw:
        part = raw.isel(time=steps)
        water = np.asarray(part["mrsos"].values, np.float32)
        coords = {"time": _times(path, part), "lat": part["lat"].values, "lon": part["lon"].values}
        source = str(raw.attrs.get("source_id", ""))
    # -9999 divided by 100 would not be recognized
    refuse_fills(water, "mrsos")
    sm = water / LAYER_KG_M2
    # interpolation in the archives leaves values such as -2e-21
    sm[(sm < 0) & (sm > -1e-6)] = 0
    maps = {"sm": (sm, M3), "sm_reason": (reasons(sm, {}), REASON_ATTRS)}
    dataset = xr.Dataset({n: (("time", "lat", "lon"), v, a) for n, (v, a) in maps.items()}, coords)
    return north_up(dataset.assign_attrs(product=f"CMIP6 soil moisture {source}".strip()))


def _opened(path: Path) -> xr.Dataset:
    """Open a file with its own calendar."""
    refuse_unsafe(path)
    return xr.open_dataset(path, decode_times=xr.coders.CFDatetimeCoder(use_cftime=True))


def _times(path: Path, raw: xr.Dataset) -> np.ndarray:
    """Return the times (datetime64[ns]) of a file; of daily means the days.

    Raises:
        Unfit: If the axis holds no times.
        SourceError: If the calendar has 360 days.
    """
    axis = raw["time"]
    # xarray gives cftime objects only for axes that it can decode
    if axis.dtype != object:
        raise Unfit(
            f"'time' has the units '{axis.attrs.get('units', '')}', expected times like 'days since 1850-01-01'"
        )
    calendar = axis.dt.calendar
    # 30 February has no place among observations; days that a calendar lacks are just gaps
    if calendar == "360_day":
        raise SourceError(f"{path}: calendar '{calendar}' has days that do not exist, expected a real one or 'noleap'")
    times = to_the_second([t.isoformat() for t in axis.values])
    return whole_days(times) if raw.attrs.get("frequency") == "day" else times
