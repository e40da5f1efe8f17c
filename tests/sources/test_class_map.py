from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from tests.sources import make_cov


def test_geotiff_keeps_whole_numbers(tmp_path):
    path = make_cov.image(tmp_path / "koppen.tif", np.array([[1, 30], [0, 15]], np.uint8), nodata=0)
    zone = open_product("class_map", path, label="climate_zone")["climate_zone"]
    assert zone.dtype == np.uint8
    assert zone.values.tolist() == [[1, 30], [0, 15]]
    assert (zone.attrs["kind"], zone.attrs["missing"]) == ("class", 0)


def test_netcdf_with_signed_bytes(tmp_path):
    with netCDF4.Dataset(tmp_path / "C3S-LC-L4-LCCS-Map-300m-P1Y-2020-v2.1.1.nc", "w") as file:
        for name, values in (("time", [18262]), ("lat", [10.0, -10.0]), ("lon", [0.0, 1.0, 2.0])):
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
        variable = file.createVariable("lccs_class", "i1", ("time", "lat", "lon"))
        variable.set_auto_maskandscale(False)
        variable._Unsigned = "true"
        variable.flag_meanings = "no_data cropland urban"
        variable[:] = np.array([[[10, 190, 210], [220, 0, 130]]], np.uint8).view(np.int8)
    cover = open_product("class_map", tmp_path)["land_cover"]
    assert cover.dims == ("lat", "lon")
    assert cover.values.tolist() == [[10, 190, 210], [220, 0, 130]]
    assert cover.attrs["flag_meanings"] == "no_data cropland urban"


def test_numbers_with_a_fraction_are_no_classes(tmp_path):
    path = make_cov.image(tmp_path / "x.tif", np.ones((2, 2), np.float32))
    with pytest.raises(SourceError, match="holds float32, expected whole numbers"):
        open_product("class_map", path)
