"""CMIP6 `mrsos`: water in the top 10 cm of the soil (kg m-2), many days in a file, as m3 m-3.

Times are those of the time axis; of daily means the day, without the hour. Facts: CMIP6 data request, table `day`.
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
    """The days of the files, told by their time axes: names tell the first and the last alone."""
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
    """`sm` and `sm_reason` of these steps of a file."""
    with _opened(path) as raw:
        part = raw.isel(time=steps)
        water = np.asarray(part["mrsos"].values, np.float32)
        coords = {"time": _times(path, part), "lat": part["lat"].values, "lon": part["lon"].values}
        source = str(raw.attrs.get("source_id", ""))
    refuse_fills(water, "mrsos")
    sm = water / LAYER_KG_M2
    # interpolation in the archives leaves values such as -2e-21
    sm[(sm < 0) & (sm > -1e-6)] = 0
    maps = {"sm": (sm, M3), "sm_reason": (reasons(sm, {}), REASON_ATTRS)}
    dataset = xr.Dataset({n: (("time", "lat", "lon"), v, a) for n, (v, a) in maps.items()}, coords)
    return north_up(dataset.assign_attrs(product=f"CMIP6 soil moisture {source}".strip()))


def _opened(path: Path) -> xr.Dataset:
    refuse_unsafe(path)
    return xr.open_dataset(path, decode_times=xr.coders.CFDatetimeCoder(use_cftime=True))


def _times(path: Path, raw: xr.Dataset) -> np.ndarray:
    axis = raw["time"]
    if axis.dtype != object:
        raise Unfit(
            f"'time' has the units '{axis.attrs.get('units', '')}', expected times like 'days since 1850-01-01'"
        )
    calendar = axis.dt.calendar
    if calendar == "360_day":
        raise SourceError(f"{path}: calendar '{calendar}' has days that do not exist, expected a real one or 'noleap'")
    times = to_the_second([t.isoformat() for t in axis.values])
    return whole_days(times) if raw.attrs.get("frequency") == "day" else times
