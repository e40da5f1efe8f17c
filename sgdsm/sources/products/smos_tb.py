"""SMOS L3 brightness temperatures of CATDS (MIR_CDF3TA, ascending, about 06:00; MIR_CDF3TD, descending): daily,
EASE-Grid 2.0 of 25 km, H and V in bins of the incidence angle.

Facts: `BT_H`, `BT_V` (inc, lat, lon) int16 with scale_factor, add_offset and _FillValue -32768; centres of the 14 bins
in `inc` (2.5, 7.5, ... 37.5, 40, 42.5, 47.5, ... 62.5 degrees); rows from south to north. CATDS-DDI, and the reader of
the FIDUCEO matchup system.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.cube import ConfigError
from sgdsm.sources.readers.files import Files, SourceError, dated
from sgdsm.sources.readers.names import north_up
from sgdsm.sources.readers.packed import LOCK, attributes_of, opened, unpacked

PATTERNS = ("*_MIR_CDF3T[AD]_*.nc",)
LARGEST_MISS = 2.6  # degrees: half a bin


def files(paths: Sequence[Path], incidence_angle: float = 42.5, overpass: str = "A") -> Files:
    """The days of the files, told by their names. incidence_angle: degrees, the nearest bin is taken. overpass: A
    (morning) or D (evening); files of the other are left alone."""
    if overpass not in ("A", "D"):
        raise ConfigError(f"smos_tb: overpass={overpass}: expected A or D")
    chosen = [path for path in paths if f"CDF3T{overpass}_" in path.name]
    if not chosen:
        raise SourceError(f"{paths[0]}: none of {len(paths)} files is of the overpass {overpass} (MIR_CDF3T{overpass})")
    found = dated(chosen, r"CDF3T[AD]_(\d{8})T")
    days = {file.path: file.times for file in found}

    def read(path: Path, steps: slice) -> xr.Dataset:
        with opened(path) as file, LOCK:
            angles = np.asarray(file["inc"][:], np.float64)
            nearest = int(np.argmin(abs(angles - incidence_angle)))
            if abs(angles[nearest] - incidence_angle) > LARGEST_MISS:
                raise ValueError(f"no bin near {incidence_angle} degrees, there are {angles.tolist()}")
            maps = {p: (np.asarray(file[f"BT_{p}"][nearest]), attributes_of(file[f"BT_{p}"])) for p in "HV"}
            coords = {axis: np.asarray(file[axis][:], np.float64) for axis in ("lat", "lon")}
        found = {}
        for polarisation, (raw, attributes) in maps.items():
            attrs = {
                "units": "K",
                "standard_name": "brightness_temperature",
                "long_name": f"brightness temperature at 1 GHz, {polarisation} polarisation",
                "incidence_angle_degrees": float(angles[nearest]),
            }
            found[f"tb_1{polarisation.lower()}"] = (
                ("time", "lat", "lon"),
                unpacked(raw, attributes, f"BT_{polarisation}")[None],
                attrs,
            )
        return north_up(xr.Dataset(found, {"time": days[path], **coords}))

    return Files("smos_tb", found, read)
