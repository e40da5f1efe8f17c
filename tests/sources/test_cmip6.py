from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.products import cmip6
from sgdsm.sources.readers.files import SourceError, find_files, open_product
from tests.conftest import shared_data
from tests.sources import make_sm

WATER = np.arange(24, dtype=float).reshape(4, 2, 3)
WATER[1, 0, 0], WATER[2, 1, 1] = np.nan, -2e-21


def test_days_of_a_file(tmp_path):
    make_sm.cmip6(tmp_path, "1970-01-01", WATER)
    make_sm.cmip6(tmp_path, "1970-01-05", WATER)
    cube = open_product("cmip6", tmp_path)
    assert cube["time"].values.astype("datetime64[D]").astype(int).tolist() == list(range(8))
    assert (cube["time"].dt.hour == 0).all()  # a daily mean is of the day, not of noon
    expected = np.where(WATER < 0, 0, WATER)[:, ::-1] / 100
    np.testing.assert_allclose(cube["sm"].values[4:], expected, rtol=1e-6)
    assert cube["lon"].values.tolist() == [178, 179, 180]
    assert (cube["sm_reason"].values == 1).sum() == 2
    assert (cube["sm_reason"].values > 1).sum() == 0


def test_only_the_steps_asked_for_are_read(tmp_path, monkeypatch):
    make_sm.cmip6(tmp_path, "1970-01-01", WATER)
    files = find_files("cmip6", tmp_path)
    found = cmip6.read(files.files[0].path, slice(1, 3))
    assert found["time"].values.tolist() == files.times[1:3].tolist()
    assert found["sm"].shape == (2, 2, 3)
    day = files.load(files.times[3:])
    np.testing.assert_allclose(day["sm"].values[0, 0, :2], WATER[3, 1, :2] / 100, rtol=1e-6)


def test_calendars(tmp_path):
    path = make_sm.cmip6(tmp_path, "1972-02-27", WATER, "noleap")
    days = open_product("cmip6", path)["time"].dt.strftime("%m%d").values.tolist()
    assert days == ["0227", "0228", "0301", "0302"]
    path = make_sm.cmip6(tmp_path, "1972-02-28", WATER, "360_day")
    with pytest.raises(SourceError, match=r"19720228.*calendar '360_day'"):
        open_product("cmip6", path)


def test_broken_file(tmp_path):
    path = make_sm.cmip6(tmp_path, "1970-01-01", WATER)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(SourceError, match=r"mrsos_day.*no time axis can be read"):
        open_product("cmip6", tmp_path)


@pytest.mark.shared_data
def test_real_file():
    folder = shared_data() / "products" / "qa4sm_preprocessing" / "cmip6"
    cube = open_product("cmip6", folder)
    with netCDF4.Dataset(next(folder.glob("mrsos*.nc"))) as file:
        expected = file["mrsos"][30].filled(np.nan)[::-1] / 100
        assert cube["lat"].values[0] == file["lat"][-1]
        np.testing.assert_array_equal(cube["lon"].values, file["lon"][:])
    np.testing.assert_allclose(cube["sm"].values[30], expected, atol=1e-7)
    assert cube["time"].dt.strftime("%Y%m%d").values[[0, 30]].tolist() == ["19700101", "19700131"]
    assert (cube["sm_reason"].values == 0).sum() == 63798
