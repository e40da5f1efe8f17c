"""Test whether a record of several sensors is one record: maps of R, breaks, and variability of years."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import SM_FILLED
from sgdsm.core.lock import exclusive
from sgdsm.core.settings import setting
from sgdsm.core.units import same_units
from sgdsm.evaluation.homogeneity import Parts, breaks_of, check_pairs, format_homogeneity, homogeneity
from sgdsm.evaluation.scored_files import ScoredFile, aligned
from sgdsm.evaluation.strata import flag_names
from sgdsm.report.homogeneity import homogeneity_figure

USAGE = "filled=FILE reference=FILE variable=NAME output=FOLDER [part=sm_part] [breaks=[DAY,DAY]]"
NOTE = (
    "the reference must not change where the sensors do: a reanalysis, stations on the grid, the truth of a simulation"
)
PART = "sm_part"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The record, and what it is compared with."""

    filled: str = setting(help="the record, such as join writes it", path=True)
    estimate: str = setting(SM_FILLED, "its variable")
    part: str | None = setting(None, f"its variable that tells the part of each value; default {PART}, if there is one")
    reference: str = setting(help="file on the same grid and days, or more", path=True)
    variable: str = setting(help="of the reference")
    breaks: list[str] | None = setting(
        None, "days on which sensors change; default: months in which another part gives most of the values"
    )
    harmonics: int = setting(1, "of the seasonal cycle; 1 as in CASM")
    least: int = setting(40, "fewest pairs of a correlation")
    least_months: int = setting(12, "fewest months on each side of a break")
    output: str = setting(help="folder of the maps, the table and the figure", path=True)

    def __post_init__(self) -> None:
        if not 0 <= self.harmonics <= 4:
            raise ConfigError(f"harmonics={self.harmonics}: expected 0 to 4")
        if self.least < 3 or self.least_months < 3:
            raise ConfigError(f"least={self.least}, least_months={self.least_months}: expected 3 or more")
        self.days()

    def days(self) -> list[np.datetime64]:
        """Return the breaks as days, in order."""
        try:
            return sorted(np.datetime64(day, "D") for day in self.breaks or [])
        except ValueError as error:
            raise ConfigError(f"breaks=[{','.join(self.breaks or [])}]: expected days like 2012-07-01") from error


def run(settings: Settings) -> None:
    """Compare, print and write the results."""
    output = Path(settings.output)
    if output.is_file():
        raise ConfigError(f"output={output}: a file; expected a folder")
    with exclusive(output):
        _run(settings, output)


def _run(settings: Settings, output: Path) -> None:
    record, other = ScoredFile.of(settings.filled), ScoredFile.of(settings.reference)
    product, reference = record.variable(settings.estimate), other.variable(settings.variable)
    for name, array in ((settings.filled, product), (settings.reference, reference)):
        if array.ndim != 3 or array.dims[0] != "time":
            raise CubeError(f"{name}: '{array.name}' has dims {array.dims}, expected time and those of a map")
    units, found_units = (array.attrs.get("units", "1") for array in (product, reference))
    if not same_units(units, found_units):
        raise CubeError(f"{settings.reference}: '{settings.variable}' is in '{found_units}', expected '{units}'")
    common = product["time"].isin(reference["time"])
    if not common.any():
        raise CubeError(
            f"{settings.filled} and {settings.reference} have no day in common: {_period(product)} and "
            f"{_period(reference)}"
        )
    product = product.isel(time=np.flatnonzero(common.values))
    reference = aligned(reference, product, settings.reference)
    parts = _parts(record, settings, product)
    breaks = settings.days() if settings.breaks is not None or parts is None else breaks_of(parts)
    found = homogeneity(
        product, reference, parts, breaks,
        harmonics=settings.harmonics, least=settings.least, least_months=settings.least_months,
    )  # fmt: skip
    check_pairs(found, settings.filled, settings.reference)
    found.attrs = {
        "Conventions": "CF-1.10",
        "title": f"{settings.estimate} of {settings.filled} against {settings.variable} of {settings.reference}",
        "period": _period(product),
        "harmonics": settings.harmonics,
    }
    table = format_homogeneity(found, units)
    output.mkdir(parents=True, exist_ok=True)
    (output / "homogeneity.txt.partial").write_text(table + "\n")
    (output / "homogeneity.txt.partial").replace(output / "homogeneity.txt")
    found.to_netcdf(output / "cells.nc.partial", engine="netcdf4")
    (output / "cells.nc.partial").replace(output / "cells.nc")
    picture = homogeneity_figure(found, units, output / "homogeneity.png")
    print(f"{table}\n\nmaps: {output / 'cells.nc'}\nfigure: {picture}")


def _parts(record: ScoredFile, settings: Settings, product: xr.DataArray) -> Parts | None:
    name = settings.part or (PART if PART in record.dataset else None)
    if name is None:
        return None
    codes = record.variable(name)
    codes = aligned(codes, product, settings.filled)
    attrs = record.dataset[name].attrs
    named = flag_names(attrs)
    if not named or len(named) != len(str(attrs["flag_meanings"]).split()):
        raise CubeError(f"{settings.filled}: '{name}' needs the attributes flag_values and flag_meanings, as many")
    kept = {code: meaning for code, meaning in named.items() if meaning != "none"}
    return Parts(codes, list(kept), list(kept.values()))


def _period(array: xr.DataArray) -> str:
    days = [str(day)[:10] for day in array["time"].values[[0, -1]]]
    return f"{days[0]} to {days[1]}"
