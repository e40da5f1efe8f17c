from __future__ import annotations

import numpy as np
import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.preprocessing.screening import count, screen, table
from sgdsm.sources.readers.names import Reason

NAN = np.nan


def reason(*values):
    return np.array(values, np.uint8)[None]


def test_snow_needs_cold_and_bright():
    found = screen(
        reason(0, 0, 0, 0, 0),
        surface_temperature=np.array([[270, 270, 280, NAN, 270]]),
        albedo=np.array([[0.5, 0.3, 0.5, 0.5, NAN]]),
    )
    assert found.tolist() == [[Reason.SNOW, 0, 0, 0, 0]]
    with pytest.raises(ConfigError, match="expected both"):
        screen(reason(0), albedo=np.array([[0.5]]))


def test_frozen_soil():
    found = screen(reason(0, 0, 0), soil_temperature=np.array([[273.1, 273.15, NAN]]))
    assert found.tolist() == [[Reason.FROZEN, 0, 0]]
    with pytest.raises(ConfigError, match=r"soil_temperature: the highest value is 12\.0, expected K"):
        screen(reason(0), soil_temperature=np.array([[12.0]]))


def test_water_of_one_map_for_all_days():
    days = np.zeros((4, 1, 3), np.uint8)
    water = np.array([[0.1, 0.2, 0.21]])
    assert (screen(days, water_fraction=water) == [0, 0, Reason.WATER]).all()
    assert (screen(days, water_fraction=water, most_water=0.05) == Reason.WATER).all()


def test_range():
    sm = np.array([[-0.01, 0.0, 0.6, 0.61, NAN]], np.float32)
    found = screen(reason(0, 0, 0, 0, 1), sm=sm, high=0.6)
    assert found.tolist() == [[Reason.OUT_OF_RANGE, 0, 0, Reason.OUT_OF_RANGE, Reason.NO_DATA]]


def test_the_first_reason_wins_and_the_products_own_stay():
    before = reason(0, 0, Reason.NO_DATA, Reason.RAIN)
    every = np.ones((1, 4))
    found = screen(
        before,
        surface_temperature=every * 260,
        albedo=np.array([[0.5, 0.1, 0.5, 0.5]]),
        soil_temperature=every * 260,
        water_fraction=every,
        sm=every * 5,
    )
    assert found.tolist() == [[Reason.SNOW, Reason.FROZEN, Reason.NO_DATA, Reason.RAIN]]
    assert found.dtype == np.uint8
    assert before.tolist() == [[0, 0, 1, 8]]  # untouched


def test_counts_and_their_table():
    counts = count(reason(0, 0, 0, 0, 0, 1, 1, 2, 10, 0))
    assert list(counts) == [why.name.lower() for why in Reason]
    assert (counts["observed"], counts["no_data"], counts["snow"], counts["out_of_range"], counts["rain"]) == (
        6,
        2,
        1,
        1,
        0,
    )
    lines = table(counts).splitlines()
    assert [line.split()[0] for line in lines] == ["observed", "no", "snow", "out", "all"]
    assert lines[0].split()[1:] == ["6", "60.00", "%"]
    assert lines[3].endswith("1   10.00 %")
    assert lines[-1].split() == ["all", "10"]
    assert "12,345" in table({"observed": 12345})
    assert table(count(np.zeros(0, np.uint8))).split() == ["all", "0"]
