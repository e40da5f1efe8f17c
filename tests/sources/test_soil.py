from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.sources.readers.files import SourceError, open_product
from tests.sources import make_cov


def test_soilgrids(tmp_path):
    sand = np.array([[400, -32768], [1000, 0]], np.int16)
    make_cov.image(tmp_path / "sand_0-5cm_mean.tif", sand, nodata=-32768)
    make_cov.image(tmp_path / "clay_0-5cm_mean.tif", sand // 2 + 1, nodata=-16383)
    maps = {"sand": "sand_0-5cm*.tif", "clay": "clay_0-5cm*.tif"}
    found = open_product("soil", tmp_path, maps=maps, units="g/kg")
    np.testing.assert_allclose(found["sand"], [[0.4, np.nan], [1, 0]])
    np.testing.assert_allclose(found["clay"], [[0.201, np.nan], [0.501, 0.001]], rtol=1e-6)
    assert found["sand"].attrs["units"] == "1"


def test_hwsd_in_netcdf(tmp_path):
    with netCDF4.Dataset(tmp_path / "hwsd.nc4", "w") as file:
        for name, values in (("lat", [-10.0, 10.0]), ("lon", [0.0, 1.0])):
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
        for name, value in (("T_SAND", 40), ("T_CLAY", 20)):
            variable = file.createVariable(name, "f4", ("lat", "lon"), fill_value=np.float32(-1))
            variable[:] = [[value, -1], [value + 1, value + 2]]
    found = open_product("soil", tmp_path, maps={"sand": "T_SAND", "clay": "T_CLAY"})
    np.testing.assert_allclose(found["sand"], [[0.41, 0.42], [0.4, np.nan]])
    np.testing.assert_allclose(found["clay"], [[0.21, 0.22], [0.2, np.nan]])


def test_wrong_units_and_names(tmp_path):
    make_cov.image(tmp_path / "sand.tif", np.array([[400, 300]], np.int16))
    with pytest.raises(SourceError, match="sand runs from 3 to 4 in units 'percent'"):
        open_product("soil", tmp_path, maps={"sand": "sand.tif"})
    with pytest.raises(SourceError, match=r"'clay\.tif' for clay matches none of 1 files"):
        open_product("soil", tmp_path, maps={"clay": "clay.tif"})
    with pytest.raises(ConfigError, match="units=permille"):
        open_product("soil", tmp_path, maps={"sand": "sand.tif"}, units="permille")
