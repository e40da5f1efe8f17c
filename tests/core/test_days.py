"""Times to the second and to the day, in one way for all."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.core.days import to_the_second, whole_days
from sgdsm.preprocessing.features import composites
from sgdsm.sources.readers.files import open_product
from sgdsm.sources.readers.stations import daily_means
from tests.sources import make_cov, make_sm

MIDNIGHT = np.datetime64("2020-03-01", "ns")
JUST_BEFORE = MIDNIGHT - np.timedelta64(86_400, "ns")  # 1e-9 day
DAY = [MIDNIGHT.astype(int).item()]


@pytest.mark.parametrize("times", [JUST_BEFORE, [JUST_BEFORE], MIDNIGHT, MIDNIGHT + np.timedelta64(23, "h")])
def test_rounding_errors_do_not_fall_on_the_day_before(times):
    assert np.atleast_1d(whole_days(times)).astype(int).tolist() == DAY


def test_seconds():
    assert to_the_second(JUST_BEFORE) == MIDNIGHT
    assert to_the_second(MIDNIGHT - np.timedelta64(1, "s")) == MIDNIGHT - np.timedelta64(1, "s")


def test_of_stations_and_composites():
    days, values = daily_means([JUST_BEFORE], [0.25])
    assert (days.astype("datetime64[ns]").astype(int).tolist(), values.tolist()) == (DAY, [0.25])
    _, flags = composites(np.zeros((1, 2, 2)), np.array([JUST_BEFORE]), np.array([MIDNIGHT]))
    assert (flags == 0).all()  # a composite's day


def shifted(path, axis="time"):
    """The times of a file as floats of days, 1e-9 day less."""
    with netCDF4.Dataset(path, "a") as file:
        file[axis][:] = np.asarray(file[axis][:], float) - 1e-9
    return path


def test_of_the_products(tmp_path):
    made = {
        "chirps": make_cov.chirps(tmp_path, 2020, np.zeros((3, 4, 5))),
        "gpm_imerg": make_cov.imerg(tmp_path, "2020-01-01", np.zeros((4, 5))),
        "gleam": make_cov.gleam(tmp_path, "Ep", 2020, np.zeros((3, 4, 5))),
        "amsr_tb": make_cov.amsr_tb(tmp_path, "2020001", "18H", np.full((4, 4), 200.0)),
        "cmip6": make_sm.cmip6(tmp_path, "2020-01-01", np.full((3, 4, 5), 20.0)),
    }
    for product, path in made.items():
        expected = open_product(product, path)["time"].values
        assert str(expected[0])[:10] == "2020-01-01"
        found = open_product(product, shifted(path)).load()["time"].values
        assert whole_days(found).tolist() == whole_days(expected).tolist(), product
        assert (found >= expected).all(), product
