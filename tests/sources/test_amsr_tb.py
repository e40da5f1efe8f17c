from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from tests.conftest import shared_data
from tests.sources import make_cov

KELVIN = np.array([[250.5, np.nan, 51, 349], [200, 201, 202, 203], [1, 400, 210, 211], [220, 221, 222, 223]], float)
SEEN = np.where((KELVIN < 50) | (KELVIN > 350), np.nan, KELVIN)


def test_channels_of_a_day_become_one_map(tmp_path):
    for day in ("2008278", "2008279"):
        for channel, more in (("18H", 0), ("18V", 0.25), ("36H", 0.5)):
            if (day, channel) != ("2008279", "36H"):
                make_cov.amsr_tb(tmp_path, day, channel, KELVIN + more)
    cube = open_product("amsr_tb", tmp_path)
    assert sorted(cube) == ["tb_18h", "tb_18v", "tb_36h"]
    assert cube["time"].dt.strftime("%Y-%m-%d").values.tolist() == ["2008-10-04", "2008-10-05"]
    np.testing.assert_allclose(cube["tb_18h"][0], SEEN, atol=1e-4)
    np.testing.assert_allclose(cube["tb_18v"][1], SEEN + 0.25, atol=1e-4)
    np.testing.assert_allclose(cube["tb_36h"][0], SEEN + 0.5, atol=1e-4)
    assert np.isnan(cube["tb_36h"][1]).all()
    assert cube.attrs["crs"] == "EPSG:6931"
    assert cube["tb_18v"].attrs["long_name"] == "brightness temperature at 18 GHz, V polarisation"


def test_overpasses_are_not_mixed(tmp_path):
    make_cov.amsr_tb(tmp_path, "2008278", "18H", KELVIN, "E")
    make_cov.amsr_tb(tmp_path, "2008278", "18H", KELVIN + 1, "M")
    with pytest.raises(SourceError, match=r"overpasses \['E', 'M'\]"):
        open_product("amsr_tb", tmp_path)
    cube = open_product("amsr_tb", tmp_path, overpass="M")
    np.testing.assert_allclose(cube["tb_18h"][0, 1], KELVIN[1] + 1, atol=1e-4)


def test_a_channel_twice(tmp_path):
    path = make_cov.amsr_tb(tmp_path, "2008278", "18H", KELVIN)
    path.with_name(path.name.replace("v1.0", "v1.1")).write_bytes(path.read_bytes())
    with pytest.raises(SourceError, match="both hold tb_18h of 2008278"):
        open_product("amsr_tb", tmp_path)


@pytest.mark.shared_data
def test_real_file():
    folder = shared_data() / "products" / "amsre_tb"
    cube = open_product("amsr_tb", folder)
    with netCDF4.Dataset(next(folder.glob("*.nc"))) as file:
        file.set_auto_maskandscale(False)
        raw, y = file["TB"][0], file["y"][:]
    expected = np.where((raw >= 5000) & (raw <= 35000), raw / 100, np.nan)
    assert np.isfinite(expected).sum() > 1e4
    np.testing.assert_allclose(cube["tb_18h"][0], expected, atol=1e-3)
    np.testing.assert_array_equal(cube["y"], y)
    assert str(cube["time"].values[0])[:10] == "2008-10-04"
