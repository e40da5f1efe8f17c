from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from tests.conftest import shared_data
from tests.sources import make_sm

TOP = np.array([[20.0, np.nan, 30.0], [25.0, 47.5, np.nan]])


def test_water_over_depth(tmp_path):
    for hour in ("0600", "0300"):
        make_sm.gldas(tmp_path, f"20160101.{hour}", {"0_10": TOP, "10_40": 3 * TOP + 3})
    cube = open_product("gldas", tmp_path).load()
    assert cube["time"].dt.hour.values.tolist() == [3, 6]
    np.testing.assert_allclose(cube["sm"].values[1], TOP[::-1] / 100, rtol=1e-6)
    assert cube["sm_reason"].values[0].tolist() == [[0, 0, 1], [0, 1, 0]]
    assert cube["lat"].values.tolist() == [-59.625, -59.875]
    deeper = open_product("gldas", tmp_path, layer="10_40")
    np.testing.assert_allclose(deeper["sm"].values[0], (TOP[::-1] + 1) / 100, rtol=1e-6)


def test_refused(tmp_path):
    make_sm.gldas(tmp_path, "20160101.0600", {"0_10": TOP})
    with pytest.raises(SourceError, match="layer '0_5', expected one of 0_10"):
        open_product("gldas", tmp_path, layer="0_5")
    grib = tmp_path / "GLDAS_NOAH025SUBP_3H.A2015001.0300.001.2015037193230.grb"
    grib.write_bytes(b"GRIB")
    with pytest.raises(SourceError, match=r"grb: GRIB is not read, expected NetCDF"):
        open_product("gldas", grib)
    assert open_product("gldas", tmp_path).sizes["time"] == 1  # in a folder it is left out


@pytest.mark.shared_data
def test_real_file():
    folder = shared_data() / "products" / "gldas"
    cube = open_product("gldas", folder).load()
    with netCDF4.Dataset(next(folder.glob("*.nc4"))) as file:
        expected = file["SoilMoi0_10cm_inst"][0].filled(np.nan)[::-1] / 100
        assert cube["lat"].values[0] == file["lat"][-1]
    np.testing.assert_allclose(cube["sm"].values[0], expected, rtol=1e-5)
    assert np.isfinite(expected).sum() == (cube["sm_reason"].values == 0).sum() > 2e5
    assert str(cube["time"].values[0])[:16] == "2016-01-01T06:00"
