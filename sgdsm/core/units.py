"""Units of variables: whether two spellings mean the same, and how values convert.

The common spellings are known here; others are looked up in the registry of cf_xarray, which is pint's.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import Any

from sgdsm.core.errors import ConfigError, CubeError

log = logging.getLogger("sgdsm")

# spellings of files, in small letters, that registries do not know or read as something else
SPELLINGS = {
    **dict.fromkeys(("", "-", "~", "none", "unitless", "dimensionless", "fraction", "ratio", "(0 - 1)", "0-1"), "1"),
    **dict.fromkeys(("m3/m3", "m3 m-3", "m**3 m**-3", "m^3/m^3", "m^3 m^-3", "cm3/cm3", "cm3 cm-3"), "1"),
    **dict.fromkeys(("cm^3/cm^3", "cm^3 cm^-3", "cm**3 cm**-3", "m3.m-3", "cm3.cm-3", "kg/kg", "kg kg-1"), "1"),
    **dict.fromkeys(("%", "percent", "per cent", "pct", "vol%", "vol %", "vol.%", "volumetric percent"), "percent"),
    **dict.fromkeys(("degc", "deg c", "deg_c", "°c", "celsius", "c", "degree_celsius", "degrees_celsius"), "degC"),
    **dict.fromkeys(("degrees celsius", "degree celsius", "deg celsius", "degreec", "degreesc"), "degC"),
    **dict.fromkeys(("k", "kelvin", "degk", "deg k", "deg_k", "degrees kelvin", "degree_kelvin"), "K"),
    **dict.fromkeys(("degf", "deg f", "fahrenheit", "°f", "f"), "degF"),
    **dict.fromkeys(("m of water equivalent", "m w.e.", "m we", "m of water"), "m"),
    **dict.fromkeys(("mm of water equivalent", "mm w.e.", "mm we", "mm of water"), "mm"),
}
# mm of water a day; the last row are amounts a map
PER_DAY = {"mm h-1": 24.0, "mm/h": 24.0, "mm hr-1": 24.0, "kg m-2 s-1": 86400.0, "mm s-1": 86400.0, "m s-1": 86.4e6}
PER_DAY |= {"mm d-1": 1.0, "mm day-1": 1.0, "mm/day": 1.0, "mm": 1.0, "kg m-2": 1.0, "m": 1000.0}
AMOUNTS = ("mm", "kg m-2", "m")
WATER_KG_PER_M3 = 1000.0
# names with small powers: pint would evaluate anything
READABLE = re.compile(
    r"1|(1 ?/ ?)?[A-Za-zµ°%_]+((\*\*|\^)?-?[1-9])?([ */.]{1,3}[A-Za-zµ°%_]+((\*\*|\^)?-?[1-9])?){0,5}"
)


def normal(units: object) -> str:
    """Units in one spelling, as far as it can be told without a registry; '1' for none."""
    text = " ".join(str("" if units is None else units).split())
    return SPELLINGS.get(text.lower(), text)


def same_units(one: object, other: object) -> bool:
    """Whether two units mean the same."""
    if normal(one) == normal(other):
        return True
    try:
        return conversion(one, other) == (1.0, 0.0)
    except CubeError:
        return False


@cache
def conversion(found: object, wanted: object) -> tuple[float, float]:
    """Factor a and offset b of value a + b, which makes `wanted` of `found`.

    A mass of water on an area and its depth are one (1 kg m-2 = 1 mm).

    Raises CubeError where they measure different things, or are not known; ConfigError where the registry is missing.
    """
    one, other = normal(found), normal(wanted)
    if one == other:
        return 1.0, 0.0
    if {one, other} == {"degC", "K"}:
        return 1.0, 273.15 if other == "K" else -273.15
    if {one, other} == {"percent", "1"}:
        return (0.01, 0.0) if other == "1" else (100.0, 0.0)
    for units in (found, wanted):
        if not READABLE.fullmatch(normal(units)):
            raise CubeError(f"units '{str(units)[:60]}' cannot be read; expected units like 'kg m-2 s-1'")
    registry = _registry()
    try:
        zero, step = _converted(registry, one, other)
    except (TypeError, ValueError, AttributeError, AssertionError, KeyError) as error:  # pint's errors are of these
        raise CubeError(f"units '{found}' cannot be converted to '{wanted}'") from error
    return float(f"{step - zero:.12g}"), float(f"{zero:.12g}")


def _converted(registry: Any, one: str, other: str) -> tuple[float, float]:
    """0 and 1 of a unit in another."""
    values = registry.Quantity([0.0, 1.0], one)
    if not values.is_compatible_with(other):
        # a mass of water on an area, and its depth
        density = registry.Quantity(WATER_KG_PER_M3, "kg m-3")
        values = values / density if "[mass]" in dict(values.dimensionality) else values * density
    zero, step = values.to(other).magnitude
    return float(zero), float(step)


@cache
def _registry() -> Any:
    # here: filling needs no registry where the units are those of training
    try:
        from cf_xarray.units import units
    except ImportError as error:
        raise ConfigError("converting units needs more: pip install cf-xarray pint") from error
    return units


def per_day(units: object) -> float | None:
    """Factor that makes mm of water a day of a rate, or of an amount a map; None for other units."""
    if str(units) in PER_DAY:
        return PER_DAY[str(units)]
    for wanted in ("mm d-1", "mm"):
        try:
            factor, offset = conversion(units, wanted)
        except CubeError:
            continue
        return factor if offset == 0 else None
    return None


def moisture_bounds(units: object) -> tuple[float, float] | None:
    """Least and largest soil moisture that units of a share can mean; None for other units."""
    try:
        factor, offset = conversion(units, "1")
    except (CubeError, ConfigError):
        return None
    return None if offset else (0.0, 1.0 / factor)
