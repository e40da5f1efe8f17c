"""SMOS L3 brightness temperatures of CATDS (MIR_CDF3TA, MIR_CDF3TD), daily, 25 km EASE-Grid 2.0, H and V.

Reads `BT_H` and `BT_V` (inc, lat, lon) in K, int16 with scale_factor, add_offset and _FillValue -32768; the centres of
the 14 bins of the incidence angle are in `inc` (2.5, 7.5, ... 37.5, 40, 42.5, 47.5, ... 62.5 degrees). Rows run from
south to north. A is ascending, about 06:00, D descending, about 18:00.

Reference: CATDS, "Level 3 brightness temperature: product description" (CATDS-DDI); checked against the reader of the
FIDUCEO match-up system.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.sources.readers.files import Files, SourceError, dated
from sgdsm.sources.readers.names import north_up
from sgdsm.sources.readers.packed import LOCK, attributes_of, opened, unpacked

PATTERNS = ("*_MIR_CDF3T[AD]_*.nc",)
LARGEST_MISS = 2.6  # degrees: half a bin


def files(paths: Sequence[Path], incidence_angle: float = 42.5, overpass: str = "A") -> Files:
    """Return the days of the files, dated by their names.

    Args:
        paths: Files of the product, in any order.
        incidence_angle: Incidence angle in degrees; the nearest bin is read.
        overpass: 'A' (morning) or 'D' (evening); files of the other are ignored.

    Returns:
        The files, one day each; variables `tb_1h` and `tb_1v` in K. Reading raises a SourceError if no bin is near the
        angle.

    Raises:
        ConfigError: If the overpass is unknown.
        SourceError: If no file is of the overpass, or a name has no date.
    """
    if overpass not in ("A", "D"):
        raise ConfigError(f"smos_tb: overpass={overpass}: expected A or D")
    chosen = [path for path in paths if f"CDF3T{overpass}_" in path.name]
    if not chosen:
        raise SourceError(f"{paths[0]}: none of {len(paths)} files is of the overpass {overpass} (MIR_CDF3T{overpass})")
    found = dated(chosen, r"CDF3T[AD]_(\d{8})T")
    days = {file.path: file.times for file in found}

    def read_(path: Path, steps: slice) -> xr.Dataset:
        return read(path, incidence_angle).expand_dims(time=days[path])

    return Files("smos_tb", found, read_)


def read(path: Path, incidence_angle: float) -> xr.Dataset:
    """Read the bin nearest to an incidence angle.

    Args:
        path: File to read.
        incidence_angle: Incidence angle, degrees.

    Returns:
        `tb_1h` and `tb_1v` in K, dims (lat, lon).

    Raises:
        ValueError: If no bin is near the angle.
        CubeError: If the values hold an undeclared fill value.
    """
    with opened(path) as file, LOCK:
        angles = np.asarray(file["inc"][:], np.float64)
        # bins around 40 degrees are narrower than the others
        nearest = int(np.argmin(abs(angles - incidence_angle)))
        if abs(angles[nearest] - incidence_angle) > LARGEST_MISS:
            raise ValueError(f"no bin near {incidence_angle} degrees, there are {angles.tolist()}")
        # one bin of 14 is read, so that a file needs little memory
        stored = {p: (np.asarray(file[f"BT_{p}"][nearest]), attributes_of(file[f"BT_{p}"])) for p in "HV"}
        coords = {axis: np.asarray(file[axis][:], np.float64) for axis in ("lat", "lon")}
    maps = {}
    for polarisation, (raw, attributes) in stored.items():
        attrs = {
            "units": "K",
            "standard_name": "brightness_temperature",
            "long_name": f"brightness temperature at 1 GHz, {polarisation} polarisation",
            "incidence_angle_degrees": float(angles[nearest]),
        }
        values = unpacked(raw, attributes, f"BT_{polarisation}")
        maps[f"tb_1{polarisation.lower()}"] = (("lat", "lon"), values, attrs)
    return north_up(xr.Dataset(maps, coords))
