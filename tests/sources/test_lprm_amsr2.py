from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from sgdsm.sources.readers.names import Reason
from tests.sources import make_sm

NIGHT = np.array([[10, np.nan, 30, 50], [np.nan, 20, -1, np.nan]], np.float32)
DAY = np.array([[20, 40, np.nan, np.nan], [np.nan, np.nan, 25, np.nan]], np.float32)


def test_percent_becomes_fraction_and_maps_are_turned(tmp_path):
    make_sm.lprm(tmp_path, "20150401", "D", NIGHT)
    cube = open_product("lprm_amsr2", tmp_path).load()
    assert cube["sm"].dims == ("time", "lat", "lon")
    np.testing.assert_allclose(cube["sm"].values[0], NIGHT / 100, rtol=1e-6)
    assert cube["sm_reason"].values[0].tolist() == [[0, 1, 0, 0], [1, 0, Reason.OUT_OF_RANGE, 1]]
    np.testing.assert_allclose(cube["sm_uncertainty"].values[0, 0, 0], 0.05)
    assert cube["flag"].values[0, 0].tolist() == [0, 0, 0, 2]
    assert cube["lat"].values.tolist() == [45, -45]
    assert str(cube["time"].values[0])[:10] == "2015-04-01"


def test_bands(tmp_path):
    make_sm.lprm(tmp_path, "20150401", "D", NIGHT)
    assert open_product("lprm_amsr2", tmp_path, band="x")["sm"].values[0, 0, 0] == np.float32(0.12)
    with pytest.raises(SourceError, match="band 'k', expected one of c1, c2, c, x"):
        open_product("lprm_amsr2", tmp_path, band="k")
    with pytest.raises(SourceError, match=r"20150401.*no variable 'soil_moisture_c', found \['soil_moisture_c1'"):
        open_product("lprm_amsr2", tmp_path, band="c")


def test_amsr_e(tmp_path):
    make_sm.lprm(tmp_path, "20070401", "A", DAY, sensor="AMSR_E", bands="c x")
    cube = open_product("lprm_amsr2", tmp_path, band="c")
    np.testing.assert_allclose(cube["sm"].values[0], DAY / 100, rtol=1e-6)


def test_day_and_night(tmp_path):
    make_sm.lprm(tmp_path, "20150401", "D", NIGHT)
    make_sm.lprm(tmp_path, "20150401", "A", DAY)
    both = open_product("lprm_amsr2", tmp_path).load()
    expected = [[0.15, 0.4, 0.3, 0.5], [np.nan, 0.2, 0.25, np.nan]]
    np.testing.assert_allclose(both["sm"].values[0], expected, rtol=1e-6)
    assert both["sm_reason"].values[0, 1, 2] == Reason.OBSERVED
    night = open_product("lprm_amsr2", tmp_path, overpass="am")
    np.testing.assert_allclose(night["sm"].values[0], NIGHT / 100, rtol=1e-6)


def test_another_grid_is_refused(tmp_path):
    make_sm.lprm(tmp_path, "20150401", "D", NIGHT)
    other = make_sm.lprm(tmp_path, "20150402", "D", NIGHT)
    with netCDF4.Dataset(other, "a") as file:
        file["Longitude"][:] = file["Longitude"][:] / 2
    with pytest.raises(SourceError, match=r"20150402.*another grid"):
        open_product("lprm_amsr2", tmp_path).load()


def test_a_pass_that_is_there_twice_is_refused(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make_sm.lprm(tmp_path / name, "20150401", "D", NIGHT)
    with pytest.raises(SourceError, match="both hold one pass"):
        open_product("lprm_amsr2", tmp_path)
