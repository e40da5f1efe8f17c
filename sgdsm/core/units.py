"""Units of variables: whether two spellings mean the same, and how values convert.

The common spellings are known here; others are looked up in the registry of cf_xarray, which is pint's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from sgdsm.core.errors import ConfigError, CubeError

# spellings of files, in small letters, that registries do not know or read as something else
SPELLINGS = {
    **dict.fromkeys(("", "-", "~", "none", "unitless", "dimensionless", "fraction", "ratio", "(0 - 1)", "0-1"), "1"),
    **dict.fromkeys(("m3/m3", "m3 m-3", "m**3 m**-3", "m^3/m^3", "m^3 m^-3", "cm3/cm3", "cm3 cm-3"), "1"),
    **dict.fromkeys(("cm^3/cm^3", "cm^3 cm^-3", "cm**3 cm**-3", "m3.m-3", "cm3.cm-3", "kg/kg", "kg kg-1"), "1"),
    **dict.fromkeys(("m3m-3", "m^3m^-3", "cm3cm-3", "cm^3cm^-3", "g/g", "v/v", "volumetric"), "1"),
    **dict.fromkeys(("%", "percent", "per cent", "pct", "percentage", "volumetric percent"), "percent"),
    **dict.fromkeys(("vol%", "vol %", "vol.%", "%vol", "% vol", "%vol.", "% vol."), "percent"),
    **dict.fromkeys(("% saturation", "% of saturation", "percent saturation", "percent of saturation"), "percent"),
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
WATER_KG_PER_M3 = 1000.0
# superscripts, the dot of a product, and the signs and letters that look like those of ASCII
PLAIN = str.maketrans(
    {
        **dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", strict=True)),
        **dict.fromkeys("\N{MINUS SIGN}\N{EN DASH}", "-"),
        **dict.fromkeys("·⋅\N{NO-BREAK SPACE}", " "),
        "\N{SUPERSCRIPT PLUS SIGN}": "",
        "μ": "µ",
    }
)
# names with small powers: pint would evaluate anything
READABLE = re.compile(
    r"1|(1 ?/ ?)?[A-Za-zµ°%_]+((\*\*|\^)?-?[1-9])?([ */.]{1,3}[A-Za-zµ°%_]+((\*\*|\^)?-?[1-9])?){0,5}"
)
# pint counts angles as numbers without units, but no share is an angle
ANGLES = re.compile(r"°|(arc)?deg(ree)?s?(_?(north|south|east|west|[nsew]))?|rad(ian)?s?|sr", re.IGNORECASE)
# values that are a line of each other lie on it at all of these points; decibels do not
POINTS = (0.0, 1.0, -10.0, 2.0, 250.0)
DIFFERENCE = re.compile(
    r"\b((?<!valid )range|difference|anomal(y|ies)|departure|standard (deviation|error)|spread)\b", re.IGNORECASE
)


def normal(units: object) -> str:
    """Return units in one spelling, as far as that needs no registry.

    Args:
        units: Units as a file has them; None or an empty text counts as '1'.
    """
    text = " ".join(str("" if units is None else units).translate(PLAIN).split())
    return SPELLINGS.get(text.lower(), text)


def same_units(one: object, other: object, difference: bool = False) -> bool:
    """Return True if two units mean the same.

    Args:
        one: Units.
        other: Units.
        difference: The values are differences or standard deviations, so that 'K' and 'degC' are the same.
    """
    if normal(one) == normal(other):
        return True
    try:
        return conversion(one, other, difference) == (1.0, 0.0)
    except CubeError:
        return False


def conversion(found: object, wanted: object, difference: bool = False) -> tuple[float, float]:
    """Return the line that converts values from one unit to another.

    A mass of water on an area and its depth are one (1 kg m-2 = 1 mm).

    Args:
        found: Units of the values.
        wanted: Units that they should have.
        difference: The values are differences or standard deviations (of temperatures): without an offset.

    Returns:
        Factor a and offset b of `value * a + b`.

    Raises:
        CubeError: The units measure different things, are not known, or no line converts them (decibels).
        ConfigError: The registry of units is not installed.
    """
    factor, offset = _line(found, wanted)
    return factor, 0.0 if difference else offset


@cache
def _line(found: object, wanted: object) -> tuple[float, float]:
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
    if sum(bool(ANGLES.fullmatch(units)) for units in (one, other)) == 1:
        raise CubeError(f"units '{found}' cannot be converted to '{wanted}': one is an angle")
    registry = _registry()
    try:
        values = _converted(registry, one, other)
    except (TypeError, ValueError, AttributeError, AssertionError, KeyError, OverflowError) as error:
        # pint's own errors are of these kinds
        raise CubeError(f"units '{found}' cannot be converted to '{wanted}'") from error
    with np.errstate(invalid="ignore"):
        offset, factor = values[0], values[1] - values[0]
    affine = np.isfinite(values).all() and factor != 0
    if not affine or not np.allclose(values, np.array(POINTS) * factor + offset, 1e-9, 1e-12 * abs(factor)):
        raise CubeError(f"units '{found}' cannot be converted to '{wanted}' by a factor and an offset")
    return float(f"{factor:.12g}"), float(f"{offset:.12g}")


def _converted(registry: Any, one: str, other: str) -> np.ndarray:
    """Return POINTS of a unit in another."""
    values = registry.Quantity(np.array(POINTS), one)
    if not values.is_compatible_with(other):
        # a mass of water on an area, and its depth
        density = registry.Quantity(WATER_KG_PER_M3, "kg m-3")
        values = values / density if "[mass]" in dict(values.dimensionality) else values * density
    with np.errstate(all="ignore"):
        return np.asarray(values.to(other).magnitude, np.float64)


def is_difference(attributes: Mapping[str, Any]) -> bool:
    """Return True if the values of a variable are differences, so that converting their units adds no offset.

    By the attributes of CF: `units_metadata` ("temperature: difference", CF 1.11, section 3.1.2), else the role of an
    uncertainty, else words like "range" and "anomaly" in `standard_name` or `long_name`.

    Args:
        attributes: Attributes of the variable.
    """
    metadata = str(attributes.get("units_metadata", "")).lower()
    if "on_scale" in metadata or "difference" in metadata:
        return "difference" in metadata
    if attributes.get("role") == "uncertainty":
        return True
    names = f"{attributes.get('standard_name', '')} {attributes.get('long_name', '')}"
    return DIFFERENCE.search(names.replace("_", " ")) is not None


def water_factor(found: object, wanted: object, days: int) -> float | None:
    """Return the factor between a rate of water and its amount a map.

    Args:
        found: Units of the values, a rate like 'mm d-1' or an amount like 'mm'.
        wanted: Units that they should have, the other of the two.
        days: Days between two maps, which an amount is the sum of.

    Returns:
        The factor, or None where the units are not a rate and an amount.
    """
    rates = [_factor(units, "mm d-1") for units in (found, wanted)]
    amounts = [_factor(units, "mm") for units in (found, wanted)]
    if rates[0] and amounts[1]:
        return rates[0] * days / amounts[1]
    if amounts[0] and rates[1]:
        return amounts[0] / days / rates[1]
    return None


def _factor(units: object, wanted: str) -> float | None:
    try:
        factor, offset = conversion(units, wanted)
    except CubeError:
        return None
    return factor if offset == 0 else None


@cache
def _registry() -> Any:
    # converting is rare, and the registry takes a second to import
    pint_log = logging.getLogger("pint")
    level = pint_log.level
    # cf_xarray redefines units of pint, which warns of each
    pint_log.setLevel(logging.ERROR)
    try:
        from cf_xarray.units import units
    except ImportError as error:
        raise ConfigError("converting units needs more: pip install cf-xarray pint") from error
    finally:
        pint_log.setLevel(level)
    return units


def per_day(units: object) -> float | None:
    """Return the factor that makes mm of water a day of a rate, or mm a map of an amount; None for other units.

    Args:
        units: Units of precipitation, evaporation or runoff.
    """
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
    """Return the smallest and largest soil moisture that is possible in units of a share; None for other units.

    Args:
        units: Units of the target: '1', 'm3 m-3' and 'percent' in any spelling are shares.
    """
    try:
        factor, offset = conversion(units, "1")
    except (CubeError, ConfigError):
        return None
    return None if offset else (0.0, 1.0 / factor)
