from __future__ import annotations

import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from tests.sources import make_cov

RAIN = np.arange(20, dtype=np.float32).reshape(4, 5)
RAIN[0, 0] = np.nan


@pytest.mark.parametrize("version", ["06", "07B"])
def test_both_versions(tmp_path, version):
    for day in ("2020-06-02", "2020-06-01"):
        make_cov.imerg(tmp_path, day, RAIN, version)
    cube = open_product("gpm_imerg", tmp_path)
    rain = cube["precipitation"]
    assert rain.dims == ("time", "lat", "lon")
    np.testing.assert_array_equal(rain[1], RAIN)
    assert cube["lat"].values.tolist() == make_cov.LAT.tolist()
    assert cube["lon"].values.tolist() == (make_cov.LON - 180).tolist()
    assert cube["time"].values.tolist() == np.array(["2020-06-01", "2020-06-02"], "datetime64[ns]").tolist()
    assert (rain.attrs["units"], rain.attrs["kind"]) == ("mm", "amount")


@pytest.mark.parametrize("units", ["days", "seconds"])
def test_days_of_the_calendar_that_imerg_calls_julian(tmp_path, units):
    make_cov.imerg(tmp_path, "2020-02-29", RAIN, units=units)
    day = np.array(["2020-02-29"], "datetime64[ns]").tolist()
    assert open_product("gpm_imerg", tmp_path)["time"].values.tolist() == day
    assert open_product("netcdf_grid", tmp_path, variables={"rain": "precipitation"})["time"].values.tolist() == day


def test_versions_are_not_mixed(tmp_path):
    make_cov.imerg(tmp_path, "2020-06-01", RAIN, "06")
    make_cov.imerg(tmp_path, "2020-06-02", RAIN, "07B")
    with pytest.raises(SourceError, match="version '07', the others are of version '06'"):
        open_product("gpm_imerg", tmp_path).load()
