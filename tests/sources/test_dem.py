from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from tests.conftest import shared_data
from tests.sources import make_cov

HEIGHT = np.array([[10, -5000, -32768], [0, 8000, 3]], np.int16)


def test_geotiff_with_fill_and_box(tmp_path):
    path = make_cov.image(tmp_path / "dem.tif", HEIGHT, nodata=-32768)
    elevation = open_product("dem", path)["elevation"]
    np.testing.assert_array_equal(elevation, [[10, -5000, np.nan], [0, 8000, 3]])
    assert elevation["lon"].values.tolist() == [-9.75, -9.25, -8.75]
    assert elevation["lat"].values.tolist() == [49.75, 49.25]
    assert elevation.attrs["units"] == "m"
    part = open_product("dem", path, bbox=[-9.5, 49, -8, 49.5])["elevation"]
    np.testing.assert_array_equal(part, [[8000, 3]])
    with pytest.raises(SourceError, match="no cell within bbox"):
        open_product("dem", path, bbox=[20, 49, 30, 50])


def test_projected_grid_tells_its_crs(tmp_path):
    path = make_cov.image(tmp_path / "dem.tif", HEIGHT, west=1000, north=5000, cell=100, crs="EPSG:6933", nodata=-32768)
    found = open_product("dem", path)
    assert found["y"].values.tolist() == [4950, 4850]
    assert found["x"].values.tolist() == [1050, 1150, 1250]
    assert "6933" in found.attrs["crs"]


def test_columns_that_come_back_after_360_degrees(tmp_path):
    with netCDF4.Dataset(tmp_path / "odd.cdf", "w", format="NETCDF3_CLASSIC") as file:
        for name, values, units in (
            ("X1", [60, 150, 240, 330, 420], "degrees_east"),
            ("Y", [-10, 10], "degrees_north"),
        ):
            file.createDimension(name, len(values))
            variable = file.createVariable(name, "f8", (name,))
            variable.units, variable[:] = units, values
        variable = file.createVariable("ROSE", "f4", ("Y", "X1"), fill_value=np.float32(-1e34))
        variable.units, variable[:] = "METERS", [[0, 1, 2, 3, 0], [4, 5, 6, 7, 4]]
    elevation = open_product("dem", tmp_path)["elevation"]
    assert elevation["lon"].values.tolist() == [-120, -30, 60, 150]
    np.testing.assert_array_equal(elevation, [[6, 7, 4, 5], [2, 3, 0, 1]])


@pytest.mark.shared_data
def test_real_file():
    path = shared_data() / "products" / "dem_etopo20" / "etopo20.cdf"
    elevation = open_product("dem", path)["elevation"]
    with netCDF4.Dataset(path) as file:
        raw, x, y = file["ROSE"][:].data, file["ETOPO20X1_1081"][:].data, file["ETOPO20Y"][:].data
    assert elevation.shape == (540, 1080)
    assert (np.diff(elevation["lon"]) > 0.3).all()
    for row, column in ((100, 7), (400, 500), (10, 1000)):
        here = elevation.sel(lat=y[row], lon=(x[column] + 180) % 360 - 180, method="nearest")
        assert float(here) == raw[row, column]
    assert float(elevation.sel(lat=28, lon=87, method="nearest")) > 4000  # Himalaya
    assert float(elevation.sel(lat=30, lon=-40, method="nearest")) < -2000  # Atlantic
