from __future__ import annotations

import pytest

from sgdsm.core.errors import CubeError
from sgdsm.core.units import conversion, moisture_bounds, per_day, same_units


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
