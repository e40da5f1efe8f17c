from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from sgdsm.sources.readers.names import Reason
from tests.conftest import shared_data
from tests.sources import make_more

TOP = np.array([[0.1, 0.2, np.nan], [np.nan, 0.3, 0.4]], np.float32)


def test_layers_and_rows_without_coordinates(tmp_path):
    land = np.array([[True, True, False], [False, False, False]])
    make_more.lis(tmp_path, "201703310000", np.stack([TOP, TOP + 0.1]), land)
    make_more.lis(tmp_path, "201704010000", np.stack([TOP + 0.2, TOP]))
    cube = open_product("lis", tmp_path).load()
    np.testing.assert_allclose(cube["sm"].values, [TOP[::-1], TOP[::-1] + 0.2], rtol=1e-6)
    assert cube["lat"].values.tolist() == [30.125, 29.875]
    assert cube["lon"].values.tolist() == [-11.375, -11.125, -10.875]
    assert cube["time"].values.astype("datetime64[h]").astype(str).tolist() == ["2017-03-31T00", "2017-04-01T00"]
    assert cube["sm_reason"].values[0].tolist() == [[Reason.NO_DATA, 0, 0], [0, 0, Reason.NO_DATA]]
    assert cube["sm"].attrs["units"] == "m3 m-3"
    below = open_product("lis", tmp_path, layer=1)
    np.testing.assert_allclose(below["sm"].values[0], TOP[::-1] + 0.1, rtol=1e-6)
    with pytest.raises(SourceError, match="has 2 layers, expected layer 2"):
        open_product("lis", tmp_path, layer=2)


def test_stack(tmp_path):
    path = make_more.lis_stack(tmp_path, "2017-03-30", np.stack([TOP, TOP + 0.1, TOP + 0.2]))
    cube = open_product("lis", path).load()
    np.testing.assert_allclose(cube["sm"].values[:, ::-1], [TOP, TOP + 0.1, TOP + 0.2], rtol=1e-6)
    assert cube["time"].values.astype("datetime64[D]").astype(str).tolist() == [
        "2017-03-30",
        "2017-03-31",
        "2017-04-01",
    ]
    with pytest.raises(SourceError, match="has no layers, expected layer=0"):
        open_product("lis", path, layer=1)


def test_what_is_refused(tmp_path):
    path = make_more.lis(tmp_path, "201703310000", TOP[None])
    with netCDF4.Dataset(path, "a") as file:
        file["SoilMoist_inst"].units = "kg m-2"
    with pytest.raises(SourceError, match=r"SoilMoist_inst in 'kg m-2', expected m\^3 m-3"):
        open_product("lis", tmp_path)
    with netCDF4.Dataset(path, "a") as file:
        file["SoilMoist_inst"].units = "m^3 m-3"
        file["lat"][1, 1] = 30.5
    with pytest.raises(SourceError, match="no regular grid"):
        open_product("lis", tmp_path)


@pytest.mark.shared_data
def test_real_files():
    folder = shared_data() / "products" / "qa4sm_preprocessing"
    cube = open_product("lis", [folder / "201703", folder / "201704"]).load()
    stack = open_product("lis", folder / "preprocessing" / "lis_noahmp_stacked.nc").load()
    np.testing.assert_array_equal(cube["time"], stack["time"])
    np.testing.assert_allclose(cube["lat"], stack["lat"])
    np.testing.assert_allclose(cube["lon"], stack["lon"])
    np.testing.assert_array_equal(cube["sm"], stack["sm"])
    with netCDF4.Dataset(folder / "201704" / "LIS_HIST_201704020000.d01.nc") as file:
        lat, lon = file["lat"][:], file["lon"][:]
        for layer in (0, 3):
            values = file["SoilMoist_inst"][layer]
            found = (
                open_product("lis", [folder / "201703", folder / "201704"], layer=layer).sel(time="2017-04-02").load()
            )
            places = np.argwhere(~np.ma.getmaskarray(values))
            assert np.isfinite(found["sm"].values).sum() == len(places) > 1000
            for row, column in places[::97]:
                one = found["sm"].sel(lat=lat[row, column], lon=lon[row, column]).item()
                assert one == pytest.approx(float(values[row, column]))
