"""GLEAM v3 and v4: daily land evaporation and soil moisture, 0.1 or 0.25 degree, one variable and one year a file.

Reads (time, lat, lon) or (time, lon, lat): evaporation in mm, soil moisture in m3 m-3. File names are like
Ep_2003_GLEAM_v3.8a.nc.

Reference: Martens et al. (2017), doi 10.5194/gmd-10-1903-2017; readme files of v3.5 to v4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from sgdsm.core.days import whole_days
from sgdsm.core.errors import ConfigError
from sgdsm.core.validation import NEGATIVE_FILLS
from sgdsm.sources.readers.files import File, Files, SourceError
from sgdsm.sources.readers.packed import read_maps, times_in

PATTERNS = ("*_GLEAM_*.nc",)
AMOUNT = {"units": "mm", "kind": "amount", "cell_methods": "time: sum"}
SOIL = {"units": "m3 m-3", "standard_name": "volume_fraction_of_condensed_water_in_soil"}
KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "Ep": ("potential_evaporation", {**AMOUNT, "long_name": "potential evaporation"}),
    "E": ("evaporation", {**AMOUNT, "long_name": "actual evaporation"}),
    "SMsurf": ("soil_water_surface", {**SOIL, "long_name": "surface soil moisture of the model"}),
    "SMs": ("soil_water_surface", {**SOIL, "long_name": "surface soil moisture of the model"}),  # v4
    "SMroot": ("soil_water_root_zone", {**SOIL, "long_name": "root-zone soil moisture of the model"}),
    "SMrz": ("soil_water_root_zone", {**SOIL, "long_name": "root-zone soil moisture of the model"}),  # v4
}


def files(paths: Sequence[Path], variable: str = "Ep") -> Files:
    """Return the days of the files of one variable, from their time axes.

    Args:
        paths: Files of the product, in any order; those of other variables are ignored.
        variable: Name in the product: 'Ep', 'E', 'SMsurf', 'SMs', 'SMroot' or 'SMrz'.

    Returns:
        The files, a year each.

    Raises:
        ConfigError: If the variable is unknown.
        SourceError: If no file is of that variable, or a time axis cannot be read.
    """
    if variable not in KNOWN:
        raise ConfigError(f"gleam: variable={variable}: expected one of {', '.join(KNOWN)}")
    # names begin with the variable, as Ep_2003_GLEAM_v3.8a.nc
    chosen = [path for path in paths if path.name.startswith(f"{variable}_")]
    if not chosen:
        raise SourceError(
            f"{paths[0]}: none of {len(paths)} files is of {variable}, expected {variable}_YYYY_GLEAM_*.nc"
        )
    ours, attrs = KNOWN[variable]
    times = {path: _days(path) for path in chosen}

    def read(path: Path, steps: slice) -> xr.Dataset:
        maps = read_maps(path, {ours: variable}, times[path][steps], steps, NEGATIVE_FILLS)
        maps[ours] = maps[ours].where(maps[ours] > -900)  # -999 is not always declared
        maps[ours].attrs = attrs
        return maps

    return Files("gleam", [File(path, times[path]) for path in chosen], read)


def _days(path: Path) -> Any:
    """Return the days (datetime64[ns]) of a file."""
    return whole_days(times_in(path))
