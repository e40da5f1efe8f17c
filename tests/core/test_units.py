from __future__ import annotations

import subprocess
import sys

import pytest

from sgdsm.core.errors import CubeError
from sgdsm.core.units import conversion, is_difference, moisture_bounds, per_day, same_units, water_factor


@pytest.mark.parametrize(
    ("found", "wanted", "factor", "offset"),
    [
        ("degC", "K", 1, 273.15),
        ("K", "Celsius", 1, -273.15),
        ("degF", "K", 5 / 9, 255.372222222),
        ("mm d-1", "mm h-1", 1 / 24, 0),
        ("mm/d", "mm h-1", 1 / 24, 0),
        ("kg m**-2 s**-1", "mm d-1", 86400, 0),
        ("mm h-1", "kg m-2 s-1", 1 / 3600, 0),
        ("m of water equivalent", "mm", 1000, 0),
        ("kg m-2", "m of water equivalent", 0.001, 0),
        ("percent", "m3 m-3", 0.01, 0),
        ("m3/m3", "%", 100, 0),
        ("hPa", "Pa", 100, 0),
        ("g kg-1", "kg kg**-1", 0.001, 0),
        ("W m**-2", "W/m2", 1, 0),
        ("m^3/m^3", "m3 m-3", 1, 0),
        ("kg/m²", "kg m-2", 1, 0),
        ("kg m⁻² s⁻¹", "kg m-2 s-1", 1, 0),
        ("W·m-2", "W m-2", 1, 0),
    ],
)
def test_units_convert(found, wanted, factor, offset):
    assert conversion(found, wanted) == pytest.approx((factor, offset), rel=1e-9)
    assert same_units(found, wanted) == (factor == 1 and offset == 0)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ("K", "mm d-1"),
        ("J m-2", "W m-2"),
        ("foo", "K"),
        ("mm", "mm d-1"),
        ("dB", "1"),
        ("1", "dB"),
        ("degree", "1"),
        ("m**9**9**9", "m"),
        ("__import__('os')", "m"),
    ],
)
def test_what_does_not_convert_is_refused_with_both_units(found, wanted):
    with pytest.raises(CubeError, match="cannot be"):
        conversion(found, wanted)
    assert not same_units(found, wanted)


def test_precipitation_and_moisture():
    assert per_day("kg m**-2 s**-1") == 86400
    assert per_day("mm/d") == 1
    assert per_day("inch/day") == pytest.approx(25.4)
    assert per_day("K") is None
    assert moisture_bounds("%") == (0, 100)
    assert moisture_bounds("m**3 m**-3") == (0, 1)
    assert moisture_bounds("mm") is None


@pytest.mark.parametrize(
    "units",
    ["m³ m⁻³", "m³/m³", "cm³ cm⁻³", "cm3/cm3", "m^3 m^-3", "m^3/m^3", "m^3m^-3", "m3.m-3", "% vol", "vol %", "%vol"]
    + ["percentage", "Percent"],
)
def test_every_spelling_of_a_share_has_bounds(units):
    assert moisture_bounds(units) == (0, 100 if "%" in units or "erc" in units else 1)


@pytest.mark.parametrize("units", ["dB", "degrees", "K", "kg m-2"])
def test_what_is_no_share_has_no_bounds(units):
    assert moisture_bounds(units) is None


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"units_metadata": "temperature: difference"}, True),
        ({"long_name": "Diurnal temperature range"}, True),
        ({"standard_name": "air_temperature_anomaly"}, True),
        ({"role": "uncertainty"}, True),
        ({"units_metadata": "temperature: on_scale", "long_name": "range"}, False),
        ({"standard_name": "air_temperature", "long_name": "2 m temperature (valid range 200 to 330)"}, False),
        ({}, False),
    ],
)
def test_differences_are_converted_without_an_offset(attributes, expected):
    assert is_difference(attributes) == expected
    assert conversion("degC", "K", difference=True) == (1, 0)
    assert same_units("degC", "K", difference=True)


def test_an_amount_a_map_and_a_rate():
    assert water_factor("mm", "mm d-1", 1) == 1
    assert water_factor("kg m-2", "mm d-1", 3) == pytest.approx(1 / 3)
    assert water_factor("kg m-2 s-1", "mm", 3) == pytest.approx(3 * 86400)
    assert water_factor("K", "mm", 1) is None


def test_the_registry_is_silent():
    code = "import logging; logging.basicConfig(); from sgdsm.core.units import conversion; conversion('hPa', 'Pa')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
